//! What a node is started with: the config file, checked, and the command line's flags, which beat it.

use std::fmt;
use std::io::Read;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
pub use super::quota::{quota, span};
use crate::node::ScrubRate;
use crate::wire::statement::check_label;

/// The port that a node listens on unless told otherwise. When it is taken, a node that was not told takes a free one.
pub const DEFAULT_PORT: u16 = 47_470;
/// Name of the config file in the state directory.
pub const CONFIG_FILE: &str = "config.toml";
/// The keys of the config file.
pub const KEYS: [&str; 16] = [
    "allow_other",
    "cache",
    "cache_bytes",
    "copies",
    "fetch",
    "listen",
    "mount",
    "name",
    "page",
    "page_names",
    "panel",
    "quota",
    "scrub",
    "threads",
    "versions",
    "versions_time",
];
/// The page's port where an address alone is given.
pub const PAGE_PORT: u16 = 8_080;
/// The ledger's memory unless told otherwise, in bytes.
pub const DEFAULT_CACHE_BYTES: usize = 4 << 20;
/// FUSE threads unless told otherwise.
pub const DEFAULT_THREADS: usize = 2;

const CONFIG_MAX: u64 = 65_536;
const LISTEN_MAX: usize = 16;
const PAGE_NAMES_MAX: usize = 16;
const CACHE_BYTES_RANGE: (i64, i64) = (1 << 20, 1 << 30);
const THREADS_RANGE: (i64, i64) = (1, 64);
/// More nodes than these are never asked.
const COPIES_RANGE: (i64, i64) = (1, 16);

/// What a node fetches without being asked.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Fetch {
    /// Every file of its circles.
    #[default]
    Everything,
    /// What is opened, when it is opened.
    OnDemand,
}

impl Fetch {
    /// The words of all, as the command line and the file say them.
    pub const WORDS: [&str; 2] = ["everything", "ondemand"];

    /// The one with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "everything" => Some(Fetch::Everything),
            "ondemand" => Some(Fetch::OnDemand),
            _ => None,
        }
    }
}

/// The front panel that a node has.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum PanelChoice {
    /// None.
    #[default]
    None,
    /// Drawn in the terminal that the node was started in, and pressed on its keyboard.
    Terminal,
    /// The board's own; its map, an absolute path.
    Board(PathBuf),
}

impl PanelChoice {
    /// Reads `none`, `terminal` or the path of a board's map.
    pub fn from_word(word: &str) -> Self {
        match word {
            "none" => PanelChoice::None,
            "terminal" => PanelChoice::Terminal,
            path => PanelChoice::Board(path.into()),
        }
    }

    fn absolute(self) -> Self {
        match self {
            PanelChoice::Board(path) => PanelChoice::Board(std::path::absolute(&path).unwrap_or(path)),
            other => other,
        }
    }
}

/// Everything that a node is started with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeConfig {
    /// The state directory.
    pub state: PathBuf,
    /// The node's name, used when its state is made; `None` means the host's name.
    pub name: Option<String>,
    /// Where to listen, at least one; see [`NodeConfig::listen_is_default`].
    pub listen: Vec<SocketAddr>,
    /// Nobody chose `listen`, so a free port may be taken when the default one is taken.
    pub listen_is_default: bool,
    /// Where to mount, absolute; never together with `cache`.
    pub mount: Option<PathBuf>,
    /// Store and serve ciphertext, and mount nothing.
    pub cache: bool,
    /// What to fetch.
    pub fetch: Fetch,
    /// The ledger's memory, in bytes: 1 MiB to 1 GiB.
    pub cache_bytes: usize,
    /// FUSE threads: 1 to 64.
    pub threads: usize,
    /// The mount lets other users in, as far as the files' modes do.
    pub allow_other: bool,
    /// The front panel.
    pub panel: PanelChoice,
    /// Where the page is listened for; nowhere unless somebody says where.
    pub page: Option<SocketAddr>,
    /// Names under which the page answers beside its addresses and `NAME.local`.
    pub page_names: Vec<String>,
    /// Bytes that are kept for circles in which the node is a cache; `None` leaves it to the disk.
    pub quota: Option<u64>,
    /// Others that have to hold a body whole before it is let go; `None` means 2.
    pub copies: Option<usize>,
    /// Bytes that older versions may take; `None` means a tenth of the disk.
    pub versions: Option<u64>,
    /// How long older versions are kept; `None` means 30 days.
    pub versions_time: Option<Duration>,
    /// How fast everything is hashed by and by.
    pub scrub: ScrubRate,
    /// What is wrong with the box, told by whoever starts the node.
    pub problem: Option<String>,
    /// Below this directory disks of their owner's are mounted.
    pub disks: Option<PathBuf>,
}

