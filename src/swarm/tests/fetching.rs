//! Swarms that fetch from each other.

use super::*;

#[test]
fn one_pair_completes_and_shuts_its_channel() {
    let mut world = World::new(1, &[10_000_000, 10_000_000]);
    let conn = world.link(1, 0, 10 * MS);
    let torrent = world.torrent(7, 3 * MIB + 12_345, 65_536, &[0]);
    world.want(1, torrent);
    let took = world.run(10, |world| world.nodes[1].complete.contains(&torrent));
    assert!(took < 0.45, "{took}");
    world.check_rest();
    assert_eq!(world.downloaded(1, conn), 3 * MIB + 12_345, "nothing came twice");
    for node in &world.nodes {
        assert!(node.swarm.torrents.is_empty(), "nobody needs the channel");
        assert_eq!(node.swarm.timeout(), None, "nothing is left to do");
    }
}

#[test]
fn a_small_torrent_takes_two_round_trips_at_most() {
    let mut world = World::new(1, &[0, 0]);
    world.link(1, 0, 50 * MS);
    let torrent = world.torrent(7, 20_000, 65_536, &[0]);
    world.want(1, torrent);
    let took = world.run(10, |world| world.nodes[1].complete.contains(&torrent));
    assert!(took < 0.105, "asked at once, as the peer is known to have it: {took}");
}

#[test]
fn three_sources_with_equal_uplinks_give_their_sum() {
    let mut world = World::new(3, &[1_000_000, 1_000_000, 1_000_000, 1_000_000]);
    let conns: Vec<ConnId> = (0..3).map(|source| world.link(3, source, 20 * MS)).collect();
    let length = 32 * MIB;
    let torrent = world.torrent(7, length, 262_144, &[0, 1, 2]);
    world.want(3, torrent);
    let took = world.run(60, |world| world.nodes[3].complete.contains(&torrent));
    let rate = length as f64 / took;
    assert!(rate >= 0.95 * 3_000_000.0, "{rate}");
    for conn in conns {
        let share = world.downloaded(3, conn) as f64 / length as f64;
        assert!(share >= 0.25, "{share}");
    }
    world.check_rest();
}

#[test]
fn sources_give_in_proportion_to_their_uplinks() {
    let mut world = World::new(3, &[4_000_000, 1_000_000, 250_000, 1_000_000]);
    let conns: Vec<ConnId> = (0..3).map(|source| world.link(3, source, 20 * MS)).collect();
    let length = 48 * MIB;
    let torrent = world.torrent(7, length, 1 << 20, &[0, 1, 2]);
    world.want(3, torrent);
    let took = world.run(60, |world| world.nodes[3].complete.contains(&torrent));
    let rate = length as f64 / took;
    assert!(rate >= 0.95 * 5_250_000.0, "{rate}");
    let came: Vec<u64> = conns.iter().map(|conn| world.downloaded(3, *conn)).collect();
    assert!(came[0] > 3 * came[1] && came[1] > 3 * came[2], "{came:?}");
    assert!(came.iter().sum::<u64>() < length + length / 50, "little came twice: {came:?}");
    world.check_rest();
}

#[test]
fn without_limits_each_source_gives_a_fair_share() {
    for seed in 0..5 {
        let mut world = World::new(seed, &[0, 0, 0, 0]);
        let conns: Vec<ConnId> = (0..3).map(|source| world.link(3, source, MS / 10)).collect();
        let length = 64 * MIB;
        let torrent = world.torrent(7, length, 1 << 20, &[0, 1, 2]);
        world.want(3, torrent);
        world.run(60, |world| world.nodes[3].complete.contains(&torrent));
        let came: Vec<u64> = conns.iter().map(|conn| world.downloaded(3, *conn)).collect();
        for came in &came {
            assert!(*came as f64 / length as f64 > 0.2, "{came:?}");
        }
        assert!(came.iter().sum::<u64>() <= length + MIB, "{came:?}");
        world.check_rest();
    }
}

#[test]
fn two_that_fetch_from_one_help_each_other() {
    let mut world = World::new(5, &[1_000_000, 1_000_000, 1_000_000]);
    for (dialer, other) in [(1, 0), (2, 0), (1, 2)] {
        world.link(dialer, other, 20 * MS);
    }
    let torrent = world.torrent(7, 16 * MIB, 65_536, &[0]);
    world.want(1, torrent);
    world.want(2, torrent);
    // Each learns from the other's holdings that it has some of it.
    for node in [1, 2] {
        let now = world.now;
        world.nodes[node].swarm.offer(now, ConnId(3), torrent, Offer::Partial);
        world.drain(node);
    }
    let took = world.run(60, |world| (1..3).all(|node| world.nodes[node].complete.contains(&torrent)));
    assert!(took < 24.0, "one uplink alone would take 34 seconds: {took}");
    world.check_rest();
}

