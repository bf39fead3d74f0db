//! A board's map, `board/NAME/board.toml`: which LEDs, keys and serial panel it has.
//!
//! ```toml
//! name = "Zyxel NSA310"
//!
//! [leds]                       # names in /sys/class/leds
//! status = "nsa310:green:sys"
//! fault = "nsa310:red:sys"     # may be missing: the status LED tells faults too
//!
//! [keys]                       # of linux/input-event-codes.h, or their numbers
//! button = "KEY_COPY"
//! power = "KEY_POWER"
//! reset = "KEY_RESTART"
//!
//! [serial]
//! panel = "microp"             # or "qnap"
//! port = "/dev/ttyS1"
//! ```
//!
//! Each part may be missing, but not all of them.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::os::cli::config::{ConfigError, Wrong, integer, missing, read, string, table, unknown_key};
use crate::panel::{Glow, Key, microp, qnap};

/// See the module.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct BoardMap {
    /// The board's name, for people.
    pub name: String,
    /// The status LED's name in `/sys/class/leds`.
    pub status: Option<String>,
    /// The fault LED's; only together with a status LED.
    pub fault: Option<String>,
    /// Codes of keys (`linux/input-event-codes.h`) and what they are here; each code and each key once.
    pub keys: Vec<(u16, Key)>,
    /// The serial panel.
    pub serial: Option<SerialMap>,
}

/// A panel behind a serial port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SerialMap {
    /// Its protocol.
    pub protocol: Protocol,
    /// The port's device, an absolute path.
    pub port: PathBuf,
}

/// The language of a serial panel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// Synology's, see [`microp`].
    Microp,
    /// QNAP's, see [`qnap`].
    Qnap,
}

impl Protocol {
    /// Bits per second.
    pub fn baud(self) -> u32 {
        match self {
            Protocol::Microp => microp::BAUD,
            Protocol::Qnap => qnap::BAUD,
        }
    }

    /// What is sent when the panel is taken over.
    pub fn start(self) -> &'static [u8] {
        match self {
            Protocol::Microp => microp::START,
            Protocol::Qnap => qnap::START,
        }
    }

    /// The key that a byte tells of.
    pub fn key(self, byte: u8) -> Option<Key> {
        match self {
            Protocol::Microp => microp::key(byte),
            Protocol::Qnap => qnap::key(byte),
        }
    }

    /// The byte for a glow.
    pub fn byte(self, glow: Glow) -> u8 {
        match self {
            Protocol::Microp => microp::byte(glow),
            Protocol::Qnap => qnap::byte(glow),
        }
    }
}

impl BoardMap {
    /// Reads the file at `path`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(path, &read(path)?.ok_or_else(|| missing(path))?)
    }

    /// Reads the text of the file at `path`, which is for messages alone.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        table(path, text, |table| {
            let mut map = Self::default();
            for (key, value) in table {
                match key.get_ref().as_ref() {
                    "name" => map.name = string("name", value)?.to_owned(),
                    "leds" => map.leds(inner("leds", value)?)?,
                    "keys" => map.keys(inner("keys", value)?)?,
                    "serial" => map.serial = Some(serial(value)?),
                    other => return Err(Wrong { span: key.span(), what: unknown_key(other, &PARTS) }),
                }
            }
            if map.status.is_none() && map.keys.is_empty() && map.serial.is_none() {
                return Err(Wrong { span: 0..0, what: "the map has neither LEDs nor keys nor a serial panel".into() });
            }
            Ok(map)
        })
    }

    fn leds(&mut self, table: &DeTable<'_>) -> Result<(), Wrong> {
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "status" => self.status = Some(led("status", value)?),
                "fault" => self.fault = Some(led("fault", value)?),
                other => return Err(Wrong { span: key.span(), what: unknown_key(other, &LEDS) }),
            }
        }
        let fault = table.get("fault").filter(|_| self.fault.is_some());
        match fault {
            Some(value) if self.fault == self.status => Err(Wrong::at(value, "the LED is named twice".into())),
            Some(value) if self.status.is_none() => Err(Wrong::at(
                value,
                "'fault' needs a 'status' beside it: where there is one LED, it is 'status'".into(),
            )),
            _ => Ok(()),
        }
    }

    fn keys(&mut self, table: &DeTable<'_>) -> Result<(), Wrong> {
        for (name, value) in table {
            let key = match name.get_ref().as_ref() {
                "button" => Key::Button,
                "power" => Key::Power,
                "reset" => Key::Reset,
                other => return Err(Wrong { span: name.span(), what: unknown_key(other, &KEYS) }),
            };
            let code = code(name.get_ref(), value)?;
            if self.keys.iter().any(|(other, _)| *other == code) {
                return Err(Wrong::at(value, format!("the key code {code:#x} is named twice")));
            }
            self.keys.push((code, key));
        }
        Ok(())
    }
}

