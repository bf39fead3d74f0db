//! What a node tells about itself, as plain data: the node fills it in, the API carries it, the CLI and the page show it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::Instant;
use crate::pair::button::State as Pairing;
use crate::wire::statement::Role;

/// The answer to `GET /v1/status`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The node's name for people.
    pub name: String,
    /// Device id in hex.
    pub device: String,
    /// Version of the program.
    pub version: String,
    /// How much the node can do now.
    pub state: State,
    /// What the LED says, in words; `None` without a panel.
    #[serde(default)]
    pub led: Option<String>,
    /// Where the tree is mounted.
    pub mount: Option<String>,
    /// Addresses that it listens on, as `address:port`.
    pub listen: Vec<String>,
    /// Circles, `Home` first.
    pub circles: Vec<CircleStatus>,
    /// Connections to friends that are up.
    pub connections: u64,
    /// Time since the start, in seconds.
    pub uptime_s: u64,
    /// Size of the disk that holds the state, in bytes.
    pub disk_total: u64,
    /// What is free on it, in bytes.
    pub disk_free: u64,
    /// Resident memory in bytes, where the system tells it.
    #[serde(default)]
    pub memory: Option<u64>,
    /// True when a passphrase is set; `None` where that is not known just now.
    #[serde(default)]
    pub passphrase: Option<bool>,
    /// How full it is as a cache; `None` where it is none.
    #[serde(default)]
    pub cache: Option<CacheStatus>,
    /// How the scrub stands; `None` where there is none.
    #[serde(default)]
    pub scrub: Option<ScrubStatus>,
    /// How full a member's quota is; `None` where none is set.
    #[serde(default)]
    pub room: Option<RoomStatus>,
    /// What would be lost with this box; `None` where that is not known: before it was counted, and where it reads nothing.
    #[serde(default)]
    pub safety: Option<SafetyStatus>,
    /// How pairing by the button stands.
    #[serde(default)]
    pub pairing: PairingStatus,
    /// Somebody opened the page and waits for a press.
    #[serde(default)]
    pub sign_in: Option<SignInStatus>,
    /// What people should know and mend, in words.
    pub problems: Vec<String>,
    /// Mass changes that wait for a keeper.
    #[serde(default)]
    pub held: Vec<HeldChange>,
    /// Disks with files of their owner's, which may be imported.
    #[serde(default)]
    pub disks: Vec<OwnersDisk>,
}

/// A disk that is not the node's, with files of its owner's. It is read, and never written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OwnersDisk {
    /// Where it can be read: the directory that an import takes.
    pub path: String,
    /// What its owner calls it; `disk` where it has no name.
    pub name: String,
    /// Its file system, as the kernel names it.
    pub kind: String,
    /// Bytes that its files take.
    pub used_bytes: u64,
    /// Somebody has begun to import it, or left it as it is.
    pub answered: bool,
}

/// Much of a circle that one author deleted or overwrote within a minute: what it replaced is held back from going with
/// time until a keeper has said what becomes of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeldChange {
    /// By what it is named, eight letters.
    pub id: String,
    /// The circle's name.
    pub circle: String,
    /// Who changed so much.
    pub author: String,
    /// When, in UTC, as RFC 3339 has it; by its author's clock.
    pub date: String,
    /// Files and symlinks that were deleted or overwritten.
    pub files: u64,
    /// This node is a keeper, and may say what becomes of it.
    pub mine_to_settle: bool,
}

/// How the slow check of everything in the background stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScrubStatus {
    /// Bytes that this round has hashed.
    pub done_bytes: u64,
    /// Bytes that it has to hash; 0 before it has begun.
    pub total_bytes: u64,
    /// Damaged pieces that it has found.
    pub damaged: u64,
    /// Powered-on seconds since the last round ended; `None` when none has.
    pub last_s: Option<u64>,
    /// Bytes that the last round hashed.
    pub last_bytes: u64,
    /// Damaged pieces that it found.
    pub last_damaged: u64,
}

