//! Peers that lie, flood and break the rules.

use proptest::prelude::*;

use super::*;
use crate::base::limits::{CHANNELS, REQUEST_QUEUE};
use crate::wire::peer::Request;

const LAYOUT: Layout = Layout { length: 10 * 65_536, piece_length: 65_536 };
const TORRENT: InfoHash = InfoHash([7; 20]);
const PEER: ConnId = ConnId(1);
const NOW: Instant = Instant(5_000_000);

/// A swarm that holds the torrent, and a peer that opened channel 1 for it.
fn server() -> Swarm {
    let mut swarm = Swarm::new(1);
    swarm.connected(NOW, PEER, false);
    swarm.opened(NOW, PEER, 1, TORRENT, Some((LAYOUT, Bitfield::full(10))));
    drain(&mut swarm);
    swarm
}

/// A swarm that asked the peer for the torrent on channel 1.
fn client() -> Swarm {
    let mut swarm = Swarm::new(1);
    swarm.connected(NOW, PEER, true);
    swarm.want(NOW, TORRENT, LAYOUT, Bitfield::new(10), vec![(PEER, Offer::Whole)]);
    drain(&mut swarm);
    swarm
}

fn drain(swarm: &mut Swarm) -> Vec<Event> {
    std::iter::from_fn(|| swarm.poll()).collect()
}

fn say(swarm: &mut Swarm, channel: u32, message: &PeerMessage) -> Vec<Event> {
    let payload = [&message.encode_head()[..], &message.body()[..]].concat();
    swarm.message(NOW, PEER, channel, payload.into());
    drain(swarm)
}

fn is_blamed(events: &[Event]) -> bool {
    matches!(events, [.., Event::Misbehaved { conn: PEER, .. }])
}

fn wanted(piece: u32, begin: u32, length: u32) -> Request {
    Request { piece, begin, length }
}

#[test]
fn rules_that_are_broken_end_the_connection() {
    for message in [
        PeerMessage::Request(wanted(10, 0, 16_384)),
        PeerMessage::Request(wanted(9, 65_530, 16)),
        PeerMessage::Request(wanted(u32::MAX, u32::MAX, 16)),
        PeerMessage::Have(10),
        PeerMessage::Bitfield(Bytes::from_static(&[1])),
        PeerMessage::Bitfield(Bytes::from_static(&[0, 1])),
        PeerMessage::Bitfield(Bytes::from_static(&[0, 0, 0])),
        PeerMessage::Extended { id: 0, payload: Bytes::from_static(b"d1:") },
        PeerMessage::Extended { id: 1, payload: Bytes::from_static(&[0, 0, 0, 10]) },
        PeerMessage::Extended { id: 1, payload: Bytes::new() },
    ] {
        for mut swarm in [server(), client()] {
            assert!(is_blamed(&say(&mut swarm, 1, &message)), "{message:?}");
            assert!(say(&mut swarm, 1, &message).is_empty(), "nothing more is taken from it");
            swarm.disconnected(NOW, PEER);
            assert!(drain(&mut swarm).is_empty());
        }
    }
}

#[test]
fn what_a_peer_has_is_told_once_and_first() {
    for second in [PeerMessage::HaveAll, PeerMessage::HaveNone, PeerMessage::Bitfield(Bytes::from_static(&[1, 0]))] {
        for first in [PeerMessage::HaveAll, PeerMessage::HaveNone, PeerMessage::Have(3)] {
            let mut swarm = server();
            assert!(!is_blamed(&say(&mut swarm, 1, &first)));
            assert!(is_blamed(&say(&mut swarm, 1, &second)), "{first:?} {second:?}");
        }
    }
}

#[test]
fn channels_that_were_open_are_ignored_and_others_are_not() {
    let mut swarm = client();
    assert!(is_blamed(&say(&mut client(), 2, &PeerMessage::HaveAll)), "the peer never opened it");
    assert!(is_blamed(&say(&mut client(), 3, &PeerMessage::HaveAll)), "we never opened it");
    assert!(is_blamed(&say(&mut client(), 0, &PeerMessage::HaveAll)), "it is for control messages");
    swarm.forget(NOW, TORRENT);
    assert_eq!(drain(&mut swarm), [Event::Shut { conn: PEER, channel: 1 }]);
    assert!(say(&mut swarm, 1, &PeerMessage::HaveAll).is_empty(), "it may have been on its way");
}

