//! The JSON API as a machine: a request's method, path and body in, a checked [`Call`] out; an [`Outcome`] or an
//! [`ApiError`] in, a status and JSON out. Who carries the bytes is `os::http`'s business.
//!
//! `GET /v1/status`, `/v1/friends`, `/v1/transfers`, `/v1/check`, `/v1/import-progress`; `POST /v1/check/start`,
//! `/v1/invite`, `/v1/join`, `/v1/found`, `/v1/remove`, `/v1/leave`, `/v1/sheet`, `/v1/sheet-written`,
//! `/v1/recover`, `/v1/guest`, `/v1/export-torrent`, `/v1/versions`, `/v1/restore`, `/v1/held`, `/v1/import`,
//! `/v1/import-disk`, `/v1/leave-disk`, `/v1/pin`, `/v1/free`, `/v1/password`, `/v1/press`, `/v1/unmount`, `/v1/lock`,
//! `/v1/unlock`, `/v1/passphrase`, `/v1/stop`. Errors are `{"error": WORDS, "remedy": WORDS}`, the remedy where there is one.

mod answers;

use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use zeroize::Zeroizing;

pub use self::answers::{
    ApiError, CertificateAnswer, CircleAnswer, ErrorAnswer, InviteAnswer, Outcome, RestoredAnswer, SheetAnswer,
    TorrentAnswer, outcome, render,
};
use crate::base::TransportKey;
use crate::seal::state::Passphrase;
use crate::wire::statement::{Role, check_label};

/// Bytes of a request's body.
pub const BODY_MAX: usize = 65_536;
/// Bytes of an invite's text.
pub const INVITE_MAX: usize = 4_096;
/// Bytes of a recovery sheet, as words or as its line.
pub const SHEET_MAX: usize = 4_096;
/// Hosts that are named beside one.
pub const SHEET_HOSTS: usize = 16;
/// Longest time that an invite is open, in minutes: a week.
pub const INVITE_MINUTES_MAX: u32 = 10_080;
/// Time that an invite is open unless said otherwise, in minutes.
pub const INVITE_MINUTES: u32 = 60;

/// Longest press of the button, in milliseconds.
pub const PRESS_MAX_MS: u32 = 30_000;

