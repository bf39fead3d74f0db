//! The panel's thread: plays lights step by step, and hands on what the keys tell.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::keys::KeyDevice;
use super::led::Leds;
use super::serial::{SerialPanel, SerialPort};
use super::terminal::Terminal;
use super::{Events, FrontEvent, Lamp};
use crate::panel::{Glow, Light};

pub(super) struct Player {
    bell: UnixStream,
    events: Events,
    leds: Option<Leds>,
    keys: Vec<KeyDevice>,
    serial: Option<SerialPanel<SerialPort>>,
    terminal: Option<Terminal>,
    playing: Option<Playing>,
}

/// The light that is played step by step.
struct Playing {
    light: Light,
    since: Instant,
    glow: Option<Glow>,
}

impl Player {
    pub(super) fn new(bell: UnixStream, events: Events) -> Self {
        Self { bell, events, leds: None, keys: Vec::new(), serial: None, terminal: None, playing: None }
    }

    pub(super) fn with_board(self, leds: Leds, keys: Vec<KeyDevice>, serial: Option<SerialPanel<SerialPort>>) -> Self {
        Self { leds: Some(leds), keys, serial, ..self }
    }

    pub(super) fn with_terminal(self, terminal: Terminal) -> Self {
        Self { terminal: Some(terminal), ..self }
    }

    /// Until nobody can send lights any more; then all is dark.
    pub(super) fn run(mut self, lights: &Receiver<Light>) {
        loop {
            match newest(lights) {
                Ok(Some(light)) => self.play(light),
                Ok(None) => {}
                Err(()) => break,
            }
            let now = Instant::now();
            let step = self.step(now);
            let release = self.release(now);
            let next = step.into_iter().chain(release).min();
            if let Err(error) = self.wait(next.map(|next| next.saturating_duration_since(now))) {
                log::error!("the panel cannot wait for its keys, and ends: {error}");
                break;
            }
        }
        self.play(Light::steady(Glow::Dark));
        self.step(Instant::now());
    }

    fn lamps(&mut self) -> impl Iterator<Item = &mut dyn Lamp> {
        let leds = self.leds.as_mut().map(|lamp| lamp as &mut dyn Lamp);
        let serial = self.serial.as_mut().map(|lamp| lamp as &mut dyn Lamp);
        let terminal = self.terminal.as_mut().map(|lamp| lamp as &mut dyn Lamp);
        leds.into_iter().chain(serial).chain(terminal)
    }

    fn play(&mut self, light: Light) {
        let mut alone = true;
        for lamp in self.lamps() {
            alone &= lamp.play(&light);
        }
        self.playing = (!alone).then(|| Playing { light, since: Instant::now(), glow: None });
    }

    /// Makes the step that is due; the time of the next.
    fn step(&mut self, now: Instant) -> Option<Instant> {
        let playing = self.playing.as_mut()?;
        let (glow, stays) = playing.light.at(now.saturating_duration_since(playing.since));
        if playing.glow.replace(glow) != Some(glow) {
            self.lamps().for_each(|lamp| lamp.glow(glow));
        }
        Some(now + stays?)
    }

    fn release(&mut self, now: Instant) -> Option<Instant> {
        let terminal = self.terminal.as_mut()?;
        terminal.release(now, &mut |key, down| (self.events)(FrontEvent::Key { key, down }));
        terminal.release_at()
    }

    /// Waits for the bell, for keys, or for the time to pass.
    fn wait(&mut self, time: Option<Duration>) -> Result<(), Errno> {
        let mut polled = vec![PollFd::new(self.bell.as_fd(), PollFlags::POLLIN)];
        let serial = self.serial.as_ref().map(|serial| serial.port().as_fd());
        let terminal = self.terminal.as_ref().map(AsFd::as_fd);
        let others = self.keys.iter().map(AsFd::as_fd).chain(serial).chain(terminal);
        polled.extend(others.map(|other| PollFd::new(other, PollFlags::POLLIN)));
        match poll(&mut polled, timeout(time)) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(()),
            Err(error) => return Err(error),
        }
        if polled.iter().any(|polled| polled.any() != Some(false)) {
            self.read();
        }
        Ok(())
    }

    /// Takes what came. None of the devices makes a reader wait, so each is asked.
    fn read(&mut self) {
        let mut rings = [0; 64];
        while matches!((&self.bell).read(&mut rings), Ok(1..)) {}
        let events = &self.events;
        let mut edge = |key, down| events(FrontEvent::Key { key, down });
        self.keys.retain_mut(|device| match device.read(&mut edge) {
            Ok(()) => true,
            Err(error) => {
                log::warn!("the keys of {} are gone: {error}", device.path().display());
                false
            }
        });
        if let Some(Err(error)) =
            self.serial.as_mut().map(|serial| serial.read(&mut |key| events(FrontEvent::Stroke { key })))
        {
            log::warn!("the serial panel is gone: {error}");
            self.serial = None;
        }
        if let Some(Err(error)) = self.terminal.as_mut().map(|terminal| terminal.read(Instant::now(), &mut edge)) {
            log::warn!("the terminal is gone, and the panel with it: {error}");
            self.terminal = None;
        }
    }
}

/// The newest light that waits; an error when none will come any more.
fn newest(lights: &Receiver<Light>) -> Result<Option<Light>, ()> {
    let mut newest = None;
    loop {
        match lights.try_recv() {
            Ok(light) => newest = Some(light),
            Err(TryRecvError::Empty) => return Ok(newest),
            Err(TryRecvError::Disconnected) => return Err(()),
        }
    }
}

/// In whole milliseconds, rounded up so that nothing is woken for too early.
fn timeout(time: Option<Duration>) -> PollTimeout {
    let Some(time) = time else { return PollTimeout::NONE };
    let ms = time.as_micros().div_ceil(1_000).min(i32::MAX as u128);
    PollTimeout::try_from(ms as i32).unwrap_or(PollTimeout::MAX)
}