#[test]
fn channel_numbers_are_not_reused_nor_borrowed() {
    for channel in [0, 1, 2, 3] {
        let mut swarm = Swarm::new(1);
        swarm.connected(NOW, PEER, true);
        swarm.opened(NOW, PEER, 4, TORRENT, Some((LAYOUT, Bitfield::full(10))));
        swarm.shut(NOW, PEER, 4);
        drain(&mut swarm);
        swarm.opened(NOW, PEER, channel, TORRENT, Some((LAYOUT, Bitfield::full(10))));
        assert!(is_blamed(&drain(&mut swarm)), "{channel}");
    }
}

#[test]
fn channels_over_the_limit_are_refused() {
    let mut swarm = Swarm::new(1);
    swarm.connected(NOW, PEER, false);
    for number in 0..1_000u32 {
        let mut info_hash = [0; 20];
        info_hash[..4].copy_from_slice(&number.to_be_bytes());
        swarm.opened(NOW, PEER, 2 * number + 1, InfoHash(info_hash), Some((LAYOUT, Bitfield::full(10))));
    }
    let refused = drain(&mut swarm).iter().filter(|event| matches!(event, Event::Shut { .. })).count();
    assert_eq!(refused, 1_000 - CHANNELS / 2);
    assert_eq!(swarm.torrents.len(), CHANNELS / 2);
    swarm.disconnected(NOW, PEER);
    assert!(swarm.torrents.is_empty());
}

#[test]
fn what_we_do_not_hold_is_not_shared() {
    let mut swarm = Swarm::new(1);
    swarm.connected(NOW, PEER, false);
    swarm.opened(NOW, PEER, 1, TORRENT, None);
    assert_eq!(drain(&mut swarm), [Event::Shut { conn: PEER, channel: 1 }]);
}

#[test]
fn requests_over_the_queue_are_refused_and_a_flood_is_blamed() {
    let mut swarm = server();
    let mut reads = 0;
    let mut refused = 0;
    for number in 0..REQUEST_QUEUE as u32 + 100 {
        let events = say(&mut swarm, 1, &PeerMessage::Request(wanted(number % 10, 0, 16_384)));
        reads += events.iter().filter(|event| matches!(event, Event::Read { .. })).count();
        refused += events.iter().filter(|event| matches!(event, Event::Send { .. })).count();
    }
    assert_eq!(reads * 16_384, 262_144, "no more is read than can go out");
    assert_eq!(refused, 100 - reads);
    let blamed = (0..10_000).any(|_| is_blamed(&say(&mut swarm, 1, &PeerMessage::Request(wanted(0, 0, 16_384)))));
    assert!(blamed, "a peer that does not read while it asks fills no memory");
}

#[test]
fn requests_in_turn_from_all_channels() {
    let mut swarm = server();
    let other = InfoHash([8; 20]);
    swarm.opened(NOW, PEER, 3, other, Some((LAYOUT, Bitfield::full(10))));
    for number in 0..100 {
        say(&mut swarm, 1, &PeerMessage::Request(wanted(number % 10, 0, 16_384)));
    }
    say(&mut swarm, 3, &PeerMessage::Request(wanted(0, 0, 16_384)));
    for ticket in [1, 2] {
        swarm.read_done(NOW, Ticket(ticket), Some(Bytes::from(vec![0; 16_384])));
    }
    drain(&mut swarm);
    swarm.sent(NOW, PEER, 40_000);
    let reads: Vec<InfoHash> = drain(&mut swarm)
        .into_iter()
        .filter_map(|event| if let Event::Read { info_hash, .. } = event { Some(info_hash) } else { None })
        .collect();
    assert_eq!(reads, [TORRENT, other], "it does not wait behind all of the other's");
}