/// The flags of `dustfs node`; what is `None` or empty was not given.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct NodeFlags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--name`.
    pub name: Option<String>,
    /// `--listen`, each.
    pub listen: Vec<SocketAddr>,
    /// `--mount`.
    pub mount: Option<PathBuf>,
    /// `--cache`.
    pub cache: bool,
    /// `--fetch`.
    pub fetch: Option<Fetch>,
    /// `--panel`.
    pub panel: Option<PanelChoice>,
    /// `--page`.
    pub page: Option<SocketAddr>,
    /// `--quota`, in bytes.
    pub quota: Option<u64>,
    /// `--problem`.
    pub problem: Option<String>,
    /// `--disks`.
    pub disks: Option<PathBuf>,
}

/// A config file that was read.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct FileConfig {
    name: Option<String>,
    listen: Option<Vec<SocketAddr>>,
    mount: Option<PathBuf>,
    cache: Option<bool>,
    fetch: Option<Fetch>,
    cache_bytes: Option<usize>,
    threads: Option<usize>,
    allow_other: Option<bool>,
    panel: Option<PanelChoice>,
    page: Option<SocketAddr>,
    page_names: Option<Vec<String>>,
    quota: Option<u64>,
    copies: Option<usize>,
    versions: Option<u64>,
    versions_time: Option<Duration>,
    scrub: Option<ScrubRate>,
}

/// What is wrong with a config file, all the operator's to mend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// It cannot be read: which, and the system's words.
    Unreadable(PathBuf, String),
    /// A line is wrong: which file, its line from 1, what.
    Line(PathBuf, usize, String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable(path, why) => write!(f, "the config {} cannot be read: {why}", path.display()),
            ConfigError::Line(path, line, what) => write!(f, "{}:{line}: {what}", path.display()),
        }
    }
}

impl std::error::Error for ConfigError {}

impl NodeConfig {
    /// The configuration of a node at `state`: `flags` beat the file that they name, else `config.toml` in `state` where
    /// there is one.
    pub fn load(state: &Path, flags: NodeFlags) -> Result<Self, ConfigError> {
        let file = match &flags.config {
            Some(path) => FileConfig::parse(path, &read(path)?.ok_or_else(|| missing(path))?)?,
            None => {
                let path = state.join(CONFIG_FILE);
                read(&path)?.map(|text| FileConfig::parse(&path, &text)).transpose()?.unwrap_or_default()
            }
        };
        let mount = flags.mount.clone().map(|mount| std::path::absolute(&mount).unwrap_or(mount));
        let state = std::path::absolute(state).unwrap_or_else(|_| state.to_owned());
        let panel = flags.panel.clone().map(PanelChoice::absolute);
        Ok(Self::merge(state, NodeFlags { mount, panel, ..flags }, file))
    }

