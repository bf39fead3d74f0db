//! The bodies of answers that are one value.

use serde::{Deserialize, Serialize};

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
