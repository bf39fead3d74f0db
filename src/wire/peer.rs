//! Peer messages of a torrent: BEP 3, BEP 6 (fast), BEP 10 (extensions) and BEP 54 (lt_donthave).
//!
//! ```text
//! on a channel between our own nodes   a frame's payload = id(1) | payload        an empty frame keeps alive
//! on a classic stream                  handshake(68), then length(4, BE) | id(1) | payload ...
//! ```
//! A block is never copied: it is a slice of what came, and is sent as the body behind a message's head. Piece numbers
//! are a peer's claims until [`Metainfo::piece`](super::metainfo::Metainfo::piece) makes an index of one.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::record::Bytes2;
use super::{WireError, bencode};
use crate::base::InfoHash;
use crate::base::limits::{BLOCK_MAX, PEER_MESSAGE_MAX};

pub use super::bitfield::Bitfield;

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerMessage {
    /// Nothing but a sign of life.
    KeepAlive,
    /// No requests will be answered until `Unchoke`.
    Choke,
    /// Requests will be answered.
    Unchoke,
    /// The sender wants what the other has.
    Interested,
    /// It does not.
    NotInterested,
    /// The sender has one piece more.
    Have(u32),
    /// The pieces that the sender has, for [`Bitfield::from_bytes`].
    Bitfield(Bytes),
    /// Asks for a block.
    Request(Request),
    /// A block.
    Piece {
        /// Of this piece.
        piece: u32,
        /// From this byte of it.
        begin: u32,
        /// 1 to [`BLOCK_MAX`] bytes.
        block: Bytes,
    },
    /// Takes a request back.
    Cancel(Request),
    /// BEP 6: this piece would be good to ask for.
    Suggest(u32),
    /// BEP 6: a full bitfield.
    HaveAll,
    /// BEP 6: an empty bitfield.
    HaveNone,
    /// BEP 6: a request that will not be answered.
    Reject(Request),
    /// BEP 6: this piece may be asked for while choked.
    AllowedFast(u32),
    /// BEP 10: id 0 is [`ExtendedHandshake`], others are as the receiver's handshake numbered them.
    Extended {
        /// The receiver's number for the extension.
        id: u8,
        /// What the extension defines.
        payload: Bytes,
    },
    /// A message that this node does not know, or (port, BEP 5) has no use for: to be ignored.
    Unknown(u8),
}

/// Which block is asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Request {
    /// Of this piece.
    pub piece: u32,
    /// From this byte of it.
    pub begin: u32,
    /// 1 to [`BLOCK_MAX`] bytes.
    pub length: u32,
}

impl PeerMessage {
    /// Decodes a frame's payload. A block or bitfield is a slice of it.
    pub fn decode(payload: &Bytes) -> Result<Self, WireError> {
        if payload.len() > PEER_MESSAGE_MAX {
            return Err(WireError::OverLimit("a peer message's length in bytes", payload.len(), PEER_MESSAGE_MAX));
        }
        let mut rest = payload.clone();
        let Ok(id) = rest.try_get_u8() else {
            return Ok(PeerMessage::KeepAlive);
        };
        let message = match id {
            CHOKE => PeerMessage::Choke,
            UNCHOKE => PeerMessage::Unchoke,
            INTERESTED => PeerMessage::Interested,
            NOT_INTERESTED => PeerMessage::NotInterested,
            HAVE => PeerMessage::Have(number(&mut rest)?),
            BITFIELD => return Ok(PeerMessage::Bitfield(rest)),
            REQUEST => PeerMessage::Request(request(&mut rest)?),
            PIECE => {
                let (piece, begin) = (number(&mut rest)?, number(&mut rest)?);
                check_block(rest.len())?;
                return Ok(PeerMessage::Piece { piece, begin, block: rest });
            }
            CANCEL => PeerMessage::Cancel(request(&mut rest)?),
            SUGGEST => PeerMessage::Suggest(number(&mut rest)?),
            HAVE_ALL => PeerMessage::HaveAll,
            HAVE_NONE => PeerMessage::HaveNone,
            REJECT => PeerMessage::Reject(request(&mut rest)?),
            ALLOWED_FAST => PeerMessage::AllowedFast(number(&mut rest)?),
            EXTENDED => {
                let id = rest.try_get_u8().map_err(|_| malformed("it is cut short"))?;
                return Ok(PeerMessage::Extended { id, payload: rest });
            }
            id => return Ok(PeerMessage::Unknown(id)),
        };
        if rest.is_empty() { Ok(message) } else { Err(malformed("something follows it")) }
    }

