//! Every limit on what comes from outside, and the sizes that formats share. Units stand at the end of names or docs.

use std::time::Duration;

/// Plaintext bytes in a full chunk.
pub const CHUNK_PLAIN: usize = 65_508;
/// Bytes of a full chunk, sealed: nonce, ciphertext, tag.
pub const CHUNK_SEALED: usize = 65_536;
/// Bytes that sealing adds to a chunk: a nonce of 12 and a tag of 16.
pub const CHUNK_OVERHEAD: usize = 28;
/// The last chunk is padded so that its sealed length is a multiple of this; also the unit of the slabs, in bytes.
pub const UNIT: usize = 4_096;
/// Bodies up to this many bytes travel inside their record.
pub const INLINE_MAX: usize = 4_096;
/// Largest file, in bytes (just under 256 GiB): what fills [`PIECES`] pieces of 4 MiB, which are 64 chunks each.
pub const FILE_MAX: u64 = PIECES as u64 * 64 * CHUNK_PLAIN as u64;
/// Units in a slab (1 GiB).
pub const SLAB_UNITS: u32 = 262_144;

/// POSIX NAME_MAX, in bytes.
pub const NAME_MAX: usize = 255;
/// POSIX PATH_MAX for symlink targets, in bytes.
pub const SYMLINK_MAX: usize = 4_095;
/// Bytes of an extended attribute's name (XATTR_NAME_MAX of Linux).
pub const XATTR_NAME_MAX: usize = 255;
/// Bytes of all extended attributes of one object, names and values together.
pub const XATTRS_MAX: usize = 16_384;
/// Directories below each other.
pub const DEPTH_MAX: usize = 512;
/// Bytes of a node's or circle's name.
pub const LABEL_MAX: usize = 64;

/// Nesting of bencoded input.
pub const BENCODE_DEPTH: usize = 12;
/// Bytes of one record, public part included (holds the piece hashes of the largest torrent).
pub const RECORD_MAX: usize = 1_500_000;
/// Bytes of one commit.
pub const COMMIT_MAX: usize = 262_144;
/// Records in one commit.
pub const COMMIT_RECORDS: usize = 1_024;
/// Bytes of one statement.
pub const STATEMENT_MAX: usize = 65_536;
/// Statements of one circle.
pub const STATEMENTS: usize = 4_096;
/// Members of one circle, removed ones included.
pub const MEMBERS: usize = 256;
/// Recovery sheets of one circle, removed ones included: each takes the place of a member.
pub const SHEETS: usize = 64;
/// Bytes of what a recovery sheet's statement carries, sealed.
pub const PARCEL_MAX: usize = 57_344;
/// Earlier epochs whose keys that has: they fit it.
pub const PARCEL_EPOCHS: usize = 768;
/// Addresses of one device.
pub const ADDRESSES: usize = 16;
/// Bytes of one signed address record.
pub const ADDRESS_MAX: usize = 2_048;
/// Chains (author and incarnation) of one circle.
pub const CHAINS: usize = 4_096;
/// Chains of one author: each loss of memory begins one.
pub const INCARNATIONS: usize = 64;
/// Circles of one node.
pub const CIRCLES: usize = 32;
/// Torrents of one circle that a peer may tell of one by one, beside its summary.
pub const HOLDINGS: usize = 65_536;
/// Torrents in one message that tells of holdings, as we send it.
pub const HOLDINGS_MESSAGE: usize = 2_000;
/// Pledges that a node has given and not been released from.
pub const PLEDGES: usize = 65_536;
/// Of them, those that bind it to one other.
pub const PLEDGES_EACH: usize = 8_192;
/// Rounds of one other node for one body that it pledges.
pub const PLEDGE_ROUNDS: usize = 4;
/// Nodes that are asked to pledge one body.
pub const PLEDGERS: usize = 16;
/// Dials in flight.
pub const DIALS: usize = 8;
/// Payload bytes of one frame between our own nodes.
pub const FRAME_MAX: usize = 2_097_152;
/// Payload bytes of one message of a torrent channel: a block and its header, or the largest bitfield.
pub const PEER_MESSAGE_MAX: usize = 196_608;
/// Torrent channels open on one connection.
pub const CHANNELS: usize = 256;
/// Pieces of one torrent.
pub const PIECES: usize = 65_536;
/// Bytes in a block of a request (BEP 3).
pub const BLOCK: u32 = 16_384;
/// Largest block that one of our own nodes may ask for, in bytes.
pub const BLOCK_MAX: u32 = 131_072;
/// Requests that one channel may have waiting (BEP 10 `reqq`).
pub const REQUEST_QUEUE: usize = 512;
/// Bytes that may wait to be sent on one connection before we stop reading blocks for it.
pub const SEND_QUEUE: usize = 2_097_152;
/// Bytes of pieces that are being fetched and not yet on the disk, over all torrents; readers may make it twice as much.
pub const PIECES_MEMORY: usize = 16_777_216;
/// Plaintext bytes that may wait to be sealed before writers wait.
pub const DIRTY_MAX: usize = 8_388_608;
/// Small writes to large files that wait to be sealed together, in bytes, unless the node is given more.
pub const PATCHES_MEMORY: usize = 262_144;