#[test]
fn a_reader_s_piece_comes_first() {
    let mut world = World::new(2, &[1_000_000, 1_000_000]);
    world.link(1, 0, 10 * MS);
    let torrent = world.torrent(7, 16 * MIB, 65_536, &[0]);
    world.want(1, torrent);
    world.pass(Duration::from_secs(3));
    let before = world.nodes[1].stored.len();
    let wanted = world.contents[&torrent].0.pieces().find(|piece| !world.nodes[1].store[&torrent].has(*piece));
    let wanted = wanted.expect("it is not complete");
    let now = world.now;
    world.nodes[1].swarm.urgent(now, torrent, &[wanted], now);
    world.drain(1);
    let took = world.run(10, |world| world.nodes[1].store[&torrent].has(wanted));
    assert!(took < 1.3, "what is in flight comes before it, no more: {took}");
    assert!(world.nodes[1].stored.len() - before < 30);

    let other = world.torrent(8, 65_536, 65_536, &[0]);
    world.want(1, other);
    let now = world.now;
    world.nodes[1].swarm.urgent(now, other, &[PieceIndex(0)], now);
    world.drain(1);
    let took = world.run(10, |world| world.nodes[1].complete.contains(&other));
    assert!(took < 0.75, "another channel has its turn soon: {took}");
}

#[test]
fn a_reader_s_late_block_is_asked_of_a_second_peer() {
    let mut world = World::new(2, &[1_000_000, 1_000_000, 1_000_000]);
    let first = world.link(2, 0, 10 * MS);
    let torrent = world.torrent(7, 65_536, 65_536, &[0, 1]);
    world.nodes[0].mute = true;
    world.want(2, torrent);
    world.pass(100 * MS);
    let second = world.link(2, 1, 10 * MS);
    let now = world.now;
    world.nodes[2].swarm.offer(now, second, torrent, Offer::Whole);
    world.nodes[2].swarm.urgent(now, torrent, &[PieceIndex(0)], now);
    world.drain(2);
    let took = world.run(10, |world| world.nodes[2].complete.contains(&torrent));
    assert!(took < 2.5, "{took}");
    assert_eq!(world.downloaded(2, first), 0);
}

#[test]
fn without_a_reader_a_silent_peer_costs_seconds_not_the_torrent() {
    let mut world = World::new(2, &[1_000_000, 1_000_000, 1_000_000]);
    world.link(2, 0, 10 * MS);
    world.link(2, 1, 10 * MS);
    let torrent = world.torrent(7, 8 * MIB, 65_536, &[0, 1]);
    world.nodes[0].mute = true;
    world.want(2, torrent);
    let took = world.run(60, |world| world.nodes[2].complete.contains(&torrent));
    assert!(took < 13.0, "8.4 seconds are the other's: {took}");
}

#[test]
fn a_silent_peer_alone_is_snubbed_and_taken_back() {
    let mut world = World::new(2, &[1_000_000, 1_000_000]);
    let conn = world.link(1, 0, 10 * MS);
    let torrent = world.torrent(7, 8 * MIB, 65_536, &[0]);
    world.nodes[0].mute = true;
    world.want(1, torrent);
    world.pass(Duration::from_secs(40));
    assert!(world.nodes[1].swarm.conns[&conn].window.is_snubbed());
    world.unlink(conn);
    world.nodes[0].mute = false;
    let conn = world.link(1, 0, 10 * MS);
    let now = world.now;
    world.nodes[1].swarm.offer(now, conn, torrent, Offer::Whole);
    world.drain(1);
    world.run(20, |world| world.nodes[1].complete.contains(&torrent));
}

