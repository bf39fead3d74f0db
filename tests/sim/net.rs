//! Links between machines: ordered streams with a rate and a delay, cut at random, and the trust that listeners enforce.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use core::net::SocketAddr;
use dustfs::base::limits::SEND_QUEUE;
use dustfs::base::{ConnId, Ticket, TransportKey};
use dustfs::node::io::{Connected, Input, Protocol, Trust};

use super::world::{Event, World};

/// A connection between two machines.
pub struct Link {
    pub ends: [End; 2],
}

/// One side of a connection.
pub struct End {
    pub machine: usize,
    pub conn: ConnId,
    pub protocol: Protocol,
    /// Whom this side sees.
    pub peer: TransportKey,
    /// It was told `Connected`, and not yet `Closed`.
    pub open: bool,
    /// It asked to close: nothing is read or sent any more.
    pub closing: bool,
    /// When the last byte given out has left.
    free_at: u64,
    /// When it arrives.
    arrives_at: u64,
    /// Bytes that were given out and have not left.
    backlog: usize,
}

/// Rate and delay between two machines.
#[derive(Clone, Copy)]
pub struct Wire {
    pub delay_us: u64,
    pub bytes_per_ms: u64,
}

/// Bytes after which the kernel tells that it took them.
const CREDIT: usize = 65_536;
/// Bytes that a node may have given out for one connection: blocks up to the queue's limit, pulls up to half of it, and
/// what is told without being asked.
const BACKLOG_MAX: usize = 3 * SEND_QUEUE;
/// Connections with one key, as `os::net` allows.
const PER_KEY: usize = 8;

/// What `os::net` asks of a peer's key.
pub fn allows(trust: &Trust, protocol: Protocol, peer: &TransportKey, dialled: bool) -> bool {
    match protocol {
        // Only who was admitted has a certificate of the root, and only such machines dial.
        Protocol::Dustfs(id) => trust
            .circles
            .iter()
            .filter(|circle| circle.circle == id)
            .any(|circle| circle.allowed.contains(peer) || (!dialled && !circle.removed.contains(peer))),
        Protocol::Invite => dialled || trust.invites,
        Protocol::Pair => dialled || trust.pairing,
        Protocol::Recover => dialled || trust.sheets.contains(peer),
        // No machine here is a stock client.
        Protocol::Torrent(..) => false,
    }
}

impl World {
    fn wire(&self, a: usize, b: usize) -> Wire {
        self.wires[&(a.min(b), a.max(b))]
    }

    /// True when packets pass between the two.
    pub fn reaches(&self, a: usize, b: usize) -> bool {
        self.groups[a] == self.groups[b] && self.machines[a].node.is_some() && self.machines[b].node.is_some()
    }

    /// A machine dials.
    pub fn dial(&mut self, from: usize, ticket: Ticket, to: SocketAddr, protocol: Protocol, expect: TransportKey) {
        let run = self.machines[from].run;
        let target = self.addresses.get(&to).copied();
        let reached = target.is_some_and(|target| self.reaches(from, target)) && !self.unlucky(10);
        let delay = match target {
            Some(target) if reached => 3 * self.wire(from, target).delay_us + self.rng.below(20_000),
            _ => self.rng.below(10_000_000),
        };
        self.push(delay, Event::Dialled { from, run, ticket, to, protocol, expect, reached });
    }

    /// A machine dials with the key of a recovery sheet, whoever is there.
    pub fn dial_sheet(&mut self, from: usize, ticket: Ticket, to: SocketAddr, key: TransportKey) {
        let (run, delay) = (self.machines[from].run, self.rng.below(200_000));
        self.push(delay, Event::DialledSheet { from, run, ticket, to, key });
    }

    /// Such a dial has come to its end.
    pub fn dialled_sheet(&mut self, from: usize, ticket: Ticket, to: SocketAddr, key: TransportKey) {
        let target = self.addresses.get(&to).copied().filter(|target| *target != from && self.reaches(from, *target));
        let why = match target {
            None => "it did not answer",
            Some(target) if allows(&self.machines[target].trust, Protocol::Recover, &key, false) => {
                return self.connect(from, key, ticket, target, to, Protocol::Recover);
            }
            Some(_) => "the certificate was refused",
        };
        self.deliver(from, Input::DialFailed { ticket, why: why.into() });
    }

