//! A secret that somebody types: from a terminal, without showing it, or as lines of standard input.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::{Zeroize, Zeroizing};

use super::CliError;

/// Asks for a secret. On a terminal `prompt` is shown on standard error; elsewhere the next line is taken.
pub fn ask(prompt: &str) -> Result<Zeroizing<String>, CliError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return read_line(stdin.lock());
    }
    let typed = Quiet::begin().and_then(|_quiet| {
        // What is typed before the terminal is quiet would be shown, and dropped.
        eprint!("{prompt}: ");
        io::stderr().flush()?;
        typed(&mut stdin.lock())
    });
    // The line's end was not shown either.
    eprintln!();
    typed.map_err(CliError::Input)
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

/// What is typed until Enter, by the keys that terminals send.
fn typed(keys: &mut impl Read) -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(TYPED_MAX));
    loop {
        let mut key = [0];
        keys.read_exact(&mut key)?;
        match key[0] {
            b'\r' | b'\n' => {
                let text = std::str::from_utf8(&bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
                return Ok(Zeroizing::new(text.to_owned()));
            }
            INTERRUPT => return Err(io::Error::other("interrupted")),
            END if bytes.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            BACKSPACE | DELETE => {
                // A letter may be several bytes (UTF-8).
                while bytes.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            KILL => bytes.zeroize(),
            _ if bytes.len() == TYPED_MAX => return Err(io::Error::other("it is too long")),
            byte => bytes.push(byte),
        }
    }
}

/// The terminal shows nothing of what is typed while this lives, and gives each key as it comes (termios(3)): were the
/// interrupt key a signal, it would leave the terminal as it is now.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.0);
    }
}

/// Bytes of a line at most.
const LINE_MAX: u64 = 4_096;
/// Bytes that are typed at most; more would leave copies behind as it grows.
const TYPED_MAX: usize = 4_096;
/// Ctrl-C.
const INTERRUPT: u8 = 3;
/// Ctrl-D.
const END: u8 = 4;
const BACKSPACE: u8 = 8;
const DELETE: u8 = 127;
/// Ctrl-U: begins anew.
const KILL: u8 = 21;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_as_a_terminal_sends_them() {
        let of = |keys: &[u8]| typed(&mut &keys[..]).map(|text| text.to_string()).map_err(|error| error.kind());
        assert_eq!(of(b"correct horse\nrest"), Ok("correct horse".into()));
        assert_eq!(of(b"wrong\x15corx\x7frecx\x08t\r"), Ok("correct".into()));
        assert_eq!(of("a\u{e4}\x7f\n".as_bytes()), Ok("a".into()));
        assert_eq!(of(b"\x7f\x7f\n"), Ok(String::new()));
        assert_eq!(of(b"abc\x03"), Err(io::ErrorKind::Other));
        assert_eq!(of(b"\x04"), Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(of(b"no end"), Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(of(b"\xff\n"), Err(io::ErrorKind::InvalidData));
        assert_eq!(of(&[b'a'; TYPED_MAX + 1]), Err(io::ErrorKind::Other));
    }

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
