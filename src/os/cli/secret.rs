//! A secret from who sits at the terminal, which does not show it; or else a line of standard input.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::fd::BorrowedFd;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::{Zeroize, Zeroizing};

/// Asks for a secret that is new: twice on a terminal, where nobody sees what is typed.
///
/// # Errors
/// What the system refused; that it was interrupted, is no text, is too long, or was not the same twice.
pub(super) fn choose(what: &str) -> io::Result<Zeroizing<String>> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return line(stdin.lock());
    }
    let secret = ask(&stdin, &format!("{what}: "))?;
    if *ask(&stdin, "the same again: ")? != *secret {
        return Err(invalid("the second was not the same as the first"));
    }
    Ok(secret)
}

fn ask(terminal: &io::Stdin, prompt: &str) -> io::Result<Zeroizing<String>> {
    let mut told = io::stderr();
    write!(told, "{prompt}")?;
    told.flush()?;
    let _quiet = Quiet::new(terminal)?;
    let typed = typed(&mut terminal.lock());
    writeln!(told)?;
    typed
}

/// The terminal shows nothing and gives each key as it comes; until this is dropped.
struct Quiet<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(terminal: &'a io::Stdin) -> io::Result<Self> {
        let terminal = std::os::fd::AsFd::as_fd(terminal);
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        // Were the interrupt key a signal, it would leave the terminal as it is now.
        quiet.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        tcsetattr(terminal, SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}

/// What is typed until Enter, by the keys that terminals send.
fn typed(keys: &mut impl Read) -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_MAX));
    loop {
        let mut key = [0];
        keys.read_exact(&mut key)?;
        match key[0] {
            b'\r' | b'\n' => return text(&bytes),
            INTERRUPT => return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted")),
            END if bytes.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            BACKSPACE | DELETE => {
                // A letter may be several bytes (UTF-8).
                while bytes.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            KILL => bytes.zeroize(),
            _ if bytes.len() == SECRET_MAX => return Err(too_long()),
            byte => bytes.push(byte),
        }
    }
}

/// A line, without its end.
fn line(input: impl BufRead) -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_MAX + 2));
    input.take(SECRET_MAX as u64 + 2).read_until(b'\n', &mut bytes)?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > SECRET_MAX { Err(too_long()) } else { text(line) }
}

fn text(bytes: &[u8]) -> io::Result<Zeroizing<String>> {
    let text = std::str::from_utf8(bytes).map_err(|_| invalid("it is no text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn too_long() -> io::Error {
    invalid("it is too long")
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Bytes of a secret.
const SECRET_MAX: usize = 1_024;
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
        assert_eq!(of(b"abc\x03"), Err(io::ErrorKind::Interrupted));
        assert_eq!(of(b"\x04"), Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(of(b"no end"), Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(of(b"\xff\n"), Err(io::ErrorKind::InvalidData));
        assert_eq!(of(&[b'a'; SECRET_MAX + 1]), Err(io::ErrorKind::InvalidData));
    }

    #[test]
    fn a_line_is_read_without_its_end_and_bounded() {
        let of = |input: &[u8]| line(input).map(|text| text.to_string()).map_err(|error| error.kind());
        assert_eq!(of(b"correct horse \nmore"), Ok("correct horse ".into()));
        assert_eq!(of(b"correct horse\r\n"), Ok("correct horse".into()));
        assert_eq!(of(b"correct horse"), Ok("correct horse".into()));
        assert_eq!(of(b""), Ok(String::new()));
        assert_eq!(of(&[b'a'; SECRET_MAX]), Ok("a".repeat(SECRET_MAX)));
        assert_eq!(of(&vec![b'a'; SECRET_MAX * 9]), Err(io::ErrorKind::InvalidData));
        assert_eq!(of(b"\xff"), Err(io::ErrorKind::InvalidData));
    }
}
