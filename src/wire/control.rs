//! Control messages: channel 0 of a connection between two of our own nodes, bencoded dictionaries `{ t: type, ... }`.
//!
//! The first message each way is `hello`. What names a circle is ignored unless both sides are in it.

use serde::{Deserialize, Serialize};

use super::record::{Bytes2, Dot};
use super::{WireError, bencode};
use crate::base::limits::FRAME_MAX;
use crate::base::{CircleId, CommitHash, InfoHash, MemberKey, StatementHash, TransportKey};

/// The highest version of control messages that this node speaks, and the lowest.
pub const VERSIONS: (u32, u32) = (1, 1);

/// One control message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Control {
    /// Who is there, and for which circles.
    Hello(Hello),
    /// Hashes of all statements of a circle that the sender has; the other sends those that are not among them.
    Roster(Roster),
    /// Statements, in an order in which each comes after those that it names.
    Statements(Statements),
    /// How far the sender's commits reach.
    Heads(Heads),
    /// Asks for the commits and records above what the sender has.
    Pull(Heads),
    /// Commits in causal order with their records.
    Commits(Commits),
    /// Signed address records.
    Addresses(Addresses),
    /// Which torrents the sender holds.
    Holdings(Holdings),
    /// Opens a channel for a torrent.
    Open(Open),
    /// Closes a channel, or refuses to open it.
    Shut(Shut),
    /// Stock clients that announced themselves to the sender.
    Clients(Clients),
    /// A step of letting bodies go; nodes that do not know it pledge nothing.
    Pledge(Pledge),
}

/// See [`Control::Hello`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Circles that the sender is in.
    #[serde(rename = "c")]
    pub circles: Vec<CircleId>,
    /// The sender's member key, with `signature`.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberKey>,
    /// Ed25519 of the member key over "dustfs hello 1\0" and the TLS exporter and the sender's transport key; absent
    /// while the box is locked.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Bytes2>,
    /// Highest version spoken.
    #[serde(rename = "v")]
    pub version: u32,
    /// Lowest version spoken.
    #[serde(rename = "w")]
    pub lowest: u32,
}

/// See [`Control::Roster`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Roster {
    /// The circle.
    #[serde(rename = "c")]
    pub circle: CircleId,
    /// All that the sender has.
    #[serde(rename = "h")]
    pub have: Vec<StatementHash>,
}

/// See [`Control::Statements`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Statements {
    /// The circle.
    #[serde(rename = "c")]
    pub circle: CircleId,
    /// Signed statements.
    #[serde(rename = "s")]
    pub statements: Vec<Bytes2>,
}

/// One chain's last commit that is held with all before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    /// Its dot.
    #[serde(rename = "d")]
    pub dot: Dot,
    /// Its hash.
    #[serde(rename = "h")]
    pub hash: CommitHash,
}

/// See [`Control::Heads`] and [`Control::Pull`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Heads {
    /// The circle.
    #[serde(rename = "c")]
    pub circle: CircleId,
    /// One per chain.
    #[serde(rename = "h")]
    pub heads: Vec<Head>,
}

/// See [`Control::Commits`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Commits {
    /// The circle.
    #[serde(rename = "c")]
    pub circle: CircleId,
    /// Signed commits, each after those that it depends on.
    #[serde(rename = "k")]
    pub commits: Vec<Bytes2>,
    /// 1 when this ends the answer to a pull; 0 when more follows or it was not asked for.
    #[serde(rename = "l")]
    pub last: u8,
    /// Records that the commits name.
    #[serde(rename = "r")]
    pub records: Vec<Bytes2>,
}

/// Where a device can be dialled, as it says itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Addresses {
    /// Signed address records ([`AddressRecord`]).
    #[serde(rename = "a")]
    pub records: Vec<Bytes2>,
}

/// The content of a signed address record; the newest number of a device wins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AddressRecord {
    /// `ip:port`, at most 16.
    #[serde(rename = "a")]
    pub addresses: Vec<String>,
    /// Greater than in every record of this device before.
    #[serde(rename = "n")]
    pub number: u64,
    /// The transport key that signs it, since a locked box must be able to.
    #[serde(rename = "t")]
    pub transport: TransportKey,
}

/// See [`Control::Holdings`]: what the sender holds of one circle, or how that changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Holdings {
    /// The circle.
    #[serde(rename = "c")]
    pub circle: CircleId,
    /// Torrents not held though a summary covers them, or no longer held.
    #[serde(rename = "g", default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<InfoHash>,
    /// Torrents held whole.
    #[serde(rename = "h", default, skip_serializing_if = "Vec::is_empty")]
    pub whole: Vec<InfoHash>,
    /// Torrents held in part.
    #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
    pub partial: Vec<InfoHash>,
    /// 1 when this replaces what was told before.
    #[serde(rename = "r", default)]
    pub reset: u8,
    /// Summary: all torrents of these chains' commits up to these sequences are held whole, but for `gone`.
    #[serde(rename = "u", default, skip_serializing_if = "Vec::is_empty")]
    pub upto: Vec<Dot>,
    /// Torrents that the sender wants and does not hold whole; members tell it to caches.
    #[serde(rename = "w", default, skip_serializing_if = "Vec::is_empty")]
    pub wanted: Vec<InfoHash>,
}

