//! The drivers against directories that look like sysfs, pipes that speak evdev, and terminals that are serial ports.

use std::ffi::{c_long, c_ulong};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use embedded_io::ReadReady;
use nix::pty::{OpenptyResult, openpty};
use nix::sys::stat::Mode;
use nix::sys::termios::{LocalFlags, tcgetattr};

use super::*;
use crate::panel::{Rhythm, State, blink};

/// A directory that goes with the test.
struct Temp(PathBuf);

impl Temp {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dustfs-gpio-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// An LED of the kernel's that knows these triggers.
    fn led(&self, name: &str, triggers: &str) -> PathBuf {
        let led = self.0.join(name);
        fs::create_dir(&led).unwrap();
        fs::write(led.join("max_brightness"), "255\n").unwrap();
        fs::write(led.join("trigger"), triggers).unwrap();
        for file in ["brightness", "pattern", "repeat", "delay_on", "delay_off"] {
            fs::write(led.join(file), "").unwrap();
        }
        led
    }

    fn places(&self) -> Places {
        Places { leds: self.0.clone(), input: self.0.clone() }
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text(led: &Path, file: &str) -> String {
    fs::read_to_string(led.join(file)).unwrap()
}

fn events() -> (Events, Receiver<FrontEvent>) {
    let (sender, receiver) = mpsc::channel();
    (Arc::new(move |event| sender.send(event).unwrap()), receiver)
}

/// The next event, in good time.
fn next(events: &Receiver<FrontEvent>) -> FrontEvent {
    events.recv_timeout(Duration::from_secs(10)).expect("an event")
}

fn pty() -> (File, OwnedFd, PathBuf) {
    let OpenptyResult { master, slave } = openpty(None, None).unwrap();
    let path = fs::read_link(format!("/proc/self/fd/{}", slave.as_raw_fd())).unwrap();
    (master.into(), slave, path)
}

fn read_bytes(file: &mut File, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    file.read_exact(&mut bytes).unwrap();
    bytes
}

const ALL: &str = "none timer [heartbeat] pattern\n";

#[test]
fn the_pattern_trigger_plays_all_but_steady_lights() {
    let temp = Temp::new("pattern");
    let led = temp.led("green", ALL);
    let mut leds = Leds::open(&temp.0, Some("green"), None);
    assert!(leds.play(&State::Window.light()));
    assert_eq!((text(&led, "trigger"), text(&led, "repeat")), ("pattern".into(), "-1".into()));
    assert_eq!(text(&led, "pattern"), "255 500 255 0 0 500 0 0");
    // Dark for a second, the lead-in, dark; a one; dark for a second each time.
    assert!(leds.play(&State::SignIn([1, 1]).light()));
    let (lead, on, gap) = (blink::LEAD_LIT_MS, blink::ON_MS, blink::GAP_MS);
    let dark = format!("0 {gap} 0 0");
    let one = format!("255 {on} 255 0 {dark}");
    assert_eq!(text(&led, "pattern"), format!("0 1000 0 0 255 {lead} 255 0 {dark} {one} {one}"));
    assert!(leds.play(&Rhythm::refused()));
    assert_eq!((text(&led, "repeat"), text(&led, "brightness")), ("1".into(), String::new()));
    assert!(leds.play(&State::Ready.light()));
    assert_eq!((text(&led, "trigger"), text(&led, "brightness")), ("none".into(), "255".into()));
    assert!(leds.play(&Light::steady(Glow::Dark)));
    assert_eq!(text(&led, "brightness"), "0");
    // The longest light fits what sysfs takes at once.
    leds.play(&State::Code([0; 4]).light());
    assert!(text(&led, "pattern").len() < 4_096);
}

#[test]
fn without_it_the_timer_plays_even_blinks_and_steps_the_rest() {
    let temp = Temp::new("timer");
    let led = temp.led("green", "[none] timer\n");
    let mut leds = Leds::open(&temp.0, Some("green"), None);
    assert!(leds.play(&State::Exchanging.light()));
    assert_eq!(text(&led, "trigger"), "timer");
    assert_eq!((text(&led, "delay_on"), text(&led, "delay_off")), ("150".into(), "150".into()));
    leds.glow(Glow::Status);
    assert_eq!(text(&led, "brightness"), "", "the kernel plays");
    assert!(!leds.play(&State::Code([1; 4]).light()));
    assert_eq!(text(&led, "trigger"), "none");
    leds.glow(Glow::Status);
    assert_eq!(text(&led, "brightness"), "255");
    assert!(!leds.play(&Rhythm::refused()), "a timer does not end");
}

#[test]
fn a_box_without_a_fault_led_tells_faults_by_the_other() {
    let temp = Temp::new("fault");
    let (green, red) = (temp.led("green", "[none]"), temp.led("red", "[none]"));
    let mut both = Leds::open(&temp.0, Some("green"), Some("red"));
    assert!(!both.play(&State::DiskFull.light()));
    both.glow(Glow::Fault);
    assert_eq!((text(&green, "brightness"), text(&red, "brightness")), ("0".into(), "255".into()));
    both.glow(Glow::Dark);
    assert_eq!(text(&red, "brightness"), "0");
    let mut one = Leds::open(&temp.0, Some("green"), Some("missing"));
    one.play(&State::DiskFull.light());
    one.glow(Glow::Fault);
    assert_eq!(text(&green, "brightness"), "255");
    let mut none = Leds::open(&temp.0, Some("missing"), None);
    assert!(none.play(&State::DiskFull.light()), "nothing to step");
}

#[test]
fn a_trigger_that_fails_is_stepped() {
    let temp = Temp::new("broken");
    let led = temp.led("green", ALL);
    fs::remove_file(led.join("pattern")).unwrap();
    let mut leds = Leds::open(&temp.0, Some("green"), None);
    assert!(!leds.play(&State::Code([1; 4]).light()));
    leds.glow(Glow::Status);
    assert_eq!(text(&led, "brightness"), "255");
}

#[test]
fn steps_are_written_in_time_and_the_end_is_dark() {
    let temp = Temp::new("steps");
    let led = temp.led("green", "[none]");
    fs::write(led.join("max_brightness"), "1").unwrap();
    fs::remove_file(led.join("brightness")).unwrap();
    nix::unistd::mkfifo(&led.join("brightness"), Mode::from_bits_truncate(0o600)).unwrap();
    let mut written = OpenOptions::new().read(true).write(true).open(led.join("brightness")).unwrap();
    let map = BoardMap { status: Some("green".into()), ..BoardMap::default() };
    let front = Front::start_in(&map, &temp.places(), events().0).unwrap();
    let began = Instant::now();
    front.show(State::Exchanging.light());
    assert_eq!(read_bytes(&mut written, 5), *b"10101");
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(599), "four steps of 150 ms took {took:?}");
    front.show(State::Ready.light());
    drop(front);
    written.write_all(b".").unwrap();
    let mut rest = Vec::new();
    while rest.last() != Some(&b'.') {
        rest.extend(read_bytes(&mut written, 1));
    }
    assert!(rest.ends_with(b"10.") || rest == *b"0.", "{rest:?}");
}

/// A record of evdev, as the kernel of this machine lays it out.
fn record(kind: u16, code: u16, value: i32) -> Vec<u8> {
    let mut record = Vec::new();
    record.extend_from_slice(&(1 as c_ulong).to_ne_bytes());
    record.extend_from_slice(&(2 as c_long).to_ne_bytes());
    record.extend_from_slice(&kind.to_ne_bytes());
    record.extend_from_slice(&code.to_ne_bytes());
    record.extend_from_slice(&value.to_ne_bytes());
    record
}

fn device() -> (UnixStream, KeyDevice) {
    let (kernel, node) = UnixStream::pair().unwrap();
    node.set_nonblocking(true).unwrap();
    let keys = [(0x85, Key::Button), (0x74, Key::Power)];
    (kernel, KeyDevice::new(OwnedFd::from(node).into(), "event0".into(), &keys))
}

fn edges(device: &mut KeyDevice) -> Vec<(Key, bool)> {
    let mut edges = Vec::new();
    device.read(&mut |key, down| edges.push((key, down))).unwrap();
    edges
}

#[test]
fn evdev_records_become_edges() {
    let (mut kernel, mut device) = device();
    assert_eq!(edges(&mut device), []);
    // Down, its report, repeated, a key that is no one's, a movement, up.
    for (kind, code, value) in [(1, 0x85, 1), (0, 0, 0), (1, 0x85, 2), (1, 0x1e, 1), (2, 0x85, 1), (1, 0x85, 0)] {
        kernel.write_all(&record(kind, code, value)).unwrap();
    }
    assert_eq!(edges(&mut device), [(Key::Button, true), (Key::Button, false)]);
    // In pieces of any size.
    let press = [record(1, 0x74, 1), record(1, 0x74, 0)].concat();
    let mut seen = Vec::new();
    for piece in press.chunks(5) {
        kernel.write_all(piece).unwrap();
        seen.extend(edges(&mut device));
    }
    assert_eq!(seen, [(Key::Power, true), (Key::Power, false)]);
    // A flood, more than one read takes.
    for _ in 0..100 {
        kernel.write_all(&press).unwrap();
    }
    assert_eq!(edges(&mut device).len(), 200);
}

#[test]
fn lost_records_let_go_what_is_up() {
    let (mut kernel, mut device) = device();
    kernel.write_all(&record(1, 0x85, 1)).unwrap();
    assert_eq!(edges(&mut device), [(Key::Button, true)]);
    // The pipe knows no state of keys: it says that none is down.
    kernel.write_all(&record(0, 3, 0)).unwrap();
    assert_eq!(edges(&mut device), [(Key::Button, false)]);
    kernel.write_all(&record(0, 3, 0)).unwrap();
    assert_eq!(edges(&mut device), []);
}

#[test]
fn a_device_that_goes_is_told() {
    let (kernel, mut device) = device();
    drop(kernel);
    assert!(device.read(&mut |_, _| {}).is_err());
}

#[test]
fn what_is_no_input_device_has_no_keys() {
    let temp = Temp::new("input");
    fs::write(temp.0.join("event0"), "").unwrap();
    fs::write(temp.0.join("mouse0"), "").unwrap();
    assert!(KeyDevice::find(&temp.0, &[(0x85, Key::Button)]).is_empty());
    assert!(KeyDevice::find(&temp.0.join("none"), &[(0x85, Key::Button)]).is_empty());
}

#[test]
fn a_serial_panel_is_played_and_read() {
    let temp = Temp::new("serial");
    let (mut panel, slave, port) = pty();
    let serial = Some(SerialMap { protocol: Protocol::Microp, port });
    let (sink, told) = events();
    let front = Front::start_in(&BoardMap { serial, ..BoardMap::default() }, &temp.places(), sink).unwrap();
    drop(slave);
    assert_eq!(read_bytes(&mut panel, 1), *b"4", "the power LED stays lit");
    front.show(State::Exchanging.light());
    assert_eq!(read_bytes(&mut panel, 3), *b"878");
    front.show(State::DiskFault.light());
    let mut sent = Vec::new();
    while !sent.ends_with(b":7") {
        sent.extend(read_bytes(&mut panel, 1));
    }
    // Bytes that a terminal would eat or change come as they are; those that are no keys do nothing.
    panel.write_all(b"\x03\r\n\x04`\x130a\x11z").unwrap();
    for key in [Key::Button, Key::Power, Key::Reset] {
        assert_eq!(next(&told), FrontEvent::Stroke { key });
    }
    front.show(State::Ready.light());
    drop(front);
    let mut rest = Vec::new();
    // A terminal whose other side is closed ends with an error.
    let _ = panel.read_to_end(&mut rest);
    assert_eq!(rest.last(), Some(&b'7'), "dark at the end: {rest:?}");
    assert!(!rest.contains(&b'\r'), "no echo: {rest:?}");
}

#[test]
fn a_serial_panel_that_goes_takes_nothing_with_it() {
    let temp = Temp::new("hangup");
    let (panel, slave, port) = pty();
    let led = temp.led("green", ALL);
    let serial = Some(SerialMap { protocol: Protocol::Qnap, port });
    let map = BoardMap { serial, status: Some("green".into()), ..BoardMap::default() };
    let front = Front::start_in(&map, &temp.places(), events().0).unwrap();
    drop((panel, slave));
    front.show(State::Exchanging.light());
    front.show(State::Ready.light());
    drop(front);
    assert_eq!(text(&led, "brightness"), "0", "the LED was served to the end");
}

#[test]
fn a_port_says_when_there_is_something() {
    let (mut other, slave, path) = pty();
    let mut port = SerialPort::open(&path, 9_600).unwrap();
    assert!(!port.read_ready().unwrap());
    other.write_all(b"a").unwrap();
    let mut byte = [0];
    assert_eq!(embedded_io::Read::read(&mut port, &mut byte).unwrap(), 1);
    assert_eq!((byte, port.read_ready().unwrap()), (*b"a", false));
    assert!(SerialPort::open(&path, 1_234).is_err());
    assert!(SerialPort::open(Path::new("/dev/null"), 9_600).is_err(), "no port");
    drop(slave);
}

#[test]
fn the_terminal_presses_and_draws_and_is_given_back() {
    let (mut person, slave, path) = pty();
    let before = tcgetattr(&slave).unwrap();
    let (sink, told) = events();
    let front = Front::terminal_at(&path, sink).unwrap();
    assert!(!tcgetattr(&slave).unwrap().local_flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO));
    assert!(tcgetattr(&slave).unwrap().local_flags.contains(LocalFlags::ISIG), "Ctrl-C works");
    let began = Instant::now();
    person.write_all(b"xp").unwrap();
    assert_eq!(next(&told), FrontEvent::Key { key: Key::Button, down: true });
    assert_eq!(next(&told), FrontEvent::Key { key: Key::Button, down: false });
    assert!(began.elapsed() >= Duration::from_millis(200));
    front.show(State::Ready.light());
    let mut drawn = Vec::new();
    while !String::from_utf8_lossy(&drawn).contains("\u{25cf}") {
        drawn.extend(read_bytes(&mut person, 1));
    }
    assert!(String::from_utf8_lossy(&drawn).contains("held"));
    drop(front);
    assert_eq!(tcgetattr(&slave).unwrap().local_flags, before.local_flags);
}