    /// Takes the next whole message off a classic stream's bytes; `None` while it is not all there. The handshake was
    /// taken before. A length over the limit is refused as soon as it is seen.
    pub fn take(stream: &mut BytesMut) -> Result<Option<Self>, WireError> {
        let Some(prefix) = stream.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > PEER_MESSAGE_MAX {
            return Err(WireError::OverLimit("a peer message's length in bytes", length, PEER_MESSAGE_MAX));
        }
        if stream.len() < 4 + length {
            return Ok(None);
        }
        stream.advance(4);
        Self::decode(&stream.split_to(length).freeze()).map(Some)
    }

    /// The message's bytes for a channel, but for a block, which [`PeerMessage::body`] gives.
    pub fn encode_head(&self) -> Bytes {
        let mut head = BytesMut::with_capacity(HEAD);
        self.put_head(&mut head);
        head.freeze()
    }

    /// The message's bytes for a classic stream, but for a block.
    pub fn encode_stream_head(&self) -> Bytes {
        let mut head = BytesMut::with_capacity(4 + HEAD);
        head.put_u32(0);
        self.put_head(&mut head);
        let length = (head.len() - 4 + self.body().len()) as u32;
        head[..4].copy_from_slice(&length.to_be_bytes());
        head.freeze()
    }

    /// The block of a `Piece`; nothing for every other message.
    pub fn body(&self) -> Bytes {
        match self {
            PeerMessage::Piece { block, .. } => block.clone(),
            _ => Bytes::new(),
        }
    }

    fn put_head(&self, head: &mut BytesMut) {
        match self {
            PeerMessage::KeepAlive => {}
            PeerMessage::Choke => head.put_u8(CHOKE),
            PeerMessage::Unchoke => head.put_u8(UNCHOKE),
            PeerMessage::Interested => head.put_u8(INTERESTED),
            PeerMessage::NotInterested => head.put_u8(NOT_INTERESTED),
            PeerMessage::Have(piece) => put_numbers(head, HAVE, &[*piece]),
            PeerMessage::Bitfield(bits) => {
                head.put_u8(BITFIELD);
                head.put_slice(bits);
            }
            PeerMessage::Request(r) => put_numbers(head, REQUEST, &[r.piece, r.begin, r.length]),
            PeerMessage::Piece { piece, begin, .. } => put_numbers(head, PIECE, &[*piece, *begin]),
            PeerMessage::Cancel(r) => put_numbers(head, CANCEL, &[r.piece, r.begin, r.length]),
            PeerMessage::Suggest(piece) => put_numbers(head, SUGGEST, &[*piece]),
            PeerMessage::HaveAll => head.put_u8(HAVE_ALL),
            PeerMessage::HaveNone => head.put_u8(HAVE_NONE),
            PeerMessage::Reject(r) => put_numbers(head, REJECT, &[r.piece, r.begin, r.length]),
            PeerMessage::AllowedFast(piece) => put_numbers(head, ALLOWED_FAST, &[*piece]),
            PeerMessage::Extended { id, payload } => {
                head.put_slice(&[EXTENDED, *id]);
                head.put_slice(payload);
            }
            PeerMessage::Unknown(id) => head.put_u8(*id),
        }
    }
}

fn put_numbers(head: &mut BytesMut, id: u8, numbers: &[u32]) {
    head.put_u8(id);
    numbers.iter().for_each(|number| head.put_u32(*number));
}

fn malformed(why: &str) -> WireError {
    WireError::Malformed("a peer message", why.into())
}

fn number(rest: &mut Bytes) -> Result<u32, WireError> {
    rest.try_get_u32().map_err(|_| malformed("it is cut short"))
}

fn request(rest: &mut Bytes) -> Result<Request, WireError> {
    let request = Request { piece: number(rest)?, begin: number(rest)?, length: number(rest)? };
    check_block(request.length as usize)?;
    Ok(request)
}