/// See [`Control::Open`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Open {
    /// The channel: odd from the side that dialled, even from the side that accepted, never reused on a connection.
    #[serde(rename = "n")]
    pub channel: u32,
    /// The torrent.
    #[serde(rename = "h")]
    pub info_hash: InfoHash,
}

/// See [`Control::Shut`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Shut {
    /// The channel.
    #[serde(rename = "n")]
    pub channel: u32,
}

/// See [`Control::Clients`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Clients {
    /// The circle.
    #[serde(rename = "c")]
    pub circle: CircleId,
    /// In any order.
    #[serde(rename = "l")]
    pub clients: Vec<Client>,
}

/// A stock client's place for one torrent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Client {
    /// `ip:port`.
    #[serde(rename = "a")]
    pub address: String,
    /// The torrent.
    #[serde(rename = "h")]
    pub info_hash: InfoHash,
    /// Its key.
    #[serde(rename = "k")]
    pub transport: TransportKey,
}

/// See [`Control::Pledge`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pledge {
    /// The circle.
    #[serde(rename = "c")]
    pub circle: CircleId,
    /// The bodies that the step is about, at most [`HOLDINGS_MESSAGE`](crate::base::limits::HOLDINGS_MESSAGE).
    #[serde(rename = "l")]
    pub bodies: Vec<Pledged>,
    /// 1 asks for pledges, 2 gives them, 3 refuses them; 4 ends them because the sender has let the body go, 5 because it
    /// keeps it. What a later version may say is passed over.
    #[serde(rename = "s")]
    pub step: u8,
}

/// A body of which a pledge is asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Pledged {
    /// Its torrent.
    #[serde(rename = "h")]
    pub info_hash: InfoHash,
    /// Which time it is asked: drawn by who asks, below 2^63, and never again.
    #[serde(rename = "n")]
    pub round: u64,
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "t")]
    kind: String,
}

#[derive(Serialize, Deserialize)]
struct Tagged<T> {
    #[serde(rename = "b")]
    body: T,
    #[serde(rename = "t")]
    kind: String,
}