#[test]
fn a_peer_that_vanishes_in_the_middle_of_a_piece_costs_what_was_on_its_way() {
    let mut world = World::new(2, &[1_000_000, 1_000_000, 1_000_000]);
    let first = world.link(2, 0, 10 * MS);
    let second = world.link(2, 1, 10 * MS);
    let length = 8 * MIB;
    let torrent = world.torrent(7, length, 1 << 20, &[0, 1]);
    world.want(2, torrent);
    world.pass(Duration::from_millis(1_500));
    let came = world.downloaded(2, first);
    assert!(came > MIB / 2);
    world.unlink(first);
    world.run(20, |world| world.nodes[2].complete.contains(&torrent));
    assert_eq!(world.downloaded(2, second) + came, length, "no block that came was lost or came twice");
    world.check_rest();
}

#[test]
fn the_last_blocks_are_asked_of_a_second_peer_and_taken_back() {
    let mut world = World::new(2, &[20_000, 2_000_000, 1_000_000]);
    world.link(2, 0, 10 * MS);
    world.link(2, 1, 10 * MS);
    let length = 4 * MIB;
    let torrent = world.torrent(7, length, 65_536, &[0, 1]);
    world.want(2, torrent);
    let took = world.run(60, |world| world.nodes[2].complete.contains(&torrent));
    assert!(took < 4.0, "the slow one has a window of 64 KiB, 3 seconds: {took}");
    assert!(world.nodes[2].sent["cancel"] > 0);
}

#[test]
fn who_alone_gave_a_bad_piece_is_blamed() {
    let mut world = World::new(2, &[1_000_000, 1_000_000, 1_000_000]);
    let bad = world.link(2, 0, 10 * MS);
    world.link(2, 1, 10 * MS);
    let torrent = world.torrent(7, 8 * MIB, 65_536, &[0, 1]);
    world.nodes[0].lies = true;
    world.want(2, torrent);
    world.run(60, |world| world.nodes[2].complete.contains(&torrent));
    let [(conn, why)] = &world.nodes[2].misbehaved[..] else { panic!("one is blamed") };
    assert_eq!(*conn, bad);
    assert!(why.contains("hashes wrong"), "{why}");
    world.check_rest();
}

#[test]
fn a_bad_piece_of_two_sources_comes_from_one_next() {
    let mut world = World::new(2, &[200_000, 200_000, 1_000_000]);
    let bad = world.link(2, 0, 10 * MS);
    world.link(2, 1, 10 * MS);
    let torrent = world.torrent(7, 1 << 20, 1 << 20, &[0, 1]);
    world.nodes[0].lies = true;
    world.want(2, torrent);
    world.run(60, |world| world.nodes[2].complete.contains(&torrent));
    assert!(world.nodes[2].misbehaved.iter().all(|(conn, _)| *conn == bad));
    let stores = world.trace.iter().filter(|(_, node, event)| *node == 2 && event.starts_with("store")).count();
    assert!((2..=3).contains(&stores), "{stores}");
    world.check_rest();
}

#[test]
fn a_thousand_small_torrents_share_one_connection() {
    let mut world = World::new(2, &[0, 0]);
    let conn = world.link(1, 0, MS);
    let mut all = Vec::new();
    for number in 0..1_000u32 {
        let mut info_hash = [7; 20];
        info_hash[..4].copy_from_slice(&number.to_be_bytes());
        all.push(world.torrent_as(InfoHash(info_hash), 8_192 + u64::from(number), 65_536, &[0]));
    }
    for torrent in &all {
        world.want(1, *torrent);
    }
    let took = world.run(10, |world| world.nodes[1].complete.len() == all.len());
    assert!(took < 0.2, "64 at a time, two milliseconds each: {took}");
    assert!(world.nodes[1].channels_most <= 64);
    assert_eq!(world.nodes[1].stored[0].0, all[0], "what was wanted first comes first");
    world.check_rest();
    assert!(world.nodes[0].swarm.conns[&conn].sessions.is_empty());
}

#[test]
fn small_torrents_spread_over_their_holders() {
    let mut world = World::new(2, &[1_000_000, 1_000_000, 1_000_000, 1_000_000]);
    let conns: Vec<ConnId> = (0..3).map(|source| world.link(3, source, 5 * MS)).collect();
    let all: Vec<InfoHash> = (0..200).map(|number| world.torrent(number, 30_000, 65_536, &[0, 1, 2])).collect();
    for torrent in &all {
        world.want(3, *torrent);
    }
    let took = world.run(60, |world| world.nodes[3].complete.len() == all.len());
    assert!(took < 200.0 * 30_000.0 / 3_000_000.0 / 0.9, "{took}");
    for conn in conns {
        assert!(world.downloaded(3, conn) > 200 * 30_000 / 5);
    }
    world.check_rest();
}

