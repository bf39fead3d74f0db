//! Seeded worlds: links break and heal, readers come, pieces get lost, nodes change their minds; in the end all that
//! somebody holds is everywhere it is wanted.

use super::*;
use crate::swarm::picker::Budget;

struct Chaos {
    world: World,
    rng: Rng,
    torrents: Vec<InfoHash>,
    /// Which torrents each node wants.
    wanted: BTreeSet<(usize, InfoHash)>,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let uplinks: Vec<u64> = (0..5).map(|_| [0, 60_000, 500_000, 3_000_000][rng.below(4) as usize]).collect();
        let mut world = World::new(seed, &uplinks);
        let mut torrents = Vec::new();
        let liar = rng.chance(1, 3);
        world.nodes[4].lies = liar;
        if rng.chance(1, 2) {
            // Little memory: one piece, or a few.
            world.nodes.iter_mut().for_each(|node| node.swarm.budget = Budget::new(300_000));
        }
        for number in 0..6 {
            let length = [9_000, 100_000, 700_000, 3_000_000][rng.below(4) as usize] + rng.below(1_000);
            let piece_length = [65_536, 262_144][rng.below(2) as usize];
            let holder = rng.below(if liar { 4 } else { 5 }) as usize;
            torrents.push(world.torrent(number, length, piece_length, &[holder]));
        }
        Self { world, rng, torrents, wanted: BTreeSet::new() }
    }

    fn node(&mut self) -> usize {
        self.rng.below(5) as usize
    }

    /// Links two nodes, if they are not, and has both tell what they hold.
    fn link(&mut self, a: usize, b: usize) {
        let is_linked = self.world.links.values().any(|link| [(a, b), (b, a)].contains(&link.ends));
        if a == b || is_linked {
            return;
        }
        let delay = [MS / 10, 5 * MS, 80 * MS][self.rng.below(3) as usize];
        let conn = self.world.link(a, b, delay);
        for torrent in self.torrents.clone() {
            for (from, to) in [(a, b), (b, a)] {
                let offer = self.world.offer_of(from, torrent);
                let now = self.world.now;
                self.world.nodes[to].swarm.offer(now, conn, torrent, offer);
                self.world.drain(to);
            }
        }
    }

    fn step(&mut self) {
        let (a, b) = (self.node(), self.node());
        let torrent = self.torrents[self.rng.below(6) as usize];
        let now = self.world.now;
        match self.rng.below(13) {
            0..4 => self.link(a, b),
            4 => {
                if let Some(conn) = self.world.links.keys().nth(self.rng.below(4) as usize).copied() {
                    self.world.unlink(conn);
                }
            }
            5..9 => {
                if self.wanted.insert((a, torrent)) {
                    self.world.want(a, torrent);
                }
            }
            9 => {
                let piece = PieceIndex(self.rng.below(12) as u32);
                self.world.nodes[a].swarm.urgent(now, torrent, &[piece], now);
                self.world.drain(a);
            }
            10 => {
                let stalls = self.world.nodes[a].disk > 10 * MS;
                self.world.nodes[a].disk = if stalls { MS } else { Duration::from_secs(45) };
            }
            11 if self.wanted.remove(&(a, torrent)) => {
                self.world.nodes[a].swarm.forget(now, torrent);
                self.world.nodes[a].complete.remove(&torrent);
                self.world.drain(a);
            }
            _ => {
                // Only what another node holds too may be lost.
                let piece = PieceIndex(0);
                let held = |node: &&Node| node.store.get(&torrent).is_some_and(|have| have.has(piece));
                let is_fetched =
                    self.wanted.contains(&(a, torrent)) && !self.world.nodes[a].complete.contains(&torrent);
                if is_fetched && self.world.nodes.iter().filter(held).count() > 1 {
                    if let Some(have) = self.world.nodes[a].store.get_mut(&torrent) {
                        have.clear(piece);
                    }
                    self.world.nodes[a].swarm.lost(now, torrent, piece);
                    self.world.drain(a);
                }
            }
        }
        let time = Duration::from_millis(self.rng.below(700));
        self.world.pass(time);
    }
}

#[test]
fn all_that_is_wanted_arrives() {
    for seed in 0..60 {
        let mut chaos = Chaos::new(seed);
        for _ in 0..60 {
            chaos.step();
        }
        for a in 0..5 {
            chaos.world.nodes[a].disk = MS;
            for b in 0..a {
                chaos.link(a, b);
            }
        }
        if chaos.world.nodes[4].lies {
            // Nobody talks to it any more.
            for torrent in chaos.torrents.clone() {
                let now = chaos.world.now;
                chaos.world.nodes[4].swarm.forget(now, torrent);
                chaos.world.drain(4);
                chaos.wanted.remove(&(4, torrent));
            }
        }
        let wanted = chaos.wanted.clone();
        let is_done = |world: &World| wanted.iter().all(|(node, torrent)| world.nodes[*node].store[torrent].is_full());
        let start = chaos.world.now;
        while !is_done(&chaos.world) {
            let late = chaos.world.now.since(start) > Duration::from_secs(900);
            if late || !chaos.world.step() {
                for (node, torrent) in &wanted {
                    let have = &chaos.world.nodes[*node].store[torrent];
                    if !have.is_full() {
                        eprintln!("node {node} has {} of {} pieces of {torrent}", have.count(), have.len());
                    }
                }
                panic!("seed {seed}: it does not end, now {:?}", chaos.world.now);
            }
        }
        chaos.world.pass(Duration::from_secs(60));
        chaos.world.check_rest();
        for node in &chaos.world.nodes {
            for (conn, why) in &node.misbehaved {
                let Link { ends, .. } = chaos.world.links_ever[conn];
                assert!(chaos.world.nodes[4].lies && [ends.0, ends.1].contains(&4), "seed {seed}: {why}");
            }
            for conn in node.swarm.conns.values() {
                assert_eq!(conn.sessions.len(), 0, "seed {seed}: nobody needs a channel");
            }
        }
    }
}
