//! The front panel's drivers: LEDs, keys, serial panels and a virtual panel, all on one thread.
//!
//! The thread waits in poll(2) for keys, for the next light, and for the next step of the light that it plays itself.
//! It knows nothing of what a press means: [`crate::panel`] does.
//!
//! What a map names and the machine lacks is told in the log and left out: a box comes up without its LED rather than
//! not at all.

mod board;
mod keys;
mod led;
mod player;
mod serial;
mod terminal;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

pub use board::{BoardMap, Protocol, SerialMap};
use keys::KeyDevice;
use led::Leds;
use player::Player;
use serial::SerialPanel;
pub use serial::SerialPort;
use terminal::Terminal;

use crate::panel::{Glow, Input, Key, Light};

/// A fact from the front panel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrontEvent {
    /// An edge of a key.
    Key {
        /// Which.
        key: Key,
        /// It went down, or was let go.
        down: bool,
    },
    /// A press, or a part of one, on a panel that tells no releases.
    Stroke {
        /// Which.
        key: Key,
    },
}

impl From<FrontEvent> for Input {
    fn from(event: FrontEvent) -> Self {
        match event {
            FrontEvent::Key { key, down } => Input::Key { key, down },
            FrontEvent::Stroke { key } => Input::Stroke { key },
        }
    }
}

/// Takes what happens, on the panel's thread.
pub type Events = Arc<dyn Fn(FrontEvent) + Send + Sync>;

/// The panel, until it is dropped: then its LEDs are dark and the terminal is as it was.
///
/// Dropping waits for the thread, so hold no lock meanwhile that `events` takes.
pub struct Front {
    lights: Option<mpsc::Sender<Light>>,
    bell: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Front {
    /// Starts a board's panel.
    pub fn start(map: BoardMap, events: Events) -> Result<Self, GpioError> {
        Self::start_in(&map, &Places::default(), events)
    }

    /// Starts the virtual panel in the terminal that the program was started in.
    pub fn terminal(events: Events) -> Result<Self, GpioError> {
        Self::terminal_at(Path::new("/dev/tty"), events)
    }

    /// Plays this light from its start, until the next.
    pub fn show(&self, light: Light) {
        if let Some(lights) = &self.lights {
            // The thread ends before this only when it panicked, which was told.
            let _ = lights.send(light);
        }
        self.ring();
    }

    fn start_in(map: &BoardMap, places: &Places, events: Events) -> Result<Self, GpioError> {
        let leds = Leds::open(&places.leds, map.status.as_deref(), map.fault.as_deref());
        let keys = if map.keys.is_empty() { Vec::new() } else { KeyDevice::find(&places.input, &map.keys) };
        let serial = map.serial.as_ref().and_then(|serial| {
            let port = SerialPort::open(&serial.port, serial.protocol.baud());
            port.and_then(|port| SerialPanel::new(port, serial.protocol))
                .map_err(|error| log::warn!("the serial panel at {} cannot be used: {error}", serial.port.display()))
                .ok()
        });
        Self::run(|bell| Player::new(bell, events).with_board(leds, keys, serial))
    }

    fn terminal_at(path: &Path, events: Events) -> Result<Self, GpioError> {
        let terminal = Terminal::open(path).map_err(|error| GpioError::Terminal(path.to_owned(), error.to_string()))?;
        Self::run(|bell| Player::new(bell, events).with_terminal(terminal))
    }

    fn run(player: impl FnOnce(UnixStream) -> Player) -> Result<Self, GpioError> {
        let system = |error: std::io::Error| GpioError::System(error.to_string());
        let (bell, heard) = UnixStream::pair().map_err(system)?;
        bell.set_nonblocking(true).and_then(|()| heard.set_nonblocking(true)).map_err(system)?;
        let (lights, queue) = mpsc::channel();
        let player = player(heard);
        let thread = thread::Builder::new().name("panel".into()).spawn(move || player.run(&queue)).map_err(system)?;
        Ok(Self { lights: Some(lights), bell, thread: Some(thread) })
    }

    /// Wakes the thread. A bell that is full of rings has been heard already.
    fn ring(&self) {
        let _ = (&self.bell).write(&[0]);
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.lights = None;
        self.ring();
        // Dropped by `events` itself: nobody can wait for themselves.
        let own = |thread: &JoinHandle<()>| thread.thread().id() == thread::current().id();
        if let Some(thread) = self.thread.take().filter(|thread| !own(thread)) {
            let _ = thread.join();
        }
    }
}

/// Why there is no panel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GpioError {
    /// The terminal cannot be used: which, and the system's words.
    Terminal(PathBuf, String),
    /// The operating system's words.
    System(String),
}

impl fmt::Display for GpioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GpioError::Terminal(path, why) => write!(
                f,
                "the panel cannot be drawn at {}: {why}: start the node in a terminal, or without --panel terminal",
                path.display()
            ),
            GpioError::System(why) => write!(f, "the panel cannot start: {why}"),
        }
    }
}

impl std::error::Error for GpioError {}

/// What shows a light.
trait Lamp {
    /// A new light begins; true when the lamp plays it by itself, false when it wants each step.
    fn play(&mut self, light: &Light) -> bool;

    /// A step of a light that it does not play by itself.
    fn glow(&mut self, glow: Glow);
}

/// Where the kernel has LEDs and input devices.
struct Places {
    leds: PathBuf,
    input: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { leds: "/sys/class/leds".into(), input: "/dev/input".into() }
    }
}