#[test]
fn each_letter_holds_its_time() {
    let (mut person, _slave, path) = pty();
    let mut terminal = Terminal::open(&path).unwrap();
    let mut now = Instant::now();
    for (letter, key, ms) in
        [(b'p', Key::Button, 200), (b'h', Key::Button, 3_000), (b'l', Key::Button, 11_000), (b'o', Key::Power, 200)]
    {
        // What is typed during a hold is not pressed.
        person.write_all(&[letter, b'r']).unwrap();
        let mut edges = Vec::new();
        while edges.is_empty() {
            terminal.read(now, &mut |key, down| edges.push((key, down))).unwrap();
        }
        assert_eq!(terminal.release_at(), Some(now + Duration::from_millis(ms)));
        terminal.release(now + Duration::from_millis(ms - 1), &mut |key, down| edges.push((key, down)));
        now += Duration::from_millis(ms);
        terminal.release(now, &mut |key, down| edges.push((key, down)));
        assert_eq!(edges, [(key, true), (key, false)]);
    }
    drop(person);
    assert!(terminal.read(now, &mut |_, _| {}).is_err(), "the terminal is gone");
}

#[test]
fn no_terminal_is_an_error_with_a_remedy() {
    let error = Front::terminal_at(Path::new("/dev/null"), events().0).err().expect("no terminal").to_string();
    assert!(error.starts_with("the panel cannot be drawn at /dev/null: "), "{error}");
    assert!(error.ends_with("start the node in a terminal, or without --panel terminal"), "{error}");
}

#[test]
fn the_panel_may_be_dropped_by_its_own_events() {
    let (mut person, _slave, path) = pty();
    let slot: Arc<std::sync::Mutex<Option<Front>>> = Arc::default();
    let (inner, (sender, receiver)) = (slot.clone(), mpsc::channel());
    let events: Events = Arc::new(move |_| {
        drop(inner.lock().unwrap().take());
        let _ = sender.send(());
    });
    *slot.lock().unwrap() = Some(Front::terminal_at(&path, events).unwrap());
    person.write_all(b"p").unwrap();
    receiver.recv_timeout(Duration::from_secs(10)).expect("dropped");
}