impl Control {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        fn tag<T: Serialize>(kind: &str, body: &T) -> Vec<u8> {
            bencode::encode(&Tagged { kind: kind.into(), body })
        }
        match self {
            Control::Hello(body) => tag("hello", body),
            Control::Roster(body) => tag("roster", body),
            Control::Statements(body) => tag("statements", body),
            Control::Heads(body) => tag("heads", body),
            Control::Pull(body) => tag("pull", body),
            Control::Commits(body) => tag("commits", body),
            Control::Addresses(body) => tag("addresses", body),
            Control::Holdings(body) => tag("holdings", body),
            Control::Open(body) => tag("open", body),
            Control::Shut(body) => tag("shut", body),
            Control::Clients(body) => tag("clients", body),
            Control::Pledge(body) => tag("pledge", body),
        }
    }

    /// Decodes a message; `None` for a type that a later version may have.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, WireError> {
        const WHAT: &str = "a control message";
        fn body<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
            Ok(bencode::decode::<Tagged<T>>(WHAT, bytes, FRAME_MAX)?.body)
        }
        let typed: Typed = bencode::decode(WHAT, bytes, FRAME_MAX)?;
        Ok(Some(match typed.kind.as_str() {
            "hello" => Control::Hello(body(bytes)?),
            "roster" => Control::Roster(body(bytes)?),
            "statements" => Control::Statements(body(bytes)?),
            "heads" => Control::Heads(body(bytes)?),
            "pull" => Control::Pull(body(bytes)?),
            "commits" => Control::Commits(body(bytes)?),
            "addresses" => Control::Addresses(body(bytes)?),
            "holdings" => Control::Holdings(body(bytes)?),
            "open" => Control::Open(body(bytes)?),
            "shut" => Control::Shut(body(bytes)?),
            "clients" => Control::Clients(body(bytes)?),
            "pledge" => Control::Pledge(body(bytes)?),
            _ => return Ok(None),
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dot(author: u8, sequence: u64) -> Dot {
        Dot { author: MemberKey([author; 32]), incarnation: 0, sequence }
    }

    fn circles() -> impl Strategy<Value = CircleId> {
        any::<[u8; 32]>().prop_map(CircleId)
    }

    fn heads() -> impl Strategy<Value = Heads> {
        let head = (any::<u8>(), 0..=i64::MAX as u64, any::<[u8; 32]>())
            .prop_map(|(author, sequence, hash)| Head { dot: dot(author, sequence), hash: CommitHash(hash) });
        (circles(), proptest::collection::vec(head, 0..4)).prop_map(|(circle, heads)| Heads { circle, heads })
    }

    fn strings() -> impl Strategy<Value = Vec<Bytes2>> {
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes2::from), 0..4)
    }

    fn torrents() -> impl Strategy<Value = Vec<InfoHash>> {
        proptest::collection::vec(any::<[u8; 20]>().prop_map(InfoHash), 0..4)
    }

    fn messages() -> impl Strategy<Value = Control> {
        let hello = (
            proptest::collection::vec(circles(), 0..3),
            proptest::option::of((any::<[u8; 32]>(), any::<[u8; 32]>())),
            any::<(u32, u32)>(),
        )
            .prop_map(|(circles, member, (version, lowest))| Hello {
                circles,
                member: member.map(|(key, _)| MemberKey(key)),
                signature: member.map(|(_, half)| Bytes2::from([half, half].concat())),
                version,
                lowest,
            });
        let have = proptest::collection::vec(any::<[u8; 32]>().prop_map(StatementHash), 0..4);
        let named = (torrents(), torrents(), torrents(), torrents());
        let holdings = (circles(), named, 0..2_u8, any::<u8>()).prop_map(
            |(circle, (gone, whole, partial, wanted), reset, author)| Holdings {
                circle,
                gone,
                whole,
                partial,
                reset,
                upto: vec![dot(author, 1)],
                wanted,
            },
        );
        prop_oneof![
            hello.prop_map(Control::Hello),
            (circles(), have).prop_map(|(circle, have)| Control::Roster(Roster { circle, have })),
            (circles(), strings())
                .prop_map(|(circle, statements)| Control::Statements(Statements { circle, statements })),
            heads().prop_map(Control::Heads),
            heads().prop_map(Control::Pull),
            (circles(), strings(), 0..2_u8, strings()).prop_map(|(circle, commits, last, records)| {
                Control::Commits(Commits { circle, commits, last, records })
            }),
            strings().prop_map(|records| Control::Addresses(Addresses { records })),
            holdings.prop_map(Control::Holdings),
            (any::<u32>(), any::<[u8; 20]>())
                .prop_map(|(channel, hash)| Control::Open(Open { channel, info_hash: InfoHash(hash) })),
            any::<u32>().prop_map(|channel| Control::Shut(Shut { channel })),
            (circles(), torrents(), 0..=i64::MAX as u64, any::<u8>()).prop_map(|(circle, bodies, round, step)| {
                let bodies = bodies.into_iter().map(|info_hash| Pledged { info_hash, round }).collect();
                Control::Pledge(Pledge { circle, bodies, step })
            }),
        ]
    }

    #[test]
    fn the_form_is_a_tagged_dictionary() {
        let encoded = Control::Shut(Shut { channel: 7 }).encode();
        assert_eq!(encoded, b"d1:bd1:ni7ee1:t4:shute");
        let locked = Hello { circles: vec![], member: None, signature: None, version: 1, lowest: 1 };
        assert_eq!(Control::Hello(locked).encode(), b"d1:bd1:cle1:vi1e1:wi1ee1:t5:helloe");
    }

    #[test]
    fn types_of_later_versions_are_passed_over() {
        assert_eq!(Control::decode(b"d1:bd3:newi1ee1:t5:novele"), Ok(None));
        assert_eq!(Control::decode(b"d1:b4:text1:t5:novele"), Ok(None));
        let more = Control::decode(b"d1:bd1:ni7e1:zi1ee1:t4:shut1:zlee");
        assert_eq!(more, Ok(Some(Control::Shut(Shut { channel: 7 }))), "and so are keys");
    }

    #[test]
    fn what_is_missing_wrong_or_too_long_is_refused() {
        for bad in [
            &b""[..],
            b"de",
            b"le",
            b"d1:t4:shute",
            b"d1:bde1:t4:shute",
            b"d1:bd1:ni-1ee1:t4:shute",
            b"d1:bd1:ni4294967296ee1:t4:shute",
            b"d1:bd1:n1:7e1:t4:shute",
            b"d1:bd1:ni7ee1:t4:shut",
            b"d1:bd1:ni7ee1:t4:shutex",
            b"d1:bd1:h19:00000000000000000001:ni7ee1:t4:opene",
            b"d1:bd1:ni7e1:ni8ee1:t4:shute",
        ] {
            assert!(Control::decode(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        let bomb = [b"d1:b".repeat(500_000), b"e".repeat(500_000)].concat();
        assert!(matches!(Control::decode(&bomb[..FRAME_MAX]), Err(WireError::OverLimit(..))));
        let long = vec![b'd'; FRAME_MAX + 1];
        assert_eq!(Control::decode(&long), Err(WireError::OverLimit("a control message", FRAME_MAX + 1, FRAME_MAX)));
    }

    proptest! {
        #[test]
        fn messages_come_back(message in messages()) {
            prop_assert_eq!(Control::decode(&message.encode()).unwrap(), Some(message));
        }

        #[test]
        fn torn_messages_never_panic(message in messages(), at: prop::sample::Index, to: u8, cut: prop::sample::Index) {
            let mut torn = message.encode();
            let at = at.index(torn.len());
            torn[at] = to;
            let _ = Control::decode(&torn);
            torn.truncate(cut.index(torn.len()));
            prop_assert!(Control::decode(&torn).is_err());
        }

        #[test]
        fn garbage_is_refused(garbage in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Control::decode(&garbage).is_err());
        }
    }
}