    /// `flags` over `file` over the defaults.
    fn merge(state: PathBuf, flags: NodeFlags, file: FileConfig) -> Self {
        let chosen = if flags.listen.is_empty() { file.listen } else { Some(flags.listen) };
        let cache = flags.cache || (flags.mount.is_none() && file.cache == Some(true));
        let mount = if cache { None } else { flags.mount.or(file.mount) };
        Self {
            state,
            name: flags.name.or(file.name),
            listen_is_default: chosen.is_none(),
            listen: chosen.unwrap_or_else(|| vec![SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), DEFAULT_PORT)]),
            mount,
            cache,
            fetch: flags.fetch.or(file.fetch).unwrap_or_default(),
            cache_bytes: file.cache_bytes.unwrap_or(DEFAULT_CACHE_BYTES),
            threads: file.threads.unwrap_or(DEFAULT_THREADS),
            allow_other: file.allow_other.unwrap_or(false),
            panel: flags.panel.or(file.panel).unwrap_or_default(),
            page: flags.page.or(file.page),
            page_names: file.page_names.unwrap_or_default(),
            quota: flags.quota.or(file.quota),
            copies: file.copies,
            versions: file.versions,
            versions_time: file.versions_time,
            scrub: file.scrub.unwrap_or_default(),
            problem: flags.problem,
            disks: flags.disks,
        }
    }
}

/// The text of the file; `None` when there is none.
pub(in crate::os) fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    let unreadable = |why: String| ConfigError::Unreadable(path.to_owned(), why);
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(unreadable(why.to_string())),
    };
    let mut text = String::new();
    file.take(CONFIG_MAX + 1).read_to_string(&mut text).map_err(|why| unreadable(why.to_string()))?;
    if text.len() as u64 > CONFIG_MAX {
        return Err(unreadable(format!("it is longer than {CONFIG_MAX} bytes")));
    }
    Ok(Some(text))
}

pub(in crate::os) fn missing(path: &Path) -> ConfigError {
    ConfigError::Unreadable(path.to_owned(), "there is no such file".into())
}

impl FileConfig {
    /// Reads the text of the file at `path`, which is for messages alone.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        table(path, text, |table| {
            let mut config = Self::default();
            for (key, value) in table {
                if !KEYS.contains(&key.get_ref().as_ref()) {
                    return Err(Wrong { span: key.span(), what: unknown_key(key.get_ref(), &KEYS) });
                }
                config.set(key.get_ref(), value)?;
            }
            if let (Some(_), Some(true), Some((key, _))) = (&config.mount, config.cache, table.get_key_value("cache")) {
                let what = "'cache' and 'mount' exclude each other: a cache can read nothing";
                return Err(Wrong { span: key.span(), what: what.into() });
            }
            Ok(config)
        })
    }

    fn set(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<(), Wrong> {
        match key {
            "name" => {
                let name = string(key, value)?;
                check_label(name).map_err(|why| Wrong::at(value, format!("'name' cannot be used: {why}")))?;
                self.name = Some(name.to_owned());
            }
            "listen" => self.listen = Some(addresses(key, value)?),
            "mount" => {
                let mount = PathBuf::from(string(key, value)?);
                if !mount.is_absolute() {
                    return Err(Wrong::at(value, "'mount' must be an absolute path".into()));
                }
                self.mount = Some(mount);
            }
            "cache" => self.cache = Some(boolean(key, value)?),
            "allow_other" => self.allow_other = Some(boolean(key, value)?),
            "fetch" => {
                let word = string(key, value)?;
                let fetch = Fetch::from_word(word).ok_or_else(|| {
                    Wrong::at(value, format!("'fetch' is \"everything\" or \"ondemand\", not {word:?}"))
                })?;
                self.fetch = Some(fetch);
            }
            "panel" => {
                let panel = PanelChoice::from_word(string(key, value)?);
                if let PanelChoice::Board(path) = &panel
                    && !path.is_absolute()
                {
                    let what = "'panel' is \"terminal\", \"none\" or the absolute path of a board's map";
                    return Err(Wrong::at(value, what.into()));
                }
                self.panel = Some(panel);
            }
            "page" => {
                self.page = Some(page_address(string(key, value)?).map_err(|why| Wrong::at(value, why))?);
            }
            "page_names" => self.page_names = Some(host_names(key, value)?),
            "quota" => self.quota = Some(quota(string(key, value)?).map_err(|why| Wrong::at(value, why))?),
            "copies" => self.copies = Some(integer(key, value, COPIES_RANGE)?),
            "versions" => self.versions = Some(quota(string(key, value)?).map_err(|why| Wrong::at(value, why))?),
            "versions_time" => {
                self.versions_time = Some(span(string(key, value)?).map_err(|why| Wrong::at(value, why))?);
            }
            "scrub" => {
                let rate = match string(key, value)? {
                    "off" => ScrubRate::Off,
                    rate => ScrubRate::Bytes(quota(rate).map_err(|why| Wrong::at(value, why))?),
                };
                self.scrub = Some(rate);
            }
            "cache_bytes" => self.cache_bytes = Some(integer(key, value, CACHE_BYTES_RANGE)?),
            _ => self.threads = Some(integer(key, value, THREADS_RANGE)?),
        }
        Ok(())
    }
}