/// What a request asks for, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// Answered by [`Outcome::Status`].
    Status,
    /// Answered by [`Outcome::Friends`].
    Friends,
    /// Answered by [`Outcome::Transfers`].
    Transfers,
    /// How a check of the vault stands. Answered by [`Outcome::Check`].
    Check,
    /// Begins a check of the vault. Answered by [`Outcome::Done`].
    StartCheck {
        /// Hash everything.
        full: bool,
    },
    /// Opens an invite. Answered by [`Outcome::Invite`].
    Invite {
        /// To which circle; `None` lets the node choose, see [`crate::node::io::Op::Invite`].
        circle: Option<String>,
        /// As what.
        role: Role,
        /// How long it is open, 1 to [`INVITE_MINUTES_MAX`].
        minutes: u32,
    },
    /// Joins a circle. Answered by [`Outcome::Circle`].
    Join {
        /// The invite's text, at most [`INVITE_MAX`] bytes.
        invite: String,
    },
    /// Founds a circle. Answered by [`Outcome::Circle`].
    Found {
        /// Its name.
        name: String,
    },
    /// Removes a member. Answered by [`Outcome::Done`].
    Remove {
        /// From which circle; `None` means the only one that has such a member.
        circle: Option<String>,
        /// The member's name or the start of its device id in hex.
        member: String,
    },
    /// Prints a recovery sheet, see [`crate::node::io::Op::PrintSheet`]. Answered by [`Outcome::Sheet`].
    PrintSheet,
    /// The sheet that was printed last is on paper, see [`crate::node::io::Op::SheetWritten`].
    SheetWritten,
    /// Takes the place of a recovery sheet. Answered by [`Outcome::Recovered`].
    Recover {
        /// Its twelve words, or its line; at most [`SHEET_MAX`] bytes.
        sheet: Zeroizing<String>,
        /// Where somebody of the circle may be, as `HOST` or `HOST:PORT`; at most [`SHEET_HOSTS`].
        at: Vec<String>,
    },
    /// Leaves a circle; what is here stays. Answered by [`Outcome::Done`].
    Leave {
        /// Its name.
        circle: String,
    },
    /// Admits a stock client, or renews its certificate. Answered by [`Outcome::Certificate`].
    Guest {
        /// To which circle; `None` lets the node choose, see [`crate::node::io::Op::Guest`].
        circle: Option<String>,
        /// Its name.
        name: String,
        /// Its Ed25519 key.
        key: TransportKey,
    },
    /// The `.torrent` file of a published file. Answered by [`Outcome::Torrent`].
    ExportTorrent {
        /// In the tree, as `Friends/film`.
        path: String,
        /// `HOST:PORT` of the tracker that it names; `None` lets the node choose.
        announce: Option<String>,
    },
    /// The older versions of a file, and what was deleted below a directory. Answered by [`Outcome::Versions`].
    Versions {
        /// In the tree, as `Friends/film`; empty means everything.
        path: String,
    },
    /// Puts an older version back, see [`crate::node::io::Op::Restore`]. Answered by [`Outcome::Restored`].
    Restore {
        /// In the tree, as `Friends/film`.
        path: String,
        /// Its number; `None` means the newest.
        version: Option<u64>,
        /// Another path, where nothing is yet; `None` means where it was.
        to: Option<String>,
    },
    /// Says what becomes of a mass change, see [`crate::node::io::Op::Held`]. Answered by [`Outcome::Restored`].
    Held {
        /// Which.
        id: String,
        /// What it replaced comes back; else it may go with time.
        undo: bool,
    },
    /// Brings a directory of the machine's into the tree. Answered by [`Outcome::Import`] when it has begun; it goes on
    /// while [`Call::Imported`] is asked again and again.
    Import {
        /// An absolute path, as the node's machine has it.
        from: String,
        /// In the tree, as `Home/photos`; `None` is a directory of the same name in the owner's own circle.
        into: Option<String>,
    },
    /// Brings a disk of its owner's into the tree, to a directory of its name in the owner's own circle. Answered by
    /// [`Outcome::Import`] when it has begun; it goes on by itself.
    ImportDisk {
        /// Where it can be read, as [`crate::node::status::OwnersDisk::path`] has it.
        path: String,
    },
    /// A disk of its owner's is left as it is, and not offered again. Answered by [`Outcome::Done`].
    LeaveDisk {
        /// Where it can be read, as [`crate::node::status::OwnersDisk::path`] has it.
        path: String,
    },
    /// How the import gets on, or how the last one went. Answered by [`Outcome::Import`].
    Imported,
    /// Pins what is at a path, or takes its pin away, see [`crate::node::io::Op::Pin`]. Answered by [`Outcome::Done`].
    Pin {
        /// In the tree, as `Friends/film`.
        path: String,
        /// False takes it away.
        pinned: bool,
    },
    /// Lets bodies go that enough others hold, see [`crate::node::io::Op::Free`]. Answered by [`Outcome::Freed`].
    Free {
        /// In the tree, as `Friends/film`.
        path: String,
    },
    /// Sets the password for WebDAV, or forgets it. Answered by [`Outcome::Done`].
    Password {
        /// `None` forgets.
        text: Option<Zeroizing<String>>,
    },
    /// A press or a hold of the button. Answered by [`Outcome::Done`].
    Press {
        /// How long, in milliseconds, at most [`PRESS_MAX_MS`].
        held_ms: u32,
    },
    /// Takes the mount away; the node goes on. Answered by [`Outcome::Done`].
    Unmount,
    /// Ends the node and starts it anew, locked. Answered by [`Outcome::Done`].
    Lock,
    /// Ends the node and starts it anew with its keys. Answered by [`Outcome::Done`].
    Unlock {
        /// That of this box.
        passphrase: Passphrase,
        /// The cookie that stays signed in; never told by a request's body.
        session: Option<[u8; 16]>,
    },
    /// Sets, changes or takes away the passphrase. Answered by [`Outcome::Done`].
    Passphrase {
        /// The one that is set, if one is.
        old: Option<Passphrase>,
        /// The one to set.
        new: Option<Passphrase>,
    },
    /// Publishes what is written, and ends the node. Answered by [`Outcome::Done`].
    Stop,
}

