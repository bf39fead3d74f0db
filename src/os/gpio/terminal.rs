//! The virtual panel: the LED is drawn in a line of the terminal, and its keyboard presses the button.
//!
//! A terminal tells no release, so each length of hold has a letter of its own; a hold takes as long as a real one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::libc::{O_NOCTTY, O_NONBLOCK};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use super::Lamp;
use crate::panel::{Glow, Key, Light};

/// Puts the terminal back as it was when it is dropped.
pub(super) struct Terminal {
    tty: File,
    before: Termios,
    glow: Glow,
    /// The key that is held, and until when.
    held: Option<(Key, Instant)>,
}

impl Terminal {
    /// Takes the terminal over; Ctrl-C and its like go on to work.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = O_NOCTTY | O_NONBLOCK;
        let tty = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        let before = tcgetattr(&tty)?;
        let mut termios = before.clone();
        termios.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        tcsetattr(&tty, SetArg::TCSANOW, &termios)?;
        let mut terminal = Self { tty, before, glow: Glow::Dark, held: None };
        terminal.draw();
        Ok(terminal)
    }

    /// Hands on the edges that the keyboard made. An error means that the terminal is gone.
    pub(super) fn read(&mut self, now: Instant, edge: &mut dyn FnMut(Key, bool)) -> io::Result<()> {
        let mut letters = [0; 64];
        let length = match self.tty.read(&mut letters) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => length,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for letter in &letters[..length] {
            let hold = HOLDS.iter().find(|hold| hold.letter == *letter);
            // One finger: while it holds a key it presses no other.
            if let (Some(hold), None) = (hold, self.held) {
                self.held = Some((hold.key, now + hold.length));
                edge(hold.key, true);
                self.draw();
            }
        }
        Ok(())
    }

    /// When the key that is held is let go.
    pub(super) fn release_at(&self) -> Option<Instant> {
        self.held.map(|(_, end)| end)
    }

    /// Lets the key go when its time has come.
    pub(super) fn release(&mut self, now: Instant, edge: &mut dyn FnMut(Key, bool)) {
        if let Some((key, _)) = self.held.filter(|(_, end)| *end <= now) {
            self.held = None;
            edge(key, false);
            self.draw();
        }
    }

    fn draw(&mut self) {
        let lamp = match self.glow {
            Glow::Dark => "\x1b[2m○\x1b[0m",
            Glow::Status => "\x1b[32m●\x1b[0m",
            Glow::Fault => "\x1b[31m●\x1b[0m",
        };
        let help = if self.held.is_some() { "held" } else { HELP };
        // The cursor waits at the start, so that what is logged takes the line's place. A terminal that is stopped
        // misses a drawing.
        let _ = self.tty.write(format!("\r\x1b[2K {lamp}  {help}\r").as_bytes());
    }
}

impl Lamp for Terminal {
    fn play(&mut self, _light: &Light) -> bool {
        false
    }

    fn glow(&mut self, glow: Glow) {
        self.glow = glow;
        self.draw();
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tty.as_fd()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tty.write(b"\r\x1b[2K");
        let _ = tcsetattr(&self.tty, SetArg::TCSANOW, &self.before);
    }
}

/// A letter, and the hold that it makes.
struct Hold {
    letter: u8,
    key: Key,
    length: Duration,
}

const HELP: &str = "p press  h hold 3 s  r hold 6 s  l hold 11 s  o power off";
const HOLDS: [Hold; 5] = [
    Hold { letter: b'p', key: Key::Button, length: Duration::from_millis(200) },
    Hold { letter: b'h', key: Key::Button, length: Duration::from_secs(3) },
    Hold { letter: b'r', key: Key::Button, length: Duration::from_secs(6) },
    Hold { letter: b'l', key: Key::Button, length: Duration::from_secs(11) },
    Hold { letter: b'o', key: Key::Power, length: Duration::from_millis(200) },
];