/// The answer to `GET /v1/check`: how a check of the vault stands, or how the last one ended.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CheckStatus {
    /// It has not ended yet.
    pub running: bool,
    /// Every piece is hashed.
    pub full: bool,
    /// Bytes that were hashed.
    pub done_bytes: u64,
    /// Bytes that are to be; 0 where nothing is hashed.
    pub total_bytes: u64,
    /// Torrents of which something is here.
    pub torrents: u64,
    /// What was found damaged.
    pub damaged: Vec<Damage>,
    /// What else was found, in words.
    pub notes: Vec<String>,
    /// Bytes that the slabs take beyond what the ledger names: they are given back at the next start.
    pub unnamed_bytes: u64,
}

/// A damaged file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Damage {
    /// Where it shows, as `Friends/film`; else `torrent` and its info-hash.
    pub name: String,
    /// Damaged pieces that the check found.
    pub pieces: u64,
    /// What has become of it.
    pub now: Damaged,
}

/// What has become of what was damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Damaged {
    /// It came anew from friends, or is not here any more.
    Repaired,
    /// Friends who are online have it.
    Fetching,
    /// Nobody who is online has it.
    Lost,
}

/// How full a member's quota is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RoomStatus {
    /// Bytes of the files that are here, as they are stored.
    pub held_bytes: u64,
    /// Bytes that may be.
    pub quota_bytes: u64,
}

/// What is on this box alone, as far as friends told since its start.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SafetyStatus {
    /// Files whose bytes are whole here and nowhere else.
    pub files: u64,
    /// Their bytes, as they are stored.
    pub bytes: u64,
    /// Nobody else is known to have the last that was written here: small files, names, attributes.
    pub changes: bool,
}

/// How full a cache is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CacheStatus {
    /// Bytes that are kept for circles that the node cannot read, with the room of what is being fetched.
    pub held_bytes: u64,
    /// Bytes that may be; `None` before the disk was looked at.
    pub quota_bytes: Option<u64>,
    /// Torrents that were here and went for others.
    pub evicted_torrents: u64,
    /// How often one went since the start.
    pub evictions: u64,
}

/// A sign-in that waits for a press.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignInStatus {
    /// The two digits that the page shows as well.
    pub code: u8,
    /// True once the LED has shown them to their end: a press that begins now allows it.
    pub shown: bool,
}

/// How pairing by the button stands; see [`crate::pair::button::State`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PairingStatus {
    /// closed, window, overlap, exchanging, code, joining, done, failed, paused or choose.
    pub state: String,
    /// The four digits, in state `code`.
    pub code: Option<String>,
    /// True once the LED has shown the code to its end: a hold that begins now confirms it.
    #[serde(default)]
    pub shown: bool,
    /// True once the code was confirmed here.
    pub confirmed_here: bool,
    /// True once the code was confirmed on the other box.
    pub confirmed_there: bool,
    /// What the other box calls itself.
    pub friend: Option<String>,
    /// The circle that both are in now, in state `done`.
    pub circle: Option<String>,
    /// Why it failed, in state `failed`.
    pub why: Option<String>,
    /// Seconds until the state ends by itself.
    pub seconds_left: Option<u64>,
}

impl Default for PairingStatus {
    fn default() -> Self {
        Self::of("closed")
    }
}

impl PairingStatus {
    fn of(state: &str) -> Self {
        Self {
            state: state.into(),
            code: None,
            shown: false,
            confirmed_here: false,
            confirmed_there: false,
            friend: None,
            circle: None,
            why: None,
            seconds_left: None,
        }
    }