impl Call {
    /// The method and the path that ask for this.
    pub fn endpoint(&self) -> (&'static str, &'static str) {
        match self {
            Call::Status => ("GET", "/v1/status"),
            Call::Friends => ("GET", "/v1/friends"),
            Call::Transfers => ("GET", "/v1/transfers"),
            Call::Check => ("GET", "/v1/check"),
            Call::StartCheck { .. } => ("POST", "/v1/check/start"),
            Call::Invite { .. } => ("POST", "/v1/invite"),
            Call::Join { .. } => ("POST", "/v1/join"),
            Call::Found { .. } => ("POST", "/v1/found"),
            Call::Remove { .. } => ("POST", "/v1/remove"),
            Call::PrintSheet => ("POST", "/v1/sheet"),
            Call::SheetWritten => ("POST", "/v1/sheet-written"),
            Call::Recover { .. } => ("POST", "/v1/recover"),
            Call::Leave { .. } => ("POST", "/v1/leave"),
            Call::Guest { .. } => ("POST", "/v1/guest"),
            Call::ExportTorrent { .. } => ("POST", "/v1/export-torrent"),
            Call::Versions { .. } => ("POST", "/v1/versions"),
            Call::Restore { .. } => ("POST", "/v1/restore"),
            Call::Held { .. } => ("POST", "/v1/held"),
            Call::Import { .. } => ("POST", "/v1/import"),
            Call::Imported => ("GET", "/v1/import-progress"),
            Call::ImportDisk { .. } => ("POST", "/v1/import-disk"),
            Call::LeaveDisk { .. } => ("POST", "/v1/leave-disk"),
            Call::Pin { .. } => ("POST", "/v1/pin"),
            Call::Free { .. } => ("POST", "/v1/free"),
            Call::Password { .. } => ("POST", "/v1/password"),
            Call::Press { .. } => ("POST", "/v1/press"),
            Call::Unmount => ("POST", "/v1/unmount"),
            Call::Lock => ("POST", "/v1/lock"),
            Call::Unlock { .. } => ("POST", "/v1/unlock"),
            Call::Passphrase { .. } => ("POST", "/v1/passphrase"),
            Call::Stop => ("POST", "/v1/stop"),
        }
    }

    /// The body that asks for this; `None` for those that have none.
    pub fn body(&self) -> Option<Value> {
        match self {
            Call::Status
            | Call::Friends
            | Call::Transfers
            | Call::Check
            | Call::Imported
            | Call::PrintSheet
            | Call::SheetWritten
            | Call::Unmount
            | Call::Lock
            | Call::Stop => None,
            Call::StartCheck { full } => Some(json!({ "full": full })),
            Call::Invite { circle, role, minutes } => {
                Some(json!({ "circle": circle, "role": role, "minutes": minutes }))
            }
            Call::Join { invite } => Some(json!({ "invite": invite })),
            Call::Found { name } => Some(json!({ "name": name })),
            Call::Recover { sheet, at } => Some(json!({ "sheet": sheet.as_str(), "at": at })),
            Call::Remove { circle, member } => Some(json!({ "circle": circle, "member": member })),
            Call::Leave { circle } => Some(json!({ "circle": circle })),
            Call::Guest { circle, name, key } => Some(json!({ "circle": circle, "name": name, "key": key.hex() })),
            Call::ExportTorrent { path, announce } => Some(json!({ "path": path, "announce": announce })),
            Call::Versions { path } | Call::Free { path } | Call::ImportDisk { path } | Call::LeaveDisk { path } => {
                Some(json!({ "path": path }))
            }
            Call::Pin { path, pinned } => Some(json!({ "path": path, "pinned": pinned })),
            Call::Restore { path, version, to } => Some(json!({ "path": path, "version": version, "to": to })),
            Call::Held { id, undo } => Some(json!({ "id": id, "undo": undo })),
            Call::Import { from, into } => Some(json!({ "from": from, "into": into })),
            Call::Password { text } => Some(json!({ "password": text.as_ref().map(|text| text.as_str()) })),
            Call::Press { held_ms } => Some(json!({ "held_ms": held_ms })),
            Call::Unlock { passphrase, .. } => Some(json!({ "passphrase": passphrase.text() })),
            Call::Passphrase { old, new } => {
                let text = |passphrase: &Option<Passphrase>| passphrase.as_ref().map(|said| said.text().to_owned());
                Some(json!({ "old": text(old), "new": text(new) }))
            }
        }
    }
}