fn check_block(length: usize) -> Result<(), WireError> {
    match length {
        0 => Err(malformed("its block is empty")),
        _ if length > BLOCK_MAX as usize => {
            Err(WireError::OverLimit("a block's length in bytes", length, BLOCK_MAX as usize))
        }
        _ => Ok(()),
    }
}

/// The opening of a classic stream (BEP 3): 68 bytes each way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handshake {
    /// The torrent.
    pub info_hash: InfoHash,
    /// The sender's name for itself, of no meaning to us.
    pub peer_id: [u8; 20],
    /// BEP 6 is spoken.
    pub fast: bool,
    /// BEP 10 is spoken.
    pub extended: bool,
}

impl Handshake {
    /// Bytes of a handshake.
    pub const LENGTH: usize = 68;

    /// The handshake's bytes.
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..20].copy_from_slice(PROTOCOL);
        bytes[25] |= if self.extended { EXTENDED_BIT } else { 0 };
        bytes[27] |= if self.fast { FAST_BIT } else { 0 };
        bytes[28..48].copy_from_slice(&self.info_hash.0);
        bytes[48..].copy_from_slice(&self.peer_id);
        bytes
    }

    /// Decodes a handshake. Reserved bits that we do not know are ignored.
    pub fn decode(bytes: &[u8; Self::LENGTH]) -> Result<Self, WireError> {
        if !bytes.starts_with(PROTOCOL) {
            return Err(WireError::Malformed("a handshake", "it is not BitTorrent's".into()));
        }
        let mut handshake = Self {
            info_hash: InfoHash([0; 20]),
            peer_id: [0; 20],
            fast: bytes[27] & FAST_BIT != 0,
            extended: bytes[25] & EXTENDED_BIT != 0,
        };
        handshake.info_hash.0.copy_from_slice(&bytes[28..48]);
        handshake.peer_id.copy_from_slice(&bytes[48..]);
        Ok(handshake)
    }
}

/// What a BEP 10 handshake tells that we use; everything else in it is ignored.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ExtendedHandshake {
    /// The id under which the sender takes `lt_donthave`, 1 to 255.
    pub donthave: Option<u8>,
    /// Requests that the sender lets wait.
    pub reqq: Option<u32>,
    /// Name and version of the sender's program, for people.
    pub client: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct ExtendedWire {
    #[serde(rename = "m", default)]
    ids: ExtensionIds,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reqq: Option<i64>,
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    client: Option<Bytes2>,
}

#[derive(Default, Serialize, Deserialize)]
struct ExtensionIds {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lt_donthave: Option<i64>,
}

impl ExtendedHandshake {
    /// The id of this message among the extended ones.
    pub const ID: u8 = 0;

    /// The payload.
    pub fn encode(&self) -> Bytes {
        bencode::encode(&ExtendedWire {
            ids: ExtensionIds { lt_donthave: self.donthave.map(i64::from) },
            reqq: self.reqq.map(i64::from),
            client: self.client.as_deref().map(|client| Bytes2::from(client.as_bytes())),
        })
        .into()
    }

    /// Decodes a payload. Numbers out of range count as absent.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let wire: ExtendedWire = bencode::decode("an extended handshake", payload, EXTENDED_MAX)?;
        Ok(Self {
            donthave: wire.ids.lt_donthave.and_then(|id| u8::try_from(id).ok()).filter(|id| *id != Self::ID),
            reqq: wire.reqq.and_then(|reqq| u32::try_from(reqq).ok()),
            client: wire.client.map(|client| String::from_utf8_lossy(&client).chars().take(CLIENT_CHARS).collect()),
        })
    }
}

/// The payload of `lt_donthave` (BEP 54): the sender no longer has a piece.
pub fn encode_donthave(piece: u32) -> Bytes {
    Bytes::copy_from_slice(&piece.to_be_bytes())
}

/// Decodes a payload of `lt_donthave`.
pub fn decode_donthave(payload: &[u8]) -> Result<u32, WireError> {
    match payload.try_into() {
        Ok(piece) => Ok(u32::from_be_bytes(piece)),
        Err(_) => Err(WireError::Malformed("lt_donthave", "it is not 4 bytes".into())),
    }
}