#[test]
fn both_sides_open_at_once_and_keep_one_channel() {
    let mut world = World::new(2, &[1_000_000, 1_000_000]);
    let conn = world.link(1, 0, 10 * MS);
    let torrent = world.torrent(7, 16 * 65_536, 65_536, &[]);
    world.holds(0, torrent, "########........");
    world.holds(1, torrent, "........########");
    world.want(0, torrent);
    world.want(1, torrent);
    world.pass(50 * MS);
    for node in &world.nodes {
        assert_eq!(node.swarm.conns[&conn].sessions.keys().collect::<Vec<_>>(), [&1]);
    }
    world.run(10, |world| world.nodes.iter().all(|node| node.complete.contains(&torrent)));
    world.check_rest();
    assert!(world.nodes.iter().all(|node| node.swarm.torrents.is_empty()));
}

#[test]
fn pieces_of_partial_holders_add_up() {
    let mut world = World::new(2, &[500_000; 4]);
    for source in 0..3 {
        world.link(3, source, 10 * MS);
    }
    let torrent = world.torrent(7, 12 * 65_536, 65_536, &[]);
    world.holds(0, torrent, "####........");
    world.holds(1, torrent, "..######....");
    world.holds(2, torrent, "#.......####");
    world.want(3, torrent);
    world.run(30, |world| world.nodes[3].complete.contains(&torrent));
    world.check_rest();
}

#[test]
fn a_lost_piece_is_told_and_refused() {
    let mut world = World::new(2, &[200_000, 200_000, 200_000]);
    let first = world.link(2, 0, 10 * MS);
    let torrent = world.torrent(7, 32 * 65_536, 65_536, &[0, 1]);
    world.want(2, torrent);
    world.pass(100 * MS);
    let asked = &world.nodes[2].swarm.conns[&first].sessions[&1].asked;
    let is_asked = |piece: &PieceIndex| asked.keys().any(|block| block.piece == *piece);
    let missing = world.contents[&torrent].0.pieces().find(|piece| !is_asked(piece)).expect("not all are asked for");
    let now = world.now;
    world.nodes[0].store.get_mut(&torrent).expect("held").clear(missing);
    world.nodes[0].swarm.lost(now, torrent, missing);
    world.drain(0);
    world.pass(Duration::from_secs(20));
    assert_eq!(world.nodes[0].sent["extension"], 1);
    assert_eq!(world.nodes[2].store[&torrent].count(), 31);
    assert!(!world.nodes[2].swarm.is_reachable(torrent, missing));
    assert!(world.nodes[2].misbehaved.is_empty());
    let second = world.link(2, 1, 10 * MS);
    let now = world.now;
    world.nodes[2].swarm.offer(now, second, torrent, Offer::Whole);
    world.drain(2);
    assert!(world.nodes[2].swarm.is_reachable(torrent, missing));
    world.run(10, |world| world.nodes[2].complete.contains(&torrent));
    assert_eq!(world.downloaded(2, first) + world.downloaded(2, second), 32 * 65_536);
    world.check_rest();
}

#[test]
fn what_is_evicted_is_told_piece_by_piece_and_what_waits_is_refused() {
    let mut world = World::new(2, &[200_000, 200_000, 200_000]);
    let first = world.link(2, 0, 10 * MS);
    let torrent = world.torrent(7, 32 * 65_536, 65_536, &[0, 1]);
    world.want(2, torrent);
    world.pass(3_000 * MS);
    assert!(world.nodes[0].swarm.serves(torrent));
    let came = world.downloaded(2, first);
    let now = world.now;
    world.nodes[0].store.insert(torrent, Bitfield::new(32));
    world.nodes[0].swarm.evict(now, torrent);
    world.drain(0);
    world.tell_holdings(0, torrent);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.nodes[0].sent["extension"], 32);
    assert!(world.nodes[0].sent["reject"] > 0, "{:?}", world.nodes[0].sent);
    assert!(world.downloaded(2, first) < came + MIB, "what was on its way has come, and no more");
    assert!(!world.nodes[2].swarm.is_reachable(torrent, PieceIndex(31)));
    assert!(!world.nodes[0].swarm.serves(torrent), "nobody wants anything of it");
    assert!(world.nodes[0].misbehaved.is_empty() && world.nodes[2].misbehaved.is_empty());
    // The other brings the rest, and from there it can come back.
    world.link(2, 1, 10 * MS);
    world.link(0, 1, 10 * MS);
    world.tell_holdings(1, torrent);
    world.run(60, |world| world.nodes[2].complete.contains(&torrent));
    world.want(0, torrent);
    world.run(60, |world| world.nodes[0].complete.contains(&torrent));
    world.check_rest();
}

