//! What the API answers: outcomes and errors, as a status and JSON.

use std::fmt;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroize;

use super::{BODY_MAX, shorten};
use crate::lan::import::ImportStatus;
use crate::node::PrintedSheet;
use crate::node::io::{Answer, OpError};
use crate::node::status::{CheckStatus, Freed, Friend, Recovered, Status, Transfers, Versions};

/// What a [`Call`] that went well is answered with.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// The status.
    Status(Box<Status>),
    /// The friends, as an array.
    Friends(Vec<Friend>),
    /// The transfers.
    Transfers(Transfers),
    /// How a check stands.
    Check(Box<CheckStatus>),
    /// An invite's text, as `{"invite": TEXT}`.
    Invite(String),
    /// A circle's name, as `{"circle": NAME}`.
    Circle(String),
    /// A certificate, as `{"certificate": PEM}`.
    Certificate(String),
    /// A recovery sheet.
    Sheet(Box<SheetAnswer>),
    /// What a recovery sheet brought.
    Recovered(Recovered),
    /// An import.
    Import(Box<ImportStatus>),
    /// A `.torrent` file, as `{"torrent": BASE64}`.
    Torrent(Vec<u8>),
    /// Older versions and what was deleted.
    Versions(Box<Versions>),
    /// What went, and what stays.
    Freed(Freed),
    /// How many files were put back, as `{"restored": NUMBER}`.
    Restored(u64),
    /// `{}`.
    Done,
}

/// An operation's answer as the API tells it; `None` for answers that only a mount asks for.
pub fn outcome(answer: Answer) -> Option<Outcome> {
    match answer {
        Answer::Done => Some(Outcome::Done),
        Answer::Circle(name) => Some(Outcome::Circle(name)),
        Answer::Invite(text) => Some(Outcome::Invite(text)),
        Answer::Sheet(printed) => Some(Outcome::Sheet(Box::new(SheetAnswer::new(&printed)))),
        Answer::Recovered(recovered) => Some(Outcome::Recovered(recovered)),
        Answer::Certificate(pem) => Some(Outcome::Certificate(pem)),
        Answer::Restored(files) => Some(Outcome::Restored(files)),
        Answer::Freed(freed) => Some(Outcome::Freed(Freed::new(&freed))),
        Answer::Entry(_) | Answer::Created(..) | Answer::Opened(_) | Answer::Written(_) => None,
    }
}

/// The status and the JSON that answer a call.
pub fn render(result: &Result<Outcome, ApiError>) -> (u16, String) {
    let encoded = match result {
        Ok(Outcome::Status(status)) => serde_json::to_string(status),
        Ok(Outcome::Friends(friends)) => serde_json::to_string(friends),
        Ok(Outcome::Transfers(transfers)) => serde_json::to_string(transfers),
        Ok(Outcome::Check(check)) => serde_json::to_string(check),
        Ok(Outcome::Invite(invite)) => serde_json::to_string(&InviteAnswer { invite: invite.clone() }),
        Ok(Outcome::Circle(circle)) => serde_json::to_string(&CircleAnswer { circle: circle.clone() }),
        Ok(Outcome::Certificate(pem)) => serde_json::to_string(&CertificateAnswer { certificate: pem.clone() }),
        Ok(Outcome::Sheet(sheet)) => serde_json::to_string(sheet),
        Ok(Outcome::Recovered(recovered)) => serde_json::to_string(recovered),
        Ok(Outcome::Import(status)) => serde_json::to_string(status),
        Ok(Outcome::Torrent(bytes)) => serde_json::to_string(&TorrentAnswer { torrent: BASE64.encode(bytes) }),
        Ok(Outcome::Versions(versions)) => serde_json::to_string(versions),
        Ok(Outcome::Freed(freed)) => serde_json::to_string(freed),
        Ok(Outcome::Restored(restored)) => serde_json::to_string(&RestoredAnswer { restored: *restored }),
        Ok(Outcome::Done) => Ok("{}".to_owned()),
        Err(error) => return (error.status, error.body()),
    };
    match encoded {
        Ok(body) => (200, body),
        Err(why) => {
            let error = ApiError::new(500, format!("the answer cannot be written as JSON: {why}"));
            (error.status, error.body())
        }
    }
}