    /// The state as it is told at `now`.
    pub fn new(state: &Pairing, now: Instant) -> Self {
        let left = |until: &Instant| Some(until.since(now).as_secs());
        match state {
            Pairing::Closed => Self::of("closed"),
            Pairing::Window { until } => Self { seconds_left: left(until), ..Self::of("window") },
            Pairing::Overlap { until } => Self { seconds_left: left(until), ..Self::of("overlap") },
            Pairing::Exchanging { until } => Self { seconds_left: left(until), ..Self::of("exchanging") },
            Pairing::Code { digits, name, here, there, until } => Self {
                code: Some(digits.iter().map(u8::to_string).collect()),
                confirmed_here: *here,
                confirmed_there: *there,
                friend: Some(name.clone()),
                seconds_left: left(until),
                ..Self::of("code")
            },
            Pairing::Joining { name } => Self { friend: Some(name.clone()), ..Self::of("joining") },
            Pairing::Done { name, circle } => {
                Self { friend: Some(name.clone()), circle: Some(circle.clone()), ..Self::of("done") }
            }
            Pairing::Failed { why } => Self { why: Some(why.to_string()), ..Self::of("failed") },
            Pairing::Paused { until } => Self { seconds_left: left(until), ..Self::of("paused") },
            Pairing::ChooseOnPage { name } => Self { friend: Some(name.clone()), ..Self::of("choose") },
        }
    }
}

/// How much a node can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for its passphrase: serves ciphertext, reads nothing.
    Locked,
    /// Stores and serves ciphertext by its role.
    Cache,
    /// Everything its roles allow.
    Full,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Locked => "locked",
            State::Cache => "cache",
            State::Full => "full",
        })
    }
}

/// One circle of a [`Status`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CircleStatus {
    /// Its name, which is its directory's.
    pub name: String,
    /// Its id in hex.
    pub id: String,
    /// This node's role in it.
    pub role: Role,
    /// Its owner left it: what is here is kept, nothing is shared.
    #[serde(default)]
    pub left: bool,
    /// Members of every role, this node among them.
    pub members: u64,
    /// Those of them that are connected to this node.
    pub online: u64,
    /// Files, directories and symlinks.
    pub objects: u64,
    /// Bytes of all files' current versions.
    pub bytes: u64,
    /// Files that were changed here, of which friends do not know yet.
    #[serde(default)]
    pub unpublished: u64,
    /// Torrents that this node wants and has not got whole.
    pub wanted_torrents: u64,
    /// Torrents that this node has whole.
    pub held_torrents: u64,
    /// Number of the epoch whose key seals what is written now; 0 when none is usable.
    pub epoch_number: u64,
    /// Authors that signed two different commits of one number: who, and where.
    pub forks: Vec<String>,
    /// Files that show a conflicting version beside them.
    pub conflicts: u64,
    /// The recovery sheet that this node printed last, by its name.
    #[serde(default)]
    pub sheet: Option<String>,
    /// Those that it printed before and that are valid, too, until somebody says that the last one is on paper.
    #[serde(default)]
    pub older_sheets: u64,
    /// This node keeps the circle, others are in it, and there is no recovery sheet of this node's.
    #[serde(default)]
    pub lacks_sheet: bool,
}

/// One line of `GET /v1/friends`: a member of a circle that is not this node.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Friend {
    /// The circle's name.
    pub circle: String,
    /// The friend's name.
    pub name: String,
    /// Device id in hex.
    pub device: String,
    /// Role in the circle.
    pub role: Role,
    /// Connected to this node now.
    pub online: bool,
    /// Where it was last reached, as `address:port`.
    pub address: Option<String>,
    /// Payload bytes of pieces sent to it since this node's start.
    pub uploaded: u64,
    /// Payload bytes of pieces that came from it since this node's start.
    pub downloaded: u64,
    /// Seconds since a byte last came from it; `None` when none did since the start.
    pub last_seen_s: Option<u64>,
    /// A keeper removed it; or it is a recovery sheet that was used.
    pub removed: bool,
    /// It is a recovery sheet: paper, which is never online.
    #[serde(default)]
    pub sheet: bool,
    /// Torrents of the circle that it told to have whole; `None` when it is not online, or they are too many to count.
    #[serde(default)]
    pub holds_torrents: Option<u64>,
    /// All torrents of the circle that this node knows.
    #[serde(default)]
    pub all_torrents: u64,
}

