//! Serial panels: the port, raw, as `embedded-io` has ports, and the panel that speaks over one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use embedded_io::{ErrorType, Read, ReadReady, Write};
use nix::libc::{O_NOCTTY, O_NONBLOCK};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{
    BaudRate, ControlFlags, FlushArg, SetArg, cfmakeraw, cfsetspeed, tcflush, tcgetattr, tcsetattr,
};

use super::Lamp;
use super::board::Protocol;
use crate::panel::{Glow, Key, Light};

/// A serial port with 8 data bits, no parity, 1 stop bit, no flow control, and nothing changed on the way.
pub struct SerialPort(File);

impl SerialPort {
    /// Opens the device at `baud` bits per second: 9600 or 19200.
    pub fn open(path: &Path, baud: u32) -> io::Result<Self> {
        let flags = O_NOCTTY | O_NONBLOCK;
        let port = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        let baud = match baud {
            9_600 => BaudRate::B9600,
            19_200 => BaudRate::B19200,
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        let mut termios = tcgetattr(&port)?;
        cfmakeraw(&mut termios);
        // Two stop bits and the handshake of RTS and CTS are what cfmakeraw leaves as it was.
        termios.control_flags.remove(ControlFlags::CSTOPB | ControlFlags::CRTSCTS);
        termios.control_flags.insert(ControlFlags::CLOCAL | ControlFlags::CREAD);
        cfsetspeed(&mut termios, baud)?;
        tcsetattr(&port, SetArg::TCSANOW, &termios)?;
        // What came before the node did is of no interest: a press of yesterday answers nothing.
        tcflush(&port, FlushArg::TCIFLUSH)?;
        Ok(Self(port))
    }

    /// Waits until the port is ready for `flags`; `timeout_ms` `None` is for good.
    fn wait(&self, flags: PollFlags, timeout_ms: Option<u16>) -> io::Result<bool> {
        let timeout = timeout_ms.map_or(PollTimeout::NONE, PollTimeout::from);
        loop {
            match poll(&mut [PollFd::new(self.0.as_fd(), flags)], timeout) {
                Err(nix::errno::Errno::EINTR) => {}
                ready => return Ok(ready? > 0),
            }
        }
    }
}

impl AsFd for SerialPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ErrorType for SerialPort {
    type Error = io::Error;
}

impl Read for SerialPort {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(PollFlags::POLLIN, None)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => return other,
            };
        }
    }
}

impl ReadReady for SerialPort {
    /// True also when the port is gone: reading then tells so.
    fn read_ready(&mut self) -> io::Result<bool> {
        self.wait(PollFlags::POLLIN, Some(0))
    }
}

impl Write for SerialPort {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.wait(PollFlags::POLLOUT, Some(WRITE_MS))? {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A panel over a port of any kind.
pub(super) struct SerialPanel<P> {
    port: P,
    protocol: Protocol,
    /// What went wrong was told already.
    failed: bool,
}

impl<P: Read<Error = io::Error> + ReadReady + Write<Error = io::Error>> SerialPanel<P> {
    /// Takes the panel over.
    pub(super) fn new(mut port: P, protocol: Protocol) -> io::Result<Self> {
        port.write_all(protocol.start())?;
        Ok(Self { port, protocol, failed: false })
    }

    pub(super) fn port(&self) -> &P {
        &self.port
    }

    /// Hands on the presses that came. An error means that the port is gone.
    pub(super) fn read(&mut self, stroke: &mut dyn FnMut(Key)) -> io::Result<()> {
        let mut buffer = [0; 64];
        while self.port.read_ready()? {
            let length = self.port.read(&mut buffer)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer[..length].iter().filter_map(|byte| self.protocol.key(*byte)).for_each(&mut *stroke);
        }
        Ok(())
    }
}

impl<P: Write<Error = io::Error>> Lamp for SerialPanel<P> {
    /// The panels blink in a rhythm of their own, so each step is sent.
    fn play(&mut self, _light: &Light) -> bool {
        false
    }

    fn glow(&mut self, glow: Glow) {
        if let Err(error) = self.port.write_all(&[self.protocol.byte(glow)])
            && !std::mem::replace(&mut self.failed, true)
        {
            log::warn!("the serial panel cannot be written to: {error}");
        }
    }
}

/// Time after which a byte that the port does not take is given up, in milliseconds.
const WRITE_MS: u16 = 100;