/// The one method that `path` is asked for by; `None` when nothing is there.
pub fn allowed(path: &str) -> Option<&'static str> {
    match path.strip_prefix("/v1/")? {
        "status" | "friends" | "transfers" | "check" | "import-progress" => Some("GET"),
        "check/start" | "invite" | "join" | "sheet" | "sheet-written" | "recover" | "found" | "remove" | "leave"
        | "guest" | "export-torrent" | "versions" | "restore" | "held" | "import" | "import-disk" | "leave-disk"
        | "pin" | "free" | "password" | "press" | "unmount" | "lock" | "unlock" | "passphrase" | "stop" => Some("POST"),
        _ => None,
    }
}

/// Reads a request. `path` is the request's target as it came.
pub fn route(method: &str, path: &str, body: &[u8]) -> Result<Call, ApiError> {
    if body.len() > BODY_MAX {
        return Err(ApiError::body_too_large());
    }
    let allowed = allowed(path).ok_or_else(|| ApiError::not_found(path))?;
    if method != allowed {
        return Err(ApiError::new(405, format!("{path} is asked for by {allowed}, not by {}", shorten(method))));
    }
    match path.trim_start_matches("/v1/") {
        "status" => nothing(body).map(|()| Call::Status),
        "friends" => nothing(body).map(|()| Call::Friends),
        "transfers" => nothing(body).map(|()| Call::Transfers),
        "check" => nothing(body).map(|()| Call::Check),
        "check/start" => {
            let CheckBody { full } = parse(body)?;
            Ok(Call::StartCheck { full })
        }
        "invite" => invite(body),
        "join" => join(body),
        "found" => {
            let FoundBody { name } = parse(body)?;
            check_name("the circle's name", &name)?;
            Ok(Call::Found { name })
        }
        "sheet" => nothing(body).map(|()| Call::PrintSheet),
        "sheet-written" => nothing(body).map(|()| Call::SheetWritten),
        "recover" => recover(body),
        "remove" => remove(body),
        "leave" => {
            let LeaveBody { circle } = parse(body)?;
            check_name("the circle's name", &circle)?;
            Ok(Call::Leave { circle })
        }
        "guest" => guest(body),
        "export-torrent" => export_torrent(body),
        "versions" => {
            let PathBody { path } = parse(body)?;
            check_path(&path)?;
            Ok(Call::Versions { path })
        }
        "pin" => {
            let PinBody { path, pinned } = parse(body)?;
            check_path(&path)?;
            Ok(Call::Pin { path, pinned })
        }
        "free" => {
            let PathBody { path } = parse(body)?;
            check_path(&path)?;
            Ok(Call::Free { path })
        }
        "restore" => {
            let RestoreBody { path, version, to } = parse(body)?;
            check_path(&path)?;
            to.as_deref().map_or(Ok(()), check_path)?;
            Ok(Call::Restore { path, version, to })
        }
        "held" => {
            let HeldBody { id, undo } = parse(body)?;
            Ok(Call::Held { id, undo })
        }
        "import" => {
            let ImportBody { from, into } = parse(body)?;
            let cannot_be = |path: &&String| path.len() > PATH_MAX || path.contains('\0');
            if let Some(path) = into.iter().chain([&from]).find(cannot_be) {
                return Err(ApiError::bad(format!("the path {} cannot be one", shorten(path))));
            }
            match from.starts_with('/') {
                true => Ok(Call::Import { from, into }),
                false => Err(ApiError::bad("the directory to import is named by its absolute path")),
            }
        }
        "import-disk" => {
            let PathBody { path } = parse(body)?;
            check_path(&path)?;
            Ok(Call::ImportDisk { path })
        }
        "leave-disk" => {
            let PathBody { path } = parse(body)?;
            check_path(&path)?;
            Ok(Call::LeaveDisk { path })
        }
        "import-progress" => nothing(body).map(|()| Call::Imported),
        "password" => {
            let PasswordBody { password } = parse(body)?;
            Ok(Call::Password { text: password.map(Zeroizing::new) })
        }
        "press" => {
            let PressBody { held_ms } = parse(body)?;
            if held_ms > PRESS_MAX_MS {
                return Err(ApiError::bad(format!("a press lasts at most {PRESS_MAX_MS} ms")));
            }
            Ok(Call::Press { held_ms })
        }
        "unmount" => nothing(body).map(|()| Call::Unmount),
        "lock" => nothing(body).map(|()| Call::Lock),
        "unlock" => {
            let UnlockBody { passphrase } = parse(body)?;
            Ok(Call::Unlock { passphrase: Passphrase::new(passphrase), session: None })
        }
        "passphrase" => {
            let PassphraseBody { old, new } = parse(body)?;
            Ok(Call::Passphrase { old: old.map(Passphrase::new), new: new.map(Passphrase::new) })
        }
        _ => nothing(body).map(|()| Call::Stop),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckBody {
    full: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InviteBody {
    circle: Option<String>,
    role: Option<String>,
    minutes: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinBody {
    invite: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecoverBody {
    sheet: String,
    #[serde(default)]
    at: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FoundBody {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaveBody {
    circle: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveBody {
    circle: Option<String>,
    member: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GuestBody {
    circle: Option<String>,
    name: String,
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportBody {
    path: String,
    announce: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PathBody {
    path: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PinBody {
    path: String,
    pinned: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RestoreBody {
    path: String,
    version: Option<u64>,
    to: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeldBody {
    id: String,
    undo: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportBody {
    from: String,
    into: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordBody {
    // `null` forgets it; that nothing was told must not.
    #[serde(deserialize_with = "Option::deserialize")]
    password: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PressBody {
    #[serde(default)]
    held_ms: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnlockBody {
    passphrase: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PassphraseBody {
    old: Option<String>,
    new: Option<String>,
}

fn nothing(body: &[u8]) -> Result<(), ApiError> {
    if body.is_empty() {
        return Ok(());
    }
    parse::<Nothing>(body).map(|Nothing {}| ())
}

fn invite(body: &[u8]) -> Result<Call, ApiError> {
    let InviteBody { circle, role, minutes } =
        if body.is_empty() { InviteBody { circle: None, role: None, minutes: None } } else { parse(body)? };
    if let Some(circle) = &circle {
        check_name("the circle's name", circle)?;
    }
    let role = match role {
        None => Role::Member,
        Some(word) => Role::from_word(&word).ok_or_else(|| {
            ApiError::bad(format!("there is no role '{}': choose keeper, member, reader or cache", shorten(&word)))
        })?,
    };
    let minutes = minutes.unwrap_or(INVITE_MINUTES);
    if !(1..=INVITE_MINUTES_MAX).contains(&minutes) {
        return Err(ApiError::bad(format!(
            "an invite cannot be open for {minutes} minutes: choose 1 to {INVITE_MINUTES_MAX}"
        )));
    }
    Ok(Call::Invite { circle, role, minutes })
}

fn join(body: &[u8]) -> Result<Call, ApiError> {
    let JoinBody { invite } = parse(body)?;
    let invite = invite.trim();
    if invite.is_empty() {
        return Err(
            ApiError::bad("the invite is empty").with_remedy("copy the whole line that `dustfs invite` printed")
        );
    }
    if invite.len() > INVITE_MAX {
        return Err(ApiError::bad(format!("the invite has {} bytes, the limit is {INVITE_MAX}", invite.len())));
    }
    Ok(Call::Join { invite: invite.to_owned() })
}

fn recover(body: &[u8]) -> Result<Call, ApiError> {
    let RecoverBody { sheet, at } = parse(body)?;
    let sheet = Zeroizing::new(sheet);
    if sheet.len() > SHEET_MAX {
        return Err(ApiError::bad(format!("the recovery sheet has {} bytes, the limit is {SHEET_MAX}", sheet.len())));
    }
    if at.len() > SHEET_HOSTS || at.iter().any(|host| host.is_empty() || host.len() > HOST_MAX) {
        return Err(ApiError::bad(format!("name up to {SHEET_HOSTS} hosts, each of up to {HOST_MAX} bytes")));
    }
    Ok(Call::Recover { sheet, at })
}

fn remove(body: &[u8]) -> Result<Call, ApiError> {
    let RemoveBody { circle, member } = parse(body)?;
    if let Some(circle) = &circle {
        check_name("the circle's name", circle)?;
    }
    check_name("the member's name or id", &member)?;
    Ok(Call::Remove { circle, member })
}

fn guest(body: &[u8]) -> Result<Call, ApiError> {
    let GuestBody { circle, name, key } = parse(body)?;
    if let Some(circle) = &circle {
        check_name("the circle's name", circle)?;
    }
    check_name("the client's name", &name)?;
    let key = HEXLOWER.decode(key.as_bytes()).ok().and_then(|key| TransportKey::from_slice(&key));
    let key = key.ok_or_else(|| ApiError::bad("the client's key is not 64 lower-case hex digits"))?;
    Ok(Call::Guest { circle, name, key })
}

fn export_torrent(body: &[u8]) -> Result<Call, ApiError> {
    let ExportBody { path, announce } = parse(body)?;
    check_path(&path)?;
    if let Some(host) = &announce {
        check_host(host).map_err(ApiError::bad)?;
    }
    Ok(Call::ExportTorrent { path, announce })
}

fn check_path(path: &str) -> Result<(), ApiError> {
    if path.len() > PATH_MAX {
        return Err(ApiError::bad(format!("the path has {} bytes, the limit is {PATH_MAX}", path.len())));
    }
    Ok(())
}

/// Checks `HOST:PORT`, as it comes to stand in a tracker's address.
pub fn check_host(host: &str) -> Result<(), String> {
    let port = host.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    match port {
        Some((name, 1..)) if !name.is_empty() && host.len() <= HOST_MAX && name.chars().all(is_plain) => Ok(()),
        _ => Err(format!("'{}' is no HOST:PORT", shorten(host))),
    }
}

/// Bytes of a path in the tree.
const PATH_MAX: usize = 4_096;
/// Bytes of a host's name with its port.
const HOST_MAX: usize = 262;

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|why| ApiError::bad(format!("the body is not the JSON that is expected: {why}")))
}

fn check_name(what: &str, name: &str) -> Result<(), ApiError> {
    check_label(name).map_err(|why| ApiError::bad(format!("{what} cannot be used: {why}")))
}

/// At most 40 characters of what came from outside, for a message.
fn shorten(word: &str) -> String {
    word.chars().filter(|c| !c.is_control()).take(40).collect()
}

#[cfg(test)]
mod tests;