/// Reads a TOML text of the file at `path`; what is wrong is told with its line.
pub(in crate::os) fn table<T>(
    path: &Path,
    text: &str,
    read: impl FnOnce(&DeTable<'_>) -> Result<T, Wrong>,
) -> Result<T, ConfigError> {
    let line = |span: std::ops::Range<usize>| 1 + text.bytes().take(span.start).filter(|&byte| byte == b'\n').count();
    let wrong = |span, what: String| ConfigError::Line(path.to_owned(), line(span), what);
    let table =
        DeTable::parse(text).map_err(|why| wrong(why.span().unwrap_or(0..0), why.message().replace('\n', ": ")))?;
    read(table.get_ref()).map_err(|Wrong { span, what }| wrong(span, what))
}

/// What is wrong, and where in the text.
pub(in crate::os) struct Wrong {
    /// In bytes.
    pub(in crate::os) span: std::ops::Range<usize>,
    /// For people.
    pub(in crate::os) what: String,
}

impl Wrong {
    pub(in crate::os) fn at(value: &Spanned<DeValue<'_>>, what: String) -> Self {
        Self { span: value.span(), what }
    }

    pub(in crate::os) fn kind(key: &str, expected: &str, value: &Spanned<DeValue<'_>>) -> Self {
        Self::at(value, format!("'{key}' must be {expected}, not {}", article(value.get_ref().type_str())))
    }
}

fn article(kind: &str) -> String {
    let an = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if an { "an" } else { "a" })
}

pub(in crate::os) fn string<'a>(key: &str, value: &'a Spanned<DeValue<'_>>) -> Result<&'a str, Wrong> {
    value.get_ref().as_str().ok_or_else(|| Wrong::kind(key, "a string", value))
}

fn boolean(key: &str, value: &Spanned<DeValue<'_>>) -> Result<bool, Wrong> {
    value.get_ref().as_bool().ok_or_else(|| Wrong::kind(key, "true or false", value))
}

pub(in crate::os) fn integer(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    (least, most): (i64, i64),
) -> Result<usize, Wrong> {
    let digits = value.get_ref().as_integer().ok_or_else(|| Wrong::kind(key, "an integer", value))?;
    i64::from_str_radix(digits.as_str(), digits.radix())
        .ok()
        .filter(|number| (least..=most).contains(number))
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| Wrong::at(value, format!("'{key}' must be {least} to {most}")))
}