/// The answer to `POST /v1/recover`.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recovered {
    /// Circles that this node keeps now.
    pub circles: Vec<RecoveredCircle>,
    /// Circles of the sheet that nobody who was asked is in.
    pub missing: u64,
}

/// One circle of [`Recovered`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecoveredCircle {
    /// Its name here.
    pub name: String,
    /// Who printed the sheet and is in the circle still: the box that is gone, to be removed.
    pub printed_by: Option<String>,
}

/// The answer to `POST /v1/versions`.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Versions {
    /// Of the file, the newest first.
    pub versions: Vec<FileVersion>,
    /// Below the directory, what was deleted last first.
    pub deleted: Vec<DeletedFile>,
    /// More was deleted than is told.
    #[serde(default)]
    pub more: bool,
}

/// An older version of a file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FileVersion {
    /// 1 is the oldest.
    pub number: u64,
    /// When it was written, in UTC, as RFC 3339 has it; by its author's clock.
    pub date: String,
    /// Who wrote it.
    pub author: String,
    /// Bytes.
    pub size: u64,
    /// Where its bytes are.
    pub place: Place,
}

/// A file that was deleted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DeletedFile {
    /// Where it was, in the tree as `Friends/film`.
    pub path: String,
    /// When, in UTC, as RFC 3339 has it; by the clock of who did.
    pub date: String,
    /// Who deleted it.
    pub author: String,
    /// Bytes of its newest version.
    pub size: u64,
    /// Versions of it that can be put back.
    pub versions: u64,
    /// Where the bytes of the newest are.
    pub place: Place,
}

/// Where the bytes of a version are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// All of them on this node.
    Here,
    /// With friends who are online.
    Friends,
    /// Some on this node, and nobody who is online has the others.
    Partly,
    /// Nobody who is online has any.
    Gone,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Here => "here",
            Place::Friends => "friends",
            Place::Partly => "partly",
            Place::Gone => "gone",
        })
    }
}

/// The answer to `POST /v1/free`.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Freed {
    /// Files that went.
    pub files: u64,
    /// Their bytes, as they are stored.
    pub bytes: u64,
    /// Those that stay.
    pub stay: Vec<Staying>,
}

/// Files that stay for one reason.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Staying {
    /// How many.
    pub files: u64,
    /// Why, for people.
    pub why: String,
}

impl Freed {
    /// The same as plain data.
    pub fn new(freed: &super::Freed) -> Self {
        let stay = freed.stay.iter().map(|(stay, files)| Staying { files: *files, why: stay.words().into() });
        Self { files: freed.files, bytes: freed.bytes, stay: stay.collect() }
    }
}

/// The answer to `GET /v1/transfers`.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Transfers {
    /// What is being fetched, and what was fetched lately.
    pub transfers: Vec<Transfer>,
    /// Totals for each peer.
    pub traffic: Vec<Traffic>,
}

/// A torrent that is being fetched, or was fetched lately: then `have_bytes` is `total_bytes`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Transfer {
    /// In hex.
    pub info_hash: String,
    /// The circle's name.
    pub circle: String,
    /// The file's name, where this node may read it.
    pub name: Option<String>,
    /// Bytes of checked pieces that are here.
    pub have_bytes: u64,
    /// Bytes of the whole torrent.
    pub total_bytes: u64,
    /// Payload bytes per second that come now.
    pub rate_down: u64,
    /// Who gave how much.
    pub sources: Vec<Source>,
}

/// A peer's part in a [`Transfer`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Source {
    /// The peer's name.
    pub name: String,
    /// Payload bytes of checked pieces that came from it.
    pub bytes: u64,
}

/// What went between this node and one peer since this node's start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Traffic {
    /// The peer's name.
    pub name: String,
    /// Its device id in hex.
    pub device: String,
    /// Payload bytes of pieces sent to it.
    pub uploaded: u64,
    /// Payload bytes of pieces that came from it.
    pub downloaded: u64,
    /// Payload bytes per second going to it now.
    pub rate_up: u64,
    /// Payload bytes per second coming from it now.
    pub rate_down: u64,
}
