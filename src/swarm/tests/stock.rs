//! Stock clients: they are asked only when they unchoked, in blocks of BEP 3, and never on a channel of ours.

use std::collections::VecDeque;

use super::*;
use crate::base::limits::BLOCK;
use crate::wire::peer::Request;

const PIECES: u32 = 96;
const LAYOUT: Layout = Layout { length: PIECES as u64 * 262_144, piece_length: 262_144 };
const TORRENT: InfoHash = InfoHash([7; 20]);
const STOCK: ConnId = ConnId(1);
const OURS: ConnId = ConnId(2);
const NOW: Instant = Instant(5_000_000);

fn drain(swarm: &mut Swarm) -> Vec<Event> {
    std::iter::from_fn(|| swarm.poll()).collect()
}

fn say(swarm: &mut Swarm, at: Instant, conn: ConnId, message: &PeerMessage) -> Vec<Event> {
    let payload = [&message.encode_head()[..], &message.body()[..]].concat();
    swarm.message(at, conn, 1, payload.into());
    drain(swarm)
}

fn said(events: &[Event], to: ConnId) -> Vec<PeerMessage> {
    let sent = events.iter().filter_map(|event| match event {
        Event::Send { conn, head, body, .. } if *conn == to => {
            Some(PeerMessage::decode(&[&head[..], &body[..]].concat().into()).expect("a message of ours"))
        }
        _ => None,
    });
    sent.collect()
}

fn requests(events: &[Event], to: ConnId) -> Vec<Request> {
    let asked = |message| if let PeerMessage::Request(request) = message { Some(request) } else { None };
    said(events, to).into_iter().filter_map(asked).collect()
}

/// A swarm that lacks the torrent, to which a stock client is connected that has it.
fn fetching() -> Swarm {
    let mut swarm = Swarm::new(1);
    swarm.connected_stock(NOW, STOCK);
    swarm.opened(NOW, STOCK, 1, TORRENT, Some((LAYOUT, Bitfield::new(PIECES))));
    swarm.want(NOW, TORRENT, LAYOUT, Bitfield::new(PIECES), vec![(STOCK, Offer::Partial)]);
    swarm
}

#[test]
fn nothing_is_asked_before_it_unchokes() {
    let mut swarm = fetching();
    let events = drain(&mut swarm);
    assert!(!events.iter().any(|event| matches!(event, Event::Open { .. })), "{events:?}");
    assert!(said(&events, STOCK).contains(&PeerMessage::HaveNone));
    let events = say(&mut swarm, NOW, STOCK, &PeerMessage::HaveAll);
    assert_eq!(said(&events, STOCK), [PeerMessage::Interested]);
    let asked = requests(&say(&mut swarm, NOW, STOCK, &PeerMessage::Unchoke), STOCK);
    assert!(!asked.is_empty() && asked.iter().all(|request| request.length == BLOCK), "{asked:?}");
}

/// Answers requests as they come, a block each millisecond, until there are none or `enough`. The time then, what is
/// open, and the pieces that came.
fn play(
    swarm: &mut Swarm,
    mut at: Instant,
    from: ConnId,
    open: Vec<Request>,
    enough: impl Fn(&[Request]) -> bool,
) -> (Instant, Vec<PieceIndex>) {
    let mut open = VecDeque::from(open);
    let mut stored = Vec::new();
    while !enough(open.make_contiguous())
        && let Some(request) = open.pop_front()
    {
        at = at + Duration::from_millis(1);
        let block = Bytes::from(vec![1; request.length as usize]);
        let events = say(swarm, at, from, &PeerMessage::Piece { piece: request.piece, begin: request.begin, block });
        open.extend(requests(&events, from));
        for event in events {
            if let Event::Store { info_hash, piece, .. } = event {
                stored.push(piece);
                swarm.stored(at, info_hash, piece, Stored::Good);
                open.extend(requests(&drain(swarm), from));
            }
        }
    }
    (at, stored)
}

fn is_longer(request: &Request) -> bool {
    request.length > BLOCK
}

#[test]
fn a_fast_one_is_asked_for_no_longer_blocks() {
    let mut swarm = fetching();
    drain(&mut swarm);
    say(&mut swarm, NOW, STOCK, &PeerMessage::HaveAll);
    let open = requests(&say(&mut swarm, NOW, STOCK, &PeerMessage::Unchoke), STOCK);
    let (_, stored) = play(&mut swarm, NOW, STOCK, open, |open| open.iter().any(is_longer));
    assert_eq!(stored.len() as u32, LAYOUT.piece_count());
}

/// One of our own nodes left, and what it began stood there in blocks that a stock client refuses for ever.
#[test]
fn a_piece_begun_in_longer_blocks_is_begun_anew() {
    let mut swarm = Swarm::new(1);
    swarm.connected(NOW, OURS, true);
    swarm.want(NOW, TORRENT, LAYOUT, Bitfield::new(PIECES), vec![(OURS, Offer::Whole)]);
    let open = requests(&drain(&mut swarm), OURS);
    let (at, before) = play(&mut swarm, NOW, OURS, open, |open| open.iter().filter(|r| is_longer(r)).count() > 4);
    assert!((before.len() as u32) < PIECES, "one of our own nodes is asked for longer ones");
    swarm.disconnected(at, OURS);
    swarm.connected_stock(at, STOCK);
    swarm.opened(at, STOCK, 1, TORRENT, Some((LAYOUT, Bitfield::new(PIECES))));
    drain(&mut swarm);
    say(&mut swarm, at, STOCK, &PeerMessage::HaveAll);
    let open = requests(&say(&mut swarm, at, STOCK, &PeerMessage::Unchoke), STOCK);
    let (at, after) = play(&mut swarm, at, STOCK, open, |open| open.iter().any(is_longer));
    assert_eq!((before.len() + after.len()) as u32, PIECES);
    assert!(swarm.progress(at).is_empty(), "it is whole");
}