/// Why a call failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiError {
    /// 400 to 599 (RFC 9110; 507 of RFC 4918).
    pub status: u16,
    /// What is wrong.
    pub error: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// The body that carries an [`ApiError`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// What is wrong.
    pub error: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl ApiError {
    /// An error of this status.
    pub fn new(status: u16, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), remedy: None }
    }

    /// The same with what to do about it.
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// 400: the request is not what it should be.
    pub fn bad(error: impl Into<String>) -> Self {
        Self::new(400, error)
    }

    /// 413: the body is over [`BODY_MAX`].
    pub fn body_too_large() -> Self {
        Self::new(413, format!("the body is longer than {BODY_MAX} bytes"))
    }

    pub(super) fn not_found(path: &str) -> Self {
        Self::new(404, format!("there is nothing at {}", shorten(path)))
            .with_remedy("this node speaks version 1 of the API: /v1/status, friends, transfers, invite, join, sheet, sheet-written, recover, found, remove, leave, guest, export-torrent, versions, restore, pin, free, import, import-progress, password, press, unmount, stop")
    }

    fn body(&self) -> String {
        json!(ErrorAnswer { error: self.error.clone(), remedy: self.remedy.clone() }).to_string()
    }
}

impl From<OpError> for ApiError {
    fn from(error: OpError) -> Self {
        let status = match &error {
            OpError::NotFound | OpError::NoData => 404,
            OpError::Exists
            | OpError::NotEmpty
            | OpError::NotDirectory
            | OpError::IsDirectory
            | OpError::CrossCircle => 409,
            OpError::Invalid(_) | OpError::NameTooLong | OpError::BadHandle | OpError::NotSupported => 400,
            OpError::ReadOnly | OpError::NotPermitted(_) => 403,
            OpError::TooLarge => 413,
            OpError::Io(_) => 500,
            OpError::Unreachable | OpError::Interrupted | OpError::Busy | OpError::Stopping => 503,
            OpError::TimedOut => 504,
            OpError::NoSpace => 507,
            OpError::Locked => 423,
        };
        Self::new(status, error.to_string())
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)?;
        match &self.remedy {
            Some(remedy) => write!(f, ": {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ApiError {}

/// The body that carries [`Outcome::Invite`](super::Outcome::Invite).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InviteAnswer {
    /// The text.
    pub invite: String,
}

/// The body that carries [`Outcome::Circle`](super::Outcome::Circle).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CircleAnswer {
    /// Its name.
    pub circle: String,
}

/// The body that carries [`Outcome::Sheet`](super::Outcome::Sheet). Whoever has it is a keeper of the circles.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SheetAnswer {
    /// Twelve words.
    pub words: String,
    /// The same as one line, with addresses.
    pub text: String,
    /// Where those were who can hand out what it needs, as `address:port`.
    pub addresses: Vec<String>,
    /// Its name among the friends.
    pub name: String,
    /// The circles that it is for.
    pub circles: Vec<String>,
    /// Circles that it is not for, since nobody else is in them.
    pub alone: Vec<String>,
    /// One before it is valid, too, until somebody says that this one is on paper.
    pub older: bool,
}

impl SheetAnswer {
    fn new(printed: &PrintedSheet) -> Self {
        Self {
            words: printed.sheet.words().to_string(),
            text: printed.sheet.text().to_string(),
            addresses: printed.sheet.addresses.iter().map(ToString::to_string).collect(),
            name: printed.name.clone(),
            circles: printed.circles.clone(),
            alone: printed.alone.clone(),
            older: printed.older,
        }
    }
}

impl fmt::Debug for SheetAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SheetAnswer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for SheetAnswer {
    fn drop(&mut self) {
        self.words.zeroize();
        self.text.zeroize();
    }
}

/// The body that carries [`Outcome::Certificate`](super::Outcome::Certificate).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CertificateAnswer {
    /// PEM.
    pub certificate: String,
}

/// The body that carries [`Outcome::Torrent`](super::Outcome::Torrent).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TorrentAnswer {
    /// Base64.
    pub torrent: String,
}

/// The body that carries [`Outcome::Restored`](super::Outcome::Restored).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RestoredAnswer {
    /// Files.
    pub restored: u64,
}