/// Announces of stock clients that are remembered.
pub const ANNOUNCES: usize = 4_096;

/// Handshakes in flight on the listener.
pub const HANDSHAKES: usize = 32;
/// Bytes of a peer's certificate.
pub const CERTIFICATE_MAX: usize = 4_096;
/// Time that a handshake may take.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Characters of an invite's text.
pub const INVITE_TEXT_MAX: usize = 4_096;
/// Addresses that an invite's text names.
pub const INVITE_ADDRESSES: usize = 8;
/// Invites that are open at once.
pub const INVITES: usize = 16;
/// Wrong tries on one invite before it pauses for a minute.
pub const INVITE_TRIES: u32 = 5;
/// Wrong tries on all invites, and on none, that are told apart in a minute.
pub const INVITE_TRIES_ALL: u32 = 32;
/// Bytes of a joiner's message.
pub const JOIN_MAX: usize = 4_096;
/// Bytes of the answer to a joiner.
pub const WELCOME_MAX: usize = FRAME_MAX;
/// Epoch keys that a joiner is handed.
pub const EPOCHS: usize = 4_096;
/// People signed in to the page at once.
pub const SESSIONS: usize = 32;
/// Time without a request after which somebody has to sign in again (of uptime).
pub const SESSION_TIME: Duration = Duration::from_secs(604_800);
/// Time that a question to sign in waits for a press.
pub const SIGN_IN_TIME: Duration = Duration::from_secs(60);
/// Characters of the password for the LAN.
pub const PASSWORD_MIN: usize = 8;
/// The same, at most.
pub const PASSWORD_MAX: usize = 64;
/// Bytes of the passphrase that locks a box.
pub const PASSPHRASE_MIN: usize = 8;
/// The same, at most.
pub const PASSPHRASE_MAX: usize = 256;
/// Time for which a nonce of Digest is good.
pub const NONCE_TIME: Duration = Duration::from_secs(3_600);
/// Nonces of Digest that are in use at once.
pub const NONCES: usize = 256;
/// Bytes of a body of WebDAV that is no file.
pub const XML_MAX: usize = 65_536;
/// Elements below each other in one.
pub const XML_DEPTH: usize = 32;
/// Elements and attributes of one.
pub const XML_NODES: usize = 1_024;
/// Properties that one request of WebDAV may name.
pub const PROPERTIES: usize = 128;
/// Bytes of the properties that WebDAV's clients make up and keep here, over all files.
pub const PROPERTIES_MEMORY: usize = 262_144;
/// Locks of WebDAV at once.
pub const DAV_LOCKS: usize = 256;
/// Bytes of what a lock's owner says of itself.
pub const DAV_OWNER_MAX: usize = 1_024;
/// Time that a lock of WebDAV lasts without being refreshed.
pub const DAV_LOCK_TIME: Duration = Duration::from_secs(3_600);
/// Lists and conditions of one `If` header of WebDAV.
pub const DAV_CONDITIONS: usize = 64;
/// Bytes of a multicast DNS message (RFC 6762, section 17).
pub const DNS_MAX: usize = 9_000;
/// Questions and records of one.
pub const DNS_RECORDS: usize = 128;
/// Strings of a beacon on the LAN.
pub const BEACON_STRINGS: usize = 48;
/// Time that the window stays open which a press of the button opens.
pub const PAIR_WINDOW: Duration = Duration::from_secs(120);
/// Time between seeing another box in the window and dialling it, so that a third would be seen.
pub const PAIR_GATHER: Duration = Duration::from_secs(3);
/// Time after a window with several boxes in which a press opens no other.
pub const PAIR_COOL_DOWN: Duration = Duration::from_secs(10);
/// Time that two boxes may take from their connection to the code.
pub const PAIR_EXCHANGE_TIME: Duration = Duration::from_secs(10);
/// Time from the code to its confirmation on both boxes.
pub const PAIR_CODE_TIME: Duration = Duration::from_secs(120);
/// Time from the confirmation to the end of joining.
pub const PAIR_JOIN_TIME: Duration = Duration::from_secs(30);
/// Failures that let the other side guess once at a code; after so many pairing pauses.
pub const PAIR_FAILURES: u32 = 3;
/// Time that pairing then pauses.
pub const PAIR_PAUSE: Duration = Duration::from_secs(300);
/// Bytes of a message of pairing before the joiner's.
pub const PAIR_MESSAGE_MAX: usize = 1_024;
/// Time that a read of what is not here may wait without a byte coming.
pub const READ_TIME: Duration = Duration::from_secs(30);
/// Quiet time after which a file kept open is published.
pub const QUIET_TIME: Duration = Duration::from_secs(2);
/// The same of a larger file that is being written from its begin.
pub const REWRITE_TIME: Duration = Duration::from_secs(30);
/// Time without a byte after which a connection is closed.
pub const IDLE_TIME: Duration = Duration::from_secs(120);