#[test]
fn cancelled_requests_are_refused_and_not_read() {
    let mut swarm = server();
    for piece in 0..10 {
        for begin in [0, 16_384, 32_768] {
            say(&mut swarm, 1, &PeerMessage::Request(wanted(piece, begin, 16_384)));
        }
    }
    let events = say(&mut swarm, 1, &PeerMessage::Cancel(wanted(9, 0, 16_384)));
    let [Event::Send { head, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(PeerMessage::decode(head), Ok(PeerMessage::Reject(wanted(9, 0, 16_384))));
    assert!(say(&mut swarm, 1, &PeerMessage::Cancel(wanted(9, 0, 16_384))).is_empty(), "it is gone");
    assert!(say(&mut swarm, 1, &PeerMessage::Cancel(wanted(77, 7, 7))).is_empty());
    swarm.sent(NOW, PEER, 1_000_000);
    for ticket in 1..=64 {
        swarm.read_done(NOW, Ticket(ticket), Some(Bytes::from(vec![0; 16_384])));
        swarm.sent(NOW, PEER, 1_000_000);
    }
    let reads = drain(&mut swarm)
        .into_iter()
        .filter(|event| matches!(event, Event::Read { piece: PieceIndex(9), begin: 0, .. }));
    assert_eq!(reads.count(), 0);
}

#[test]
fn a_block_that_cannot_be_read_is_refused() {
    for data in [None, Some(Bytes::from_static(b"short"))] {
        let mut swarm = server();
        say(&mut swarm, 1, &PeerMessage::Request(wanted(3, 0, 16_384)));
        swarm.read_done(NOW, Ticket(1), data);
        let events = drain(&mut swarm);
        let [Event::Send { head, .. }] = &events[..] else { panic!("{events:?}") };
        assert_eq!(PeerMessage::decode(head), Ok(PeerMessage::Reject(wanted(3, 0, 16_384))));
    }
}

#[test]
fn blocks_that_nobody_asked_for_are_counted() {
    let mut swarm = client();
    let stray = PeerMessage::Piece { piece: 0, begin: 5, block: Bytes::from(vec![0; 16_384]) };
    assert!(say(&mut swarm, 1, &stray).is_empty());
    assert_eq!(swarm.traffic(NOW, PEER).downloaded, 16_384);
    let count = (0..100).position(|_| is_blamed(&say(&mut swarm, 1, &stray)));
    assert_eq!(count, Some(63), "a mebibyte is the limit");
}

#[test]
fn refusals_pause_and_do_not_spin() {
    let mut swarm = client();
    let events = say(&mut swarm, 1, &PeerMessage::HaveAll);
    assert!(events.is_empty(), "it was asked before");
    let session = &swarm.conns[&PEER].sessions[&1];
    let asked: Vec<_> = session.asked.keys().copied().collect();
    assert_eq!(asked.len(), 16);
    for block in asked {
        let refusal = PeerMessage::Reject(wanted(block.piece.0, block.begin, block.length));
        assert!(say(&mut swarm, 1, &refusal).is_empty(), "nothing is asked for now");
    }
    let refusal = PeerMessage::Reject(wanted(0, 0, 16_384));
    assert!(say(&mut swarm, 1, &refusal).is_empty(), "one that was not asked for is ignored");
    let mut now = NOW;
    while drain(&mut swarm).is_empty() {
        now = swarm.timeout().expect("it tries again");
        swarm.handle_timeout(now);
    }
    assert!((Duration::from_secs(1)..Duration::from_secs(2)).contains(&now.since(NOW)));
}

#[test]
fn a_choked_peer_asks_for_nothing() {
    let mut swarm = client();
    say(&mut swarm, 1, &PeerMessage::Choke);
    let block = *swarm.conns[&PEER].sessions[&1].asked.keys().next().expect("asked");
    let data = Bytes::from(vec![0; block.length as usize]);
    let answer = PeerMessage::Piece { piece: block.piece.0, begin: block.begin, block: data };
    assert!(say(&mut swarm, 1, &answer).is_empty(), "what was on its way is taken");
    assert!(!say(&mut swarm, 1, &PeerMessage::Unchoke).is_empty());
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let numbers = prop::collection::vec(prop_oneof![0..12u32, Just(16_384), Just(65_536), any::<u32>()], 0..4);
    let typed = (0..22u8, numbers, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(id, numbers, rest)| {
        let mut bytes = vec![id];
        numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
        bytes.extend_from_slice(&rest[..if rest.len() > 20 { 0 } else { rest.len() }]);
        bytes
    });
    prop_oneof![4 => typed, 1 => prop::collection::vec(any::<u8>(), 0..60)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_message_breaks_it(messages in prop::collection::vec((1..4u32, any_message(), 0..5u8), 1..60)) {
        let mut both = client();
        both.opened(NOW, PEER, 2, InfoHash([8; 20]), Some((LAYOUT, Bitfield::full(10))));
        let mut now = NOW;
        for (channel, payload, step) in messages {
            both.message(now, PEER, channel, payload.into());
            now = now + Duration::from_millis(u64::from(step) * 300);
            both.handle_timeout(now);
            for event in drain(&mut both) {
                match event {
                    Event::Read { ticket, length, .. } if length % 2 == 0 => {
                        both.read_done(now, ticket, Some(Bytes::from(vec![0; length as usize])));
                    }
                    Event::Read { ticket, .. } => both.read_done(now, ticket, None),
                    Event::Store { info_hash, piece, .. } => both.stored(now, info_hash, piece, Stored::Bad),
                    Event::Send { conn, head, body, .. } => both.sent(now, conn, head.len() + body.len()),
                    _ => {}
                }
            }
        }
        both.disconnected(now, PEER);
        prop_assert!(both.torrents.keys().eq([&TORRENT]), "what is wanted stays");
        both.forget(now, TORRENT);
        prop_assert_eq!(both.budget.used(), 0);
        prop_assert!(both.reads.len() <= 64);
    }
}