fn addresses(key: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<SocketAddr>, Wrong> {
    let expected = "a list of addresses such as [\"[::]:47470\"]";
    let list = value.get_ref().as_array().ok_or_else(|| Wrong::kind(key, expected, value))?;
    if list.is_empty() || list.len() > LISTEN_MAX {
        return Err(Wrong::at(value, format!("'{key}' must have 1 to {LISTEN_MAX} addresses")));
    }
    list.iter()
        .map(|item| {
            let text = item.get_ref().as_str().ok_or_else(|| Wrong::kind(key, expected, item))?;
            address(text).map_err(|why| Wrong::at(item, why))
        })
        .collect()
}

fn host_names(key: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, Wrong> {
    let expected = "a list of names such as [\"attic.example.org\"]";
    let list = value.get_ref().as_array().ok_or_else(|| Wrong::kind(key, expected, value))?;
    if list.len() > PAGE_NAMES_MAX {
        return Err(Wrong::at(value, format!("'{key}' has at most {PAGE_NAMES_MAX} names")));
    }
    let is_name = |name: &&str| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        (1..=253).contains(&name.len()) && name.bytes().all(letter)
    };
    list.iter()
        .map(|item| {
            let name = item.get_ref().as_str().ok_or_else(|| Wrong::kind(key, expected, item))?;
            let name = Some(name).filter(is_name).ok_or_else(|| {
                Wrong::at(item, format!("{name:?} is no name of a host: write one such as \"attic.example.org\""))
            })?;
            Ok(name.to_owned())
        })
        .collect()
}

/// Reads an address for the page: `ADDRESS:PORT`, or an address alone for [`PAGE_PORT`]. Port 0 takes a free one.
pub fn page_address(text: &str) -> Result<SocketAddr, String> {
    socket_address(text, PAGE_PORT).ok_or_else(|| {
        format!("{text:?} is no address for the page: write one such as 127.0.0.1:{PAGE_PORT} or [::]:80")
    })
}

/// Reads an address to listen on: `ADDRESS:PORT`, or an address alone for the default port. Port 0 takes a free one.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    socket_address(text, DEFAULT_PORT).ok_or_else(|| {
        format!("{text:?} is no address to listen on: write one such as [::]:{DEFAULT_PORT} or 192.168.1.5")
    })
}

fn socket_address(text: &str, port: u16) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    text.parse().or_else(|_| bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port))).ok()
}