fn inner<'a, 'b>(key: &str, value: &'a Spanned<DeValue<'b>>) -> Result<&'a DeTable<'b>, Wrong> {
    value.get_ref().as_table().ok_or_else(|| Wrong::kind(key, "a table", value))
}

/// The name of an LED, which is that of a directory.
fn led(key: &str, value: &Spanned<DeValue<'_>>) -> Result<String, Wrong> {
    let name = string(key, value)?;
    if name.is_empty() || name.len() > LED_NAME_MAX || name.contains(['/', '\0']) || matches!(name, "." | "..") {
        return Err(Wrong::at(value, format!("{name:?} is no name of a directory in /sys/class/leds")));
    }
    Ok(name.to_owned())
}

fn code(key: &str, value: &Spanned<DeValue<'_>>) -> Result<u16, Wrong> {
    if value.get_ref().is_integer() {
        return integer(key, value, CODE_RANGE).map(|code| code as u16);
    }
    let name = string(key, value)?;
    CODES.iter().find(|(known, _)| *known == name).map(|(_, code)| *code).ok_or_else(|| {
        let known: Vec<&str> = CODES.iter().map(|(known, _)| *known).collect();
        let known = known.join(", ");
        Wrong::at(value, format!("{name:?} is no key code known here: give its number, or one of {known}"))
    })
}

fn serial(value: &Spanned<DeValue<'_>>) -> Result<SerialMap, Wrong> {
    let (mut protocol, mut port) = (None, None);
    for (key, value) in inner("serial", value)? {
        match key.get_ref().as_ref() {
            "panel" => {
                protocol = Some(match string("panel", value)? {
                    "microp" => Protocol::Microp,
                    "qnap" => Protocol::Qnap,
                    other => {
                        let what = format!("'panel' is \"microp\" or \"qnap\", not {other:?}");
                        return Err(Wrong::at(value, what));
                    }
                });
            }
            "port" => {
                let path = PathBuf::from(string("port", value)?);
                if !path.is_absolute() {
                    return Err(Wrong::at(value, "'port' must be an absolute path such as \"/dev/ttyS1\"".into()));
                }
                port = Some(path);
            }
            other => return Err(Wrong { span: key.span(), what: unknown_key(other, &SERIAL) }),
        }
    }
    match (protocol, port) {
        (Some(protocol), Some(port)) => Ok(SerialMap { protocol, port }),
        _ => Err(Wrong::at(value, "'serial' needs both a 'panel' and a 'port'".into())),
    }
}