/// A liar withheld a block and was well again: whoever had nobody else to ask waited for it for ever.
#[test]
fn what_the_only_source_lost_is_asked_of_it_anew() {
    let mut world = World::new(2, &[200_000, 200_000]);
    world.link(1, 0, 10 * MS);
    let torrent = world.torrent(7, 2 * 65_536, 65_536, &[0]);
    world.nodes[0].mute = true;
    world.want(1, torrent);
    world.pass(Duration::from_secs(5));
    world.nodes[0].mute = false;
    let took = world.run(200, |world| world.nodes[1].complete.contains(&torrent));
    assert!((50.0..70.0).contains(&took), "{took}");
    assert!(world.nodes[0].misbehaved.is_empty() && world.nodes[1].misbehaved.is_empty());
}

#[test]
fn a_slow_disk_holds_requests_back() {
    let mut world = World::new(2, &[0, 0]);
    world.link(1, 0, MS);
    let torrent = world.torrent(7, 64 * MIB, 1 << 20, &[0]);
    world.nodes[1].disk = Duration::from_secs(2);
    world.want(1, torrent);
    let mut most = 0;
    world.run(60, |world| {
        most = most.max(world.nodes[1].swarm.budget.used());
        world.nodes[1].complete.contains(&torrent)
    });
    assert!(most <= crate::base::limits::PIECES_MEMORY as u64, "{most}");
    world.check_rest();
}

#[test]
fn a_failed_disk_stops_the_torrent_until_it_is_wanted_again() {
    let mut world = World::new(2, &[0, 0]);
    world.link(1, 0, MS);
    let torrent = world.torrent(7, 4 * MIB, 1 << 20, &[0]);
    world.want(1, torrent);
    let now = world.now;
    while world.nodes[1].stored.is_empty() {
        assert!(world.step());
    }
    let next = world.contents[&torrent].0.pieces().find(|piece| !world.nodes[1].store[&torrent].has(*piece));
    world.nodes[1].swarm.stored(now, torrent, next.expect("one of four is stored"), Stored::Failed);
    world.drain(1);
    world.pass(Duration::from_secs(5));
    assert!(world.nodes[1].complete.is_empty());
    assert!(world.nodes[1].swarm.progress(world.now).is_empty());
    world.want(1, torrent);
    world.run(10, |world| world.nodes[1].complete.contains(&torrent));
    world.check_rest();
}

#[test]
fn what_is_forgotten_is_shut_on_both_sides() {
    let mut world = World::new(2, &[100_000, 100_000]);
    let conn = world.link(1, 0, 10 * MS);
    let torrent = world.torrent(7, MIB, 65_536, &[0]);
    world.want(1, torrent);
    world.pass(Duration::from_secs(2));
    let now = world.now;
    world.nodes[1].swarm.forget(now, torrent);
    world.drain(1);
    world.pass(Duration::from_secs(5));
    for node in &world.nodes {
        assert!(node.swarm.conns[&conn].sessions.is_empty() && node.swarm.torrents.is_empty());
    }
    world.check_rest();

    world.want(1, torrent);
    world.pass(Duration::from_secs(2));
    let now = world.now;
    world.nodes[0].store.remove(&torrent);
    world.nodes[0].swarm.forget(now, torrent);
    world.drain(0);
    world.pass(Duration::from_secs(5));
    assert!(world.nodes[1].swarm.conns[&conn].sessions.is_empty(), "the holder evicted it");
    assert_eq!(world.nodes[1].swarm.progress(world.now).len(), 1, "it is wanted still");
}

#[test]
fn equal_seeds_play_alike() {
    let play = |seed| {
        let mut world = World::new(seed, &[900_000, 700_000, 1_000_000]);
        world.link(2, 0, 10 * MS);
        world.link(2, 1, 30 * MS);
        let torrent = world.torrent(7, 4 * MIB, 65_536, &[0, 1]);
        world.want(2, torrent);
        world.run(60, |world| world.nodes[2].complete.contains(&torrent));
        world.trace
    };
    assert_eq!(play(4), play(4));
    assert_ne!(play(4), play(5));
}