    /// A dial has come to its end.
    pub fn dialled(&mut self, from: usize, ticket: Ticket, to: SocketAddr, protocol: Protocol, expect: TransportKey) {
        let target = self.addresses.get(&to).copied().filter(|target| self.reaches(from, *target));
        let refused = match target {
            None => Some("it did not answer"),
            Some(target) => self.refused(from, target, protocol, expect),
        };
        let me = self.machines[from].transport;
        match (refused, target) {
            (None, Some(target)) => self.connect(from, me, ticket, target, to, protocol),
            (why, _) => {
                let why = why.unwrap_or("nobody is there").to_string();
                self.deliver(from, Input::DialFailed { ticket, why });
            }
        }
    }

    fn refused(&self, from: usize, to: usize, protocol: Protocol, expect: TransportKey) -> Option<&'static str> {
        let (me, peer) = (&self.machines[from], &self.machines[to]);
        if expect != peer.transport {
            return Some("another device answered");
        }
        if from == to {
            return Some("it is this machine");
        }
        if !allows(&me.trust, protocol, &peer.transport, true) || !allows(&peer.trust, protocol, &me.transport, false) {
            return Some("the certificate was refused");
        }
        let full = |machine: usize, key: &TransportKey| {
            let ends = self.links.values().flat_map(|link| &link.ends);
            let same = ends.filter(|end| end.open && end.machine == machine && end.peer == *key);
            same.filter(|end| end.protocol == protocol).count() >= PER_KEY
        };
        (full(from, &peer.transport) || full(to, &me.transport)).then_some("there are too many connections")
    }

    /// `dialler` is the key that `from` shows.
    fn connect(
        &mut self,
        from: usize,
        dialler: TransportKey,
        ticket: Ticket,
        to: usize,
        address: SocketAddr,
        protocol: Protocol,
    ) {
        let mut exporter = [0; 32];
        self.rng.fill(&mut exporter);
        let now = self.now;
        let listener = self.machines[to].transport;
        let mut end = |machine: usize, peer: TransportKey| {
            let conn = self.machines[machine].next_conn();
            End { machine, conn, protocol, peer, open: true, closing: false, free_at: now, arrives_at: now, backlog: 0 }
        };
        let ends = [end(from, listener), end(to, dialler)];
        let conns = [ends[0].conn, ends[1].conn];
        let link = self.next_link;
        self.next_link += 1;
        for (side, end) in ends.iter().enumerate() {
            self.machines[end.machine].conns.insert(end.conn, (link, side));
        }
        self.links.insert(link, Link { ends });
        let guest = SocketAddr::new(self.machines[from].address.ip(), 50_000);
        let accepted =
            Connected { conn: conns[1], protocol, transport: dialler, exporter, dialed: None, remote: guest };
        self.deliver(to, Input::Connected(accepted));
        // The listener may have hung up or ended already; the dialler is told of its connection all the same.
        let dialed = Connected {
            conn: conns[0],
            protocol,
            transport: listener,
            exporter,
            dialed: Some(ticket),
            remote: address,
        };
        self.deliver(from, Input::Connected(dialed));
    }

    /// A machine sends a frame.
    pub fn send(&mut self, from: usize, conn: ConnId, channel: u32, payload: Bytes) {
        let Some((link, side)) = self.machines[from].conns.get(&conn).copied() else { return };
        let Some(held) = self.links.get_mut(&link) else { return };
        let to = held.ends[1 - side].machine;
        let wire = self.wires[&(from.min(to), from.max(to))];
        let end = &mut held.ends[side];
        if !end.open || end.closing {
            return;
        }
        end.backlog += payload.len();
        let (backlog, start) = (end.backlog, end.free_at.max(self.now));
        let mut sent = Vec::new();
        let (mut gone, mut left) = (0, payload.len());
        while left > 0 {
            let part = left.min(CREDIT);
            gone += part;
            left -= part;
            sent.push((start + (gone as u64 * 1_000) / wire.bytes_per_ms, part));
        }
        end.free_at = sent.last().map_or(start, |(at, _)| *at);
        end.arrives_at = end.arrives_at.max(end.free_at + wire.delay_us + self.rng.below(wire.delay_us / 4 + 1));
        let arrives = end.arrives_at;
        for (at, bytes) in sent {
            self.push_at(at, Event::Sent { link, side, bytes });
        }
        if backlog > BACKLOG_MAX {
            self.broken(&format!("{} has given out {backlog} bytes for one connection", self.machines[from].name));
        }
        self.push_at(arrives, Event::Arrive { link, side: 1 - side, channel, payload });
    }

    pub fn sent(&mut self, link: u64, side: usize, bytes: usize) {
        let Some(end) = self.links.get_mut(&link).map(|link| &mut link.ends[side]) else { return };
        end.backlog -= bytes;
        if end.open && !end.closing {
            let (machine, conn) = (end.machine, end.conn);
            self.deliver(machine, Input::Sent { conn, bytes });
        }
    }

    pub fn arrive(&mut self, link: u64, side: usize, channel: u32, payload: Bytes) {
        let Some(end) = self.links.get(&link).map(|link| &link.ends[side]) else { return };
        if end.open && !end.closing {
            let (machine, conn) = (end.machine, end.conn);
            self.deliver(machine, Input::Frame { conn, channel, payload });
        }
    }

    /// A machine closes: what it sent goes out first.
    pub fn close(&mut self, from: usize, conn: ConnId, why: &str) {
        let Some((link, side)) = self.machines[from].conns.get(&conn).copied() else { return };
        let Some(held) = self.links.get_mut(&link) else { return };
        let end = &mut held.ends[side];
        if !end.open || end.closing {
            return;
        }
        end.closing = true;
        let at = end.arrives_at.max(self.now) + 1;
        let back = self.wire(from, self.links[&link].ends[1 - side].machine).delay_us;
        self.push_at(at, Event::Gone { link, side: 1 - side, why: "the peer closed it".into() });
        self.push_at(at + back, Event::Gone { link, side, why: why.into() });
    }

    /// One side hears that the connection is gone.
    pub fn gone(&mut self, link: u64, side: usize, why: String) {
        let Some(held) = self.links.get_mut(&link) else { return };
        let end = &mut held.ends[side];
        if !std::mem::replace(&mut end.open, false) {
            return;
        }
        let (machine, conn) = (end.machine, end.conn);
        if !held.ends[0].open && !held.ends[1].open {
            self.links.remove(&link);
        }
        self.machines[machine].conns.remove(&conn);
        self.deliver(machine, Input::Closed { conn, why });
    }

    /// The connection breaks; each side hears of it in its own time, and what is in flight is lost.
    pub fn cut(&mut self, link: u64, at_most: Duration) {
        let Some(held) = self.links.get_mut(&link) else { return };
        for end in &mut held.ends {
            // What is on its way arrives nowhere.
            end.closing = true;
        }
        for side in 0..2 {
            let delay = self.rng.below(at_most.as_micros() as u64 + 1);
            self.push(delay, Event::Gone { link, side, why: "it broke".into() });
        }
    }

    /// A machine's trust is another now: connections with keys that it no longer holds end at once.
    pub fn trust(&mut self, machine: usize, trust: Trust) {
        self.machines[machine].trust = trust;
        let trust = &self.machines[machine].trust;
        let untrusted: Vec<u64> = self
            .links
            .iter()
            .filter(|(_, link)| {
                link.ends.iter().any(|end| {
                    end.machine == machine && !end.protocol.is_guest() && !allows(trust, end.protocol, &end.peer, false)
                })
            })
            .map(|(link, _)| *link)
            .collect();
        for link in untrusted {
            self.cut(link, Duration::from_millis(200));
        }
    }

    /// Draws the wires between all machines.
    pub fn draw_wires(&mut self, count: usize) {
        let mut wires = BTreeMap::new();
        for a in 0..count {
            for b in a + 1..count {
                let delay_us = [300, 5_000, 40_000, 200_000][self.rng.below(4) as usize];
                let bytes_per_ms = [150, 1_000, 10_000, 100_000][self.rng.below(4) as usize];
                wires.insert((a, b), Wire { delay_us, bytes_per_ms });
            }
        }
        self.wires = wires;
    }
}