const PARTS: [&str; 4] = ["name", "leds", "keys", "serial"];
const LEDS: [&str; 2] = ["status", "fault"];
const KEYS: [&str; 3] = ["button", "power", "reset"];
const SERIAL: [&str; 2] = ["panel", "port"];
/// LED_MAX_NAME_SIZE of linux/leds.h.
const LED_NAME_MAX: usize = 63;
/// Up to KEY_MAX.
const CODE_RANGE: (i64, i64) = (1, 0x2ff);
/// Key codes that boxes have; linux/input-event-codes.h.
const CODES: [(&str, u16); 8] = [
    ("KEY_POWER", 0x74),
    ("KEY_COPY", 0x85),
    ("KEY_SETUP", 0x8d),
    ("KEY_PROG1", 0x94),
    ("KEY_F13", 0xb7),
    ("KEY_VENDOR", 0x168),
    ("KEY_RESTART", 0x198),
    ("KEY_WPS_BUTTON", 0x211),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> BoardMap {
        BoardMap::parse(Path::new("b.toml"), text).expect("accepted")
    }

    fn refused(text: &str) -> String {
        BoardMap::parse(Path::new("b.toml"), text).expect_err("refused").to_string()
    }

    #[test]
    fn the_documented_map_is_read() {
        let docs = include_str!("board.rs").lines().map_while(|line| line.strip_prefix("//!"));
        let text: Vec<&str> =
            docs.skip_while(|line| *line != " ```toml").skip(1).take_while(|l| *l != " ```").collect();
        let map = parse(&text.join("\n"));
        assert_eq!(map.name, "Zyxel NSA310");
        assert_eq!((map.status.as_deref(), map.fault.as_deref()), (Some("nsa310:green:sys"), Some("nsa310:red:sys")));
        assert_eq!(map.keys.len(), 3);
        assert!(map.keys.contains(&(0x85, Key::Button)) && map.keys.contains(&(0x198, Key::Reset)));
        let serial = SerialMap { protocol: Protocol::Microp, port: "/dev/ttyS1".into() };
        assert_eq!(map.serial, Some(serial));
    }

    #[test]
    fn each_part_may_stand_alone() {
        assert_eq!(parse("leds.status = \"a\"").status.as_deref(), Some("a"));
        assert_eq!(parse("keys.button = 0x211").keys, [(0x211, Key::Button)]);
        let serial = parse("serial.panel = \"qnap\"\nserial.port = \"/dev/ttyS1\"").serial.expect("a panel");
        assert_eq!(serial.protocol.baud(), 19_200);
    }

    #[test]
    fn a_wrong_map_is_refused_with_its_line() {
        let table = [
            ("", "b.toml:1: the map has neither LEDs nor keys nor a serial panel"),
            ("name = \"x\"\nled.status = \"a\"", "b.toml:2: there is no key 'led': did you mean 'leds'?"),
            ("[leds]\nstaus = \"a\"", "b.toml:2: there is no key 'staus': did you mean 'status'?"),
            ("[leds]\nstatus = \"a\"\nfault = \"a\"", "b.toml:3: the LED is named twice"),
            ("[leds]\nfault = \"a\"", "b.toml:2: 'fault' needs a 'status' beside it"),
            ("[leds]\nstatus = \"../brightness\"", "b.toml:2: \"../brightness\" is no name of a directory"),
            ("[leds]\nstatus = \"\"", "b.toml:2: \"\" is no name of a directory in /sys/class/leds"),
            ("[leds]\nstatus = 1", "b.toml:2: 'status' must be a string, not an integer"),
            ("leds = 1", "b.toml:1: 'leds' must be a table, not an integer"),
            ("[keys]\nbuttn = \"KEY_COPY\"", "b.toml:2: there is no key 'buttn': did you mean 'button'?"),
            ("[keys]\nbutton = \"KEY_COPPY\"", "b.toml:2: \"KEY_COPPY\" is no key code known here: give its number"),
            ("[keys]\nbutton = 0", "b.toml:2: 'button' must be 1 to 767"),
            ("[keys]\nbutton = 0x300", "b.toml:2: 'button' must be 1 to 767"),
            ("[keys]\nbutton = \"KEY_COPY\"\nreset = 0x85", "b.toml:3: the key code 0x85 is named twice"),
            ("[keys]\nbutton = 1\nbutton = 2", "b.toml:3: duplicate key"),
            ("[serial]\npanel = \"microp\"", "b.toml:1: 'serial' needs both a 'panel' and a 'port'"),
            ("[serial]\npanel = \"zyxel\"", "b.toml:2: 'panel' is \"microp\" or \"qnap\", not \"zyxel\""),
            ("[serial]\nport = \"ttyS1\"", "b.toml:2: 'port' must be an absolute path"),
            ("[serial]\nbaud = 9600", "b.toml:2: there is no key 'baud'"),
        ];
        for (text, expected) in table {
            let error = refused(text);
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn every_board_of_ours_is_read() {
        let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("board");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&boards).expect("board can be listed") {
            let path = entry.expect("board can be listed").path().join("board.toml");
            if path.exists() {
                let map = BoardMap::load(&path).unwrap_or_else(|error| panic!("{error}"));
                assert!(!map.name.is_empty(), "{}: 'name' is missing", path.display());
                names.push(map.name);
            }
        }
        assert!(names.len() >= 10, "boards: {names:?}");
        let error = BoardMap::load(&boards.join("none/board.toml")).expect_err("there is none").to_string();
        assert!(error.ends_with("none/board.toml cannot be read: there is no such file"), "{error}");
    }
}