/// The id under which this node takes `lt_donthave`.
pub const DONTHAVE: u8 = 1;

const CHOKE: u8 = 0;
const UNCHOKE: u8 = 1;
const INTERESTED: u8 = 2;
const NOT_INTERESTED: u8 = 3;
const HAVE: u8 = 4;
const BITFIELD: u8 = 5;
const REQUEST: u8 = 6;
const PIECE: u8 = 7;
const CANCEL: u8 = 8;
const SUGGEST: u8 = 13;
const HAVE_ALL: u8 = 14;
const HAVE_NONE: u8 = 15;
const REJECT: u8 = 16;
const ALLOWED_FAST: u8 = 17;
const EXTENDED: u8 = 20;

/// Bytes of the longest head without a payload: an id and three numbers.
const HEAD: usize = 13;
const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";
/// Bit 20 from the right of the reserved bytes (BEP 10).
const EXTENDED_BIT: u8 = 0x10;
/// Bit 2 from the right (BEP 6).
const FAST_BIT: u8 = 0x04;
/// Bytes of an extended handshake; stock clients send a few hundred.
const EXTENDED_MAX: usize = 16_384;
/// Characters of a program's name that are kept.
const CLIENT_CHARS: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(message: &PeerMessage) -> Vec<u8> {
        [message.encode_head(), message.body()].concat()
    }

    fn decode(payload: &[u8]) -> Result<PeerMessage, WireError> {
        PeerMessage::decode(&Bytes::copy_from_slice(payload))
    }

    #[test]
    fn the_forms_are_those_of_the_beps() {
        let request = Request { piece: 1, begin: 0x4000, length: 0x4000 };
        for (message, form) in [
            (PeerMessage::KeepAlive, &b""[..]),
            (PeerMessage::Choke, b"\x00"),
            (PeerMessage::NotInterested, b"\x03"),
            (PeerMessage::Have(5), b"\x04\0\0\0\x05"),
            (PeerMessage::Bitfield(Bytes::from_static(b"\xF0")), b"\x05\xF0"),
            (PeerMessage::Request(request), b"\x06\0\0\0\x01\0\0\x40\0\0\0\x40\0"),
            (
                PeerMessage::Piece { piece: 1, begin: 2, block: Bytes::from_static(b"xy") },
                b"\x07\0\0\0\x01\0\0\0\x02xy",
            ),
            (PeerMessage::Cancel(request), b"\x08\0\0\0\x01\0\0\x40\0\0\0\x40\0"),
            (PeerMessage::Suggest(1), b"\x0D\0\0\0\x01"),
            (PeerMessage::HaveAll, b"\x0E"),
            (PeerMessage::HaveNone, b"\x0F"),
            (PeerMessage::Reject(request), b"\x10\0\0\0\x01\0\0\x40\0\0\0\x40\0"),
            (PeerMessage::AllowedFast(1), b"\x11\0\0\0\x01"),
            (PeerMessage::Extended { id: 3, payload: Bytes::from_static(b"p") }, b"\x14\x03p"),
        ] {
            assert_eq!(bytes(&message), form, "{message:?}");
            assert_eq!(decode(form), Ok(message));
        }
        assert_eq!(decode(b"\x09\x1A\xE1"), Ok(PeerMessage::Unknown(9)), "port is ignored");
    }

    #[test]
    fn a_block_is_not_copied() {
        let payload = Bytes::from(bytes(&PeerMessage::Piece { piece: 0, begin: 0, block: vec![7; 16_384].into() }));
        let Ok(PeerMessage::Piece { block, .. }) = PeerMessage::decode(&payload) else { panic!("no piece") };
        assert_eq!(block.as_ptr(), payload[9..].as_ptr());
        let message = PeerMessage::Piece { piece: 0, begin: 0, block };
        assert_eq!(message.body().as_ptr(), payload[9..].as_ptr());
    }

    #[test]
    fn lengths_are_held_to_their_limits() {
        let asked = |length| decode(&bytes(&PeerMessage::Request(Request { piece: 0, begin: 0, length })));
        assert!(asked(BLOCK_MAX).is_ok());
        assert!(matches!(asked(BLOCK_MAX + 1), Err(WireError::OverLimit(..))));
        assert!(matches!(asked(u32::MAX), Err(WireError::OverLimit(..))));
        assert!(matches!(asked(0), Err(WireError::Malformed(..))));
        let sent = |length| decode(&[&[PIECE][..], &[0; 8], &vec![0; length]].concat());
        assert!(sent(BLOCK_MAX as usize).is_ok());
        assert!(matches!(sent(BLOCK_MAX as usize + 1), Err(WireError::OverLimit(..))));
        assert!(matches!(sent(0), Err(WireError::Malformed(..))));
        assert!(matches!(decode(&vec![BITFIELD; PEER_MESSAGE_MAX + 1]), Err(WireError::OverLimit(..))));
        for id in [HAVE, REQUEST, PIECE, CANCEL, SUGGEST, REJECT, ALLOWED_FAST, EXTENDED] {
            assert!(matches!(decode(&[id]), Err(WireError::Malformed(..))), "{id} cut short");
        }
        for id in [CHOKE, UNCHOKE, INTERESTED, NOT_INTERESTED, HAVE_ALL, HAVE_NONE] {
            assert!(matches!(decode(&[id, 0]), Err(WireError::Malformed(..))), "{id} with something behind");
        }
        assert!(matches!(decode(&[HAVE, 0, 0, 0, 0, 0]), Err(WireError::Malformed(..))));
    }

    #[test]
    fn a_classic_stream_is_cut_into_messages() {
        let messages = [
            PeerMessage::KeepAlive,
            PeerMessage::Piece { piece: 1, begin: 2, block: Bytes::from_static(b"block") },
            PeerMessage::HaveAll,
        ];
        let whole: Vec<u8> = messages.iter().flat_map(|m| [m.encode_stream_head(), m.body()].concat()).collect();
        let (mut stream, mut taken) = (BytesMut::new(), Vec::new());
        for byte in whole {
            stream.put_u8(byte);
            taken.extend(PeerMessage::take(&mut stream).unwrap());
        }
        assert_eq!(taken, messages);
        assert!(stream.is_empty());
        for length in [PEER_MESSAGE_MAX as u32 + 1, 1 << 31, u32::MAX] {
            let mut stream = BytesMut::from(&length.to_be_bytes()[..]);
            assert!(matches!(PeerMessage::take(&mut stream), Err(WireError::OverLimit(..))), "{length}");
        }
    }

    #[test]
    fn handshakes_are_those_of_bep_3() {
        let handshake = Handshake { info_hash: InfoHash([1; 20]), peer_id: [2; 20], fast: true, extended: true };
        let form =
            [&b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x04"[..], &[1; 20], &[2; 20]].concat().try_into().unwrap();
        assert_eq!(handshake.encode(), form);
        assert_eq!(Handshake::decode(&form), Ok(handshake));
        let mut other = form;
        other[20..28].copy_from_slice(&[0xFF; 8]);
        assert_eq!(Handshake::decode(&other), Ok(handshake), "unknown bits are ignored");
        other[20..28].copy_from_slice(&[0xEF, 0, 0, 0, 0, 0xEF, 0, 0xFB]);
        assert_eq!(Handshake::decode(&other), Ok(Handshake { fast: false, extended: false, ..handshake }));
        other[5] ^= 1;
        assert!(Handshake::decode(&other).is_err());
    }

    #[test]
    fn extended_handshakes_of_others_are_understood() {
        let ours = ExtendedHandshake { donthave: Some(DONTHAVE), reqq: Some(512), client: Some("dustfs 0".into()) };
        assert_eq!(&ours.encode()[..], b"d1:md11:lt_donthavei1ee4:reqqi512e1:v8:dustfs 0e");
        assert_eq!(ExtendedHandshake::decode(&ours.encode()), Ok(ours));
        // What libtorrent sends, shortened.
        let theirs = b"d12:complete_agoi1e1:md11:lt_donthavei7e10:share_modei8e11:upload_onlyi3e12:ut_holepunchi4e\
            11:ut_metadatai2ee13:metadata_sizei32e4:reqqi500e11:upload_onlyi1e1:v18:libtorrent/2.0.8.06:yourip\
            4:\x7F\0\0\x01e";
        let theirs = ExtendedHandshake::decode(theirs).unwrap();
        assert_eq!((theirs.donthave, theirs.reqq), (Some(7), Some(500)));
        assert_eq!(theirs.client.as_deref(), Some("libtorrent/2.0.8.0"));
        for (odd, donthave, reqq) in [
            (&b"de"[..], None, None),
            (b"d1:md11:lt_donthavei0eee", None, None),
            (b"d1:md11:lt_donthavei256ee4:reqqi-1ee", None, None),
            (b"d1:md11:lt_donthavei255ee4:reqqi4294967296ee", Some(255), None),
        ] {
            let decoded = ExtendedHandshake::decode(odd).unwrap();
            assert_eq!((decoded.donthave, decoded.reqq, decoded.client), (donthave, reqq, None));
        }
        let long = ExtendedHandshake::decode(&[b"d1:v300:", &[0xFF; 300][..], b"e"].concat()).unwrap();
        assert_eq!(long.client.unwrap().chars().count(), CLIENT_CHARS);
        for bad in [&b""[..], b"le", b"i1e", b"d1:mi1ee", b"d4:reqq1:xe", &[b'l'; 20_000]] {
            assert!(ExtendedHandshake::decode(bad).is_err());
        }
    }

    #[test]
    fn donthave_is_one_number() {
        assert_eq!(decode_donthave(&encode_donthave(0x0102_0304)), Ok(0x0102_0304));
        assert!(decode_donthave(&[0; 3]).is_err() && decode_donthave(&[0; 5]).is_err());
    }

    fn messages() -> impl Strategy<Value = PeerMessage> {
        let request = (any::<u32>(), any::<u32>(), 1..=BLOCK_MAX).prop_map(|(piece, begin, length)| Request {
            piece,
            begin,
            length,
        });
        let payload = proptest::collection::vec(any::<u8>(), 1..100).prop_map(Bytes::from);
        prop_oneof![
            proptest::sample::select(vec![
                PeerMessage::KeepAlive,
                PeerMessage::Choke,
                PeerMessage::Unchoke,
                PeerMessage::Interested,
                PeerMessage::NotInterested,
                PeerMessage::HaveAll,
                PeerMessage::HaveNone,
            ]),
            any::<u32>().prop_map(PeerMessage::Have),
            any::<u32>().prop_map(PeerMessage::Suggest),
            any::<u32>().prop_map(PeerMessage::AllowedFast),
            request.clone().prop_map(PeerMessage::Request),
            request.clone().prop_map(PeerMessage::Cancel),
            request.prop_map(PeerMessage::Reject),
            payload.clone().prop_map(PeerMessage::Bitfield),
            (any::<u8>(), payload.clone()).prop_map(|(id, payload)| PeerMessage::Extended { id, payload }),
            (any::<u32>(), any::<u32>(), payload).prop_map(|(piece, begin, block)| PeerMessage::Piece {
                piece,
                begin,
                block
            }),
        ]
    }

    proptest! {
        #[test]
        fn messages_come_back_on_channels_and_streams(message in messages()) {
            prop_assert_eq!(decode(&bytes(&message)).unwrap(), message.clone());
            let mut stream = BytesMut::from(&[message.encode_stream_head(), message.body()].concat()[..]);
            prop_assert_eq!(PeerMessage::take(&mut stream).unwrap(), Some(message));
            prop_assert!(stream.is_empty());
        }

        #[test]
        fn garbage_is_refused_or_comes_back(garbage in proptest::collection::vec(any::<u8>(), 0..40)) {
            match decode(&garbage) {
                Ok(PeerMessage::Unknown(id)) => prop_assert_eq!(id, garbage[0]),
                Ok(message) => prop_assert_eq!(bytes(&message), garbage.clone()),
                Err(_) => {}
            }
            let _ = ExtendedHandshake::decode(&garbage);
            let _ = PeerMessage::take(&mut BytesMut::from(&garbage[..]));
        }

        #[test]
        fn torn_handshakes_never_panic(at in 0..60_usize, to: u8) {
            let mut torn = b"d1:md11:lt_donthavei7ee4:reqqi500e1:v3:abc6:yourip4:\x7F\0\0\x01e".to_vec();
            let at = at % torn.len();
            torn[at] = to;
            let _ = ExtendedHandshake::decode(&torn);
        }
    }
}
