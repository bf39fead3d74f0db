//! A secret that somebody types: from a terminal, without showing it, or as lines of standard input.

use std::io::{self, BufRead, IsTerminal, Write};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::CliError;

/// Bytes of a line at most.
const LINE_MAX: u64 = 4_096;

/// Asks for a secret. On a terminal `prompt` is shown on standard error; elsewhere the next line is taken.
pub fn ask(prompt: &str) -> Result<Zeroizing<String>, CliError> {
    let stdin = io::stdin();
    let quiet = if stdin.is_terminal() {
        eprint!("{prompt}: ");
        io::stderr().flush().map_err(CliError::Input)?;
        Some(Quiet::begin().map_err(CliError::Input)?)
    } else {
        None
    };
    let line = read_line(stdin.lock());
    if quiet.is_some() {
        // The line's end was not shown either.
        eprintln!();
    }
    line
}

/// Asks for a new secret: on a terminal twice, since nobody sees what is typed.
pub fn ask_new(prompt: &str) -> Result<Zeroizing<String>, CliError> {
    loop {
        let first = ask(prompt)?;
        if !io::stdin().is_terminal() || *ask("the same again")? == *first {
            return Ok(first);
        }
        eprintln!("these were two different ones: once more");
    }
}

fn read_line(input: impl BufRead) -> Result<Zeroizing<String>, CliError> {
    let mut line = Zeroizing::new(String::new());
    input.take(LINE_MAX).read_line(&mut line).map_err(CliError::Input)?;
    if line.is_empty() {
        return Err(CliError::Input(io::ErrorKind::UnexpectedEof.into()));
    }
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    Ok(line)
}

/// The terminal shows nothing of what is typed while this lives (termios(3)).
struct Quiet(Termios);

impl Quiet {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_without_its_end() {
        let mut input = &b"correct horse \r\nnext\n"[..];
        assert_eq!(*read_line(&mut input).unwrap(), "correct horse ");
        assert_eq!(*read_line(&mut input).unwrap(), "next");
        assert!(read_line(&mut input).is_err(), "there is no further line");
        assert_eq!(*read_line(&b"last"[..]).unwrap(), "last");
        assert!(read_line(&b"\xff\n"[..]).is_err());
    }
}