pub(in crate::os) fn unknown_key(key: &str, keys: &[&str]) -> String {
    match nearest(key, keys) {
        Some(known) => format!("there is no key '{}': did you mean '{known}'?", key.escape_debug()),
        None => format!("there is no key '{}': the keys are {}", key.escape_debug(), keys.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        FileConfig::parse(Path::new("c.toml"), text).expect_err("refused").to_string()
    }

    fn parse(text: &str) -> FileConfig {
        FileConfig::parse(Path::new("c.toml"), text).expect("accepted")
    }

    #[test]
    fn a_whole_file_is_read() {
        let text = "# a box\nname = \"attic\"\nlisten = [\"[::]:0\", \"10.0.0.1:99\"]\nmount = \"/srv/dust\"\n\
                    fetch = \"ondemand\"\ncache_bytes = 0x20_0000\nthreads = 4\npanel = \"/b.toml\"\n\
                    allow_other = true\n\
                    page = \"0.0.0.0:80\"\npage_names = [\"attic.example.org\"]\nquota = \"20 GB\"\n";
        let config = NodeConfig::merge("/s".into(), NodeFlags::default(), parse(text));
        assert_eq!(config.name.as_deref(), Some("attic"));
        assert_eq!(config.listen, ["[::]:0".parse().unwrap(), "10.0.0.1:99".parse().unwrap()]);
        assert!(!config.listen_is_default && !config.cache);
        assert_eq!(config.mount, Some("/srv/dust".into()));
        assert_eq!((config.fetch, config.cache_bytes, config.threads), (Fetch::OnDemand, 2 << 20, 4));
        assert!(config.allow_other);
        assert_eq!(config.panel, PanelChoice::Board("/b.toml".into()));
        assert_eq!(config.page, Some("0.0.0.0:80".parse().unwrap()));
        assert_eq!(config.page_names, ["attic.example.org"]);
        assert_eq!(config.quota, Some(20_000_000_000));
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let config = NodeConfig::merge("/s".into(), NodeFlags::default(), parse(""));
        assert_eq!(config.listen, ["[::]:47470".parse().unwrap()]);
        assert!(config.listen_is_default);
        assert_eq!((config.mount, config.cache, config.fetch), (None, false, Fetch::Everything));
        assert_eq!((config.page, config.page_names.len()), (None, 0));
    }

    #[test]
    fn flags_beat_the_file() {
        let file = parse("name = \"a\"\nlisten = [\"10.0.0.1\"]\nmount = \"/a\"\nfetch = \"ondemand\"\npage = \"::\"");
        let flags = NodeFlags {
            name: Some("b".into()),
            listen: vec!["10.0.0.2:5".parse().unwrap()],
            mount: Some("/b".into()),
            fetch: Some(Fetch::Everything),
            page: Some("127.0.0.1:1".parse().unwrap()),
            ..NodeFlags::default()
        };
        let config = NodeConfig::merge("/s".into(), flags, file.clone());
        assert_eq!(config.page, Some("127.0.0.1:1".parse().unwrap()));
        assert_eq!((config.name.as_deref(), config.mount), (Some("b"), Some("/b".into())));
        assert_eq!((config.listen, config.fetch), (vec!["10.0.0.2:5".parse().unwrap()], Fetch::Everything));

        let terminal = NodeFlags { panel: Some(PanelChoice::Terminal), ..NodeFlags::default() };
        let panel = |flags| NodeConfig::merge("/s".into(), flags, parse("panel = \"none\"")).panel;
        assert_eq!((panel(terminal), panel(NodeFlags::default())), (PanelChoice::Terminal, PanelChoice::None));

        let cache = NodeConfig::merge("/s".into(), NodeFlags { cache: true, ..NodeFlags::default() }, file);
        assert_eq!((cache.cache, cache.mount), (true, None));
        let quota = NodeFlags { quota: Some(7), ..NodeFlags::default() };
        assert_eq!(NodeConfig::merge("/s".into(), quota, parse("quota = \"20 GB\"")).quota, Some(7));
        let flags = NodeFlags { mount: Some("/b".into()), ..NodeFlags::default() };
        let mount = NodeConfig::merge("/s".into(), flags, parse("cache = true"));
        assert_eq!((mount.cache, mount.mount), (false, Some("/b".into())));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest() {
        assert_eq!(
            error("name = \"a\"\n\nmuont = \"/x\"\n"),
            "c.toml:3: there is no key 'muont': did you mean 'mount'?"
        );
        let far = error("# x\nzzzzzzzzz = 1");
        assert!(far.starts_with("c.toml:2: there is no key 'zzzzzzzzz': the keys are allow_other, cache,"), "{far}");
        assert!(error("[mount]\nx = 1").starts_with("c.toml:1: 'mount' must be a string, not a table"));
        assert!(error("\n[nmae]\nx = 1").starts_with("c.toml:2: there is no key 'nmae': did you mean 'name'?"));
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_line() {
        let table = [
            ("\ncache = 1", "c.toml:2: 'cache' must be true or false, not an integer"),
            ("allow_other = \"yes\"", "c.toml:1: 'allow_other' must be true or false, not a string"),
            ("threads = \"2\"", "c.toml:1: 'threads' must be an integer, not a string"),
            ("threads = 0", "c.toml:1: 'threads' must be 1 to 64"),
            ("threads = -1", "c.toml:1: 'threads' must be 1 to 64"),
            ("cache_bytes = 99999999999999999999999", "c.toml:1: 'cache_bytes' must be 1048576 to 1073741824"),
            (
                "listen = \"[::]:1\"",
                "c.toml:1: 'listen' must be a list of addresses such as [\"[::]:47470\"], not a string",
            ),
            ("listen = []", "c.toml:1: 'listen' must have 1 to 16 addresses"),
            (
                "listen = [\n  \"[::]:1\",\n  \"nowhere\",\n]",
                "c.toml:3: \"nowhere\" is no address to listen on: write one such as [::]:47470 or 192.168.1.5",
            ),
            (
                "page = \"here\"",
                "c.toml:1: \"here\" is no address for the page: write one such as 127.0.0.1:8080 or [::]:80",
            ),
            (
                "page_names = [\"a\",\n\"a b\"]",
                "c.toml:2: \"a b\" is no name of a host: write one such as \"attic.example.org\"",
            ),
            ("mount = \"dust\"", "c.toml:1: 'mount' must be an absolute path"),
            ("quota = 20", "c.toml:1: 'quota' must be a string, not an integer"),
            (
                "\nquota = \"-1 GB\"",
                "c.toml:2: \"-1 GB\" is no size for a quota: write one above 0, as 20GB or 500 MiB",
            ),
            (
                "panel = \"board.toml\"",
                "c.toml:1: 'panel' is \"terminal\", \"none\" or the absolute path of a board's map",
            ),
            (
                "versions_time = \"1 month\"",
                "c.toml:1: \"1 month\" is no time: write a number and s, min, h or d, as 30 d",
            ),
            ("fetch = \"all\"", "c.toml:1: 'fetch' is \"everything\" or \"ondemand\", not \"all\""),
            (
                "mount = \"/x\"\ncache = true",
                "c.toml:2: 'cache' and 'mount' exclude each other: a cache can read nothing",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(error(text), expected);
        }
        assert!(error("name = \"a/b\"").starts_with("c.toml:1: 'name' cannot be used: "));
    }

    #[test]
    fn broken_toml_is_refused_with_its_line() {
        assert!(error("name = \"a\"\nmount = \n").starts_with("c.toml:2: "), "{}", error("name = \"a\"\nmount = \n"));
        assert!(error("name = \"a\"\nname = \"b\"\n").starts_with("c.toml:2: "));
        assert!(error("a\u{e9}\u{e9} \u{e9}").starts_with("c.toml:1: "));
        assert!(error(&"[".repeat(10_000)).starts_with("c.toml:1: "));
    }

    #[test]
    fn addresses_have_three_forms() {
        assert_eq!(address("[::]:0"), Ok("[::]:0".parse().unwrap()));
        assert_eq!(address("192.168.1.5"), Ok("192.168.1.5:47470".parse().unwrap()));
        assert_eq!(address("[fe80::1]"), Ok("[fe80::1]:47470".parse().unwrap()));
        assert_eq!(address("::"), Ok("[::]:47470".parse().unwrap()));
        for bad in ["", "47470", "host:1", "1.2.3.4:99999", ":1", "[::]:-1"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_file_is_looked_for_where_it_was_said() {
        let state = std::env::temp_dir().join(format!("dustfs-config-{}", std::process::id()));
        std::fs::create_dir_all(&state).unwrap();
        let defaults = NodeConfig::load(&state, NodeFlags::default()).unwrap();
        assert!(defaults.listen_is_default);
        std::fs::write(state.join(CONFIG_FILE), "threads = 7").unwrap();
        assert_eq!(NodeConfig::load(&state, NodeFlags::default()).unwrap().threads, 7);
        let other = NodeFlags { config: Some(state.join("none.toml")), ..NodeFlags::default() };
        let error = NodeConfig::load(&state, other).unwrap_err().to_string();
        assert!(error.ends_with("none.toml cannot be read: there is no such file"), "{error}");
        std::fs::write(state.join(CONFIG_FILE), vec![b'#'; CONFIG_MAX as usize + 1]).unwrap();
        let error = NodeConfig::load(&state, NodeFlags::default()).unwrap_err().to_string();
        assert!(error.ends_with("it is longer than 65536 bytes"), "{error}");
        std::fs::remove_dir_all(&state).unwrap();
    }
}
