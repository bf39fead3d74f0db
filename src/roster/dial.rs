//! Whom to dial when: one dial at a time for each wanted device, its addresses in turn, and longer waits the longer it
//! does not answer. It opens no connection itself.

use std::collections::BTreeMap;
use std::time::Duration;

use core::net::SocketAddr;

use crate::base::limits::{ADDRESSES, CIRCLES, DIALS, MEMBERS};
use crate::base::{Instant, Rng, TransportKey};

/// The wait after the first round of addresses that failed; it doubles with each.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest wait, but for jitter.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// A connection that lived less does not count as success, or a peer that refuses us would be dialled without end.
const LIVED_MIN: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Clone, Default, Debug)]
pub struct DialPlan {
    devices: BTreeMap<TransportKey, Device>,
    in_flight: usize,
}

#[derive(Clone, Debug)]
struct Device {
    /// The best first.
    addresses: Vec<SocketAddr>,
    /// Where it was last heard on the LAN, which is tried before all others.
    near: Option<SocketAddr>,
    /// Which is next in this round.
    next: usize,
    wanted: bool,
    dialing: Option<SocketAddr>,
    /// Connections, of which there may be two while both sides dial.
    open: usize,
    /// Since when there is one.
    since: Instant,
    /// The wait after the next round that fails.
    wait: Duration,
    /// Not to be dialled before.
    due: Instant,
    /// When a dial or a connection ended last.
    ended: Option<Instant>,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            near: None,
            next: 0,
            wanted: false,
            dialing: None,
            open: 0,
            since: Instant(0),
            wait: WAIT_MIN,
            due: Instant(0),
            ended: None,
        }
    }
}

impl Device {
    fn ready(&self) -> bool {
        self.wanted && self.dialing.is_none() && self.open == 0 && self.places() > 0
    }

    /// The place on the LAN, where it is none of the addresses.
    fn apart(&self) -> Option<SocketAddr> {
        self.near.filter(|near| !self.addresses.contains(near))
    }

    /// How many places there are to dial.
    fn places(&self) -> usize {
        self.addresses.len() + usize::from(self.apart().is_some())
    }

    /// The place of that number; the one on the LAN comes first.
    fn place(&self, at: usize) -> Option<SocketAddr> {
        match self.apart() {
            Some(near) if at == 0 => Some(near),
            Some(_) => self.addresses.get(at - 1).copied(),
            None => self.addresses.get(at).copied(),
        }
    }

    fn back_off(&mut self, now: Instant, rng: &mut Rng) {
        let percent = 80 + u32::try_from(rng.below(41)).expect("below 41");
        self.due = now + self.wait * percent / 100;
        self.wait = (self.wait * 2).min(WAIT_MAX);
        self.next = 0;
    }
}

impl DialPlan {
    /// Learns where a device may be reached, the best first; they come before what was known, of which [`ADDRESSES`] are
    /// kept. One that is new ends a long wait. At most [`MEMBERS`] x [`CIRCLES`] devices are kept, further ones ignored.
    pub fn learn(&mut self, transport: TransportKey, addresses: &[SocketAddr]) {
        let Some(device) = self.device(transport) else { return };
        let mut merged: Vec<SocketAddr> = Vec::with_capacity(ADDRESSES);
        for address in addresses.iter().chain(&device.addresses) {
            if merged.len() < ADDRESSES && !merged.contains(address) {
                merged.push(*address);
            }
        }
        if merged.iter().any(|address| !device.addresses.contains(address)) {
            device.wait = WAIT_MIN;
            // A peer that invents an address each moment still is dialled once a second at most.
            device.due = device.ended.map_or(Instant(0), |ended| ended + WAIT_MIN);
            device.next = 0;
        }
        device.addresses = merged;
    }

    /// Learns where a device was heard on the LAN. It takes the place of what was heard before and of nothing else:
    /// whoever repeats there what a friend said must not make us forget where the friend is.
    pub fn hear(&mut self, transport: TransportKey, address: SocketAddr) {
        let Some(device) = self.device(transport) else { return };
        if device.near.replace(address) != Some(address) {
            device.due = device.ended.map_or(Instant(0), |ended| ended + WAIT_MIN);
            device.next = 0;
        }
    }

    /// Whether a device is to be connected at all.
    pub fn want(&mut self, transport: TransportKey, wanted: bool) {
        if let Some(device) = self.device(transport) {
            device.wanted = wanted;
        }
    }

    /// Forgets what is known of all devices but these and those that are being dialled or connected.
    pub fn retain(&mut self, mut keep: impl FnMut(&TransportKey) -> bool) {
        self.devices.retain(|transport, device| keep(transport) || device.dialing.is_some() || device.open > 0);
    }

    /// A connection is up; `dialed` is the address if it was our dial that made it, which then is the first to be tried
    /// again.
    pub fn connected(&mut self, now: Instant, transport: TransportKey, dialed: Option<SocketAddr>) {
        if let Some(address) = dialed {
            self.end_dial(&transport, address);
        }
        let Some(device) = self.device(transport) else { return };
        if device.open == 0 {
            device.since = now;
        }
        device.open += 1;
        if let Some(at) = device.addresses.iter().position(|known| Some(*known) == dialed) {
            device.addresses[..=at].rotate_right(1);
        }
    }

    /// A connection that was up is gone.
    pub fn disconnected(&mut self, now: Instant, rng: &mut Rng, transport: TransportKey) {
        let Some(device) = self.devices.get_mut(&transport).filter(|device| device.open > 0) else { return };
        device.open -= 1;
        if device.open == 0 {
            if now - device.since >= LIVED_MIN {
                device.wait = WAIT_MIN;
            }
            device.ended = Some(now);
            device.back_off(now, rng);
        }
    }

    /// A dial came to nothing. Without another address in this round the device rests.
    pub fn failed(&mut self, now: Instant, rng: &mut Rng, transport: TransportKey, address: SocketAddr) {
        if !self.end_dial(&transport, address) {
            return;
        }
        let Some(device) = self.devices.get_mut(&transport) else { return };
        device.ended = Some(now);
        if device.next < device.places() {
            device.due = device.due.max(now);
        } else {
            device.back_off(now, rng);
        }
    }

    /// The next dial that is due, the longest due first. It is in flight from now on, until `connected` or `failed` is
    /// told of it; [`DIALS`] may be.
    pub fn poll(&mut self, now: Instant) -> Option<(TransportKey, SocketAddr)> {
        let (due, transport) = self.next()?;
        if due > now {
            return None;
        }
        let device = self.devices.get_mut(&transport)?;
        let address = device.place(device.next)?;
        device.next += 1;
        device.dialing = Some(address);
        self.in_flight += 1;
        Some((transport, address))
    }

    /// When to poll again; `None` while nothing could be dialled.
    pub fn timeout(&self) -> Option<Instant> {
        self.next().map(|(due, _)| due)
    }

    fn next(&self) -> Option<(Instant, TransportKey)> {
        if self.in_flight >= DIALS {
            return None;
        }
        let ready = self.devices.iter().filter(|(_, device)| device.ready());
        ready.map(|(transport, device)| (device.due, *transport)).min()
    }

    fn end_dial(&mut self, transport: &TransportKey, address: SocketAddr) -> bool {
        let device = self.devices.get_mut(transport).filter(|device| device.dialing == Some(address));
        let ended = device.map(|device| device.dialing = None).is_some();
        self.in_flight -= usize::from(ended);
        ended
    }

    fn device(&mut self, transport: TransportKey) -> Option<&mut Device> {
        if self.devices.len() >= MEMBERS * CIRCLES && !self.devices.contains_key(&transport) {
            return None;
        }
        Some(self.devices.entry(transport).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> TransportKey {
        TransportKey([n; 32])
    }

    fn address(n: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], port))
    }

    fn seconds(n: u64) -> Instant {
        Instant(n * 1_000_000)
    }

    fn wanted(devices: std::ops::Range<u8>) -> DialPlan {
        let mut plan = DialPlan::default();
        for n in devices {
            plan.learn(key(n), &[address(n, 1)]);
            plan.want(key(n), true);
        }
        plan
    }

    #[test]
    fn only_the_wanted_are_dialled_and_each_once() {
        let mut plan = DialPlan::default();
        plan.learn(key(1), &[address(1, 1)]);
        plan.want(key(2), true);
        assert_eq!((plan.timeout(), plan.poll(seconds(1))), (None, None));
        plan.want(key(1), true);
        assert_eq!(plan.timeout(), Some(Instant(0)));
        assert_eq!(plan.poll(seconds(1)), Some((key(1), address(1, 1))));
        assert_eq!((plan.timeout(), plan.poll(seconds(900))), (None, None));
        plan.connected(seconds(1), key(1), Some(address(1, 1)));
        assert_eq!((plan.timeout(), plan.poll(seconds(900))), (None, None));
    }

    #[test]
    fn addresses_are_tried_in_turn_and_the_one_that_answered_first_next_time() {
        let mut plan = DialPlan::default();
        let rng = &mut Rng::new(1);
        plan.want(key(1), true);
        plan.learn(key(1), &[address(1, 1), address(1, 2)]);
        plan.learn(key(1), &[address(1, 3), address(1, 2), address(1, 3)]);
        for port in [3, 2] {
            assert_eq!(plan.poll(seconds(1)), Some((key(1), address(1, port))));
            plan.failed(seconds(1), rng, key(1), address(1, 9));
            assert_eq!(plan.poll(seconds(1)), None, "the failure of another address ends no dial");
            plan.failed(seconds(1), rng, key(1), address(1, port));
        }
        assert_eq!(plan.poll(seconds(1)), Some((key(1), address(1, 1))));
        plan.connected(seconds(1), key(1), Some(address(1, 1)));
        plan.disconnected(seconds(20), rng, key(1));
        assert_eq!(plan.poll(seconds(20)), None);
        assert_eq!(plan.poll(seconds(22)), Some((key(1), address(1, 1))));
        let many: Vec<SocketAddr> = (100..200).map(|port| address(1, port)).collect();
        plan.learn(key(1), &many);
        assert_eq!(plan.devices[&key(1)].addresses, many[..ADDRESSES]);
    }

    /// Waits between rounds of one device whose every dial fails at once.
    fn waits(plan: &mut DialPlan, rng: &mut Rng, rounds: usize) -> Vec<Duration> {
        let mut now = plan.timeout().unwrap();
        let mut waits = Vec::new();
        for _ in 0..rounds {
            let (transport, address) = plan.poll(now).unwrap();
            plan.failed(now, rng, transport, address);
            assert_eq!(plan.poll(now), None);
            let due = plan.timeout().unwrap();
            waits.push(due - now);
            now = due;
        }
        waits
    }

    #[test]
    fn waits_double_to_five_minutes_with_jitter() {
        let mut expected = Duration::from_secs(1);
        let mut jitters = std::collections::BTreeSet::new();
        let (mut plan, mut rng) = (wanted(1..2), Rng::new(7));
        for wait in waits(&mut plan, &mut rng, 60) {
            assert!(wait >= expected * 80 / 100 && wait <= expected * 120 / 100, "{wait:?} {expected:?}");
            jitters.insert(wait.as_micros() * 100 / expected.as_micros());
            expected = (expected * 2).min(Duration::from_secs(300));
        }
        assert!(jitters.len() > 20, "{jitters:?}");
    }

    #[test]
    fn a_new_address_ends_the_wait_and_an_old_one_does_not() {
        let (mut plan, mut rng) = (wanted(1..2), Rng::new(7));
        waits(&mut plan, &mut rng, 12);
        let due = plan.timeout().unwrap();
        plan.learn(key(1), &[address(1, 1)]);
        assert_eq!(plan.timeout(), Some(due));
        plan.learn(key(1), &[address(1, 2)]);
        assert!(plan.timeout().unwrap() + Duration::from_secs(60) < due);
        // A stream of inventions is worth one dial a second.
        let (mut now, mut dials) = (due, 0);
        for n in 0..600 {
            plan.learn(key(1), &[address(2, n + 1)]);
            while let Some((transport, address)) = plan.poll(now) {
                dials += 1;
                plan.failed(now, &mut rng, transport, address);
                plan.learn(key(1), &[self::address(3, n + 1)]);
            }
            now = now + Duration::from_millis(100);
        }
        assert!((30..=61).contains(&dials), "{dials}");
    }

    #[test]
    fn a_connection_that_dies_young_is_no_success() {
        let (mut plan, mut rng) = (wanted(1..2), Rng::new(3));
        let mut now = Instant(0);
        for round in 0..12_u32 {
            let (transport, address) = plan.poll(now).unwrap();
            plan.connected(now, transport, Some(address));
            now = now + Duration::from_secs(9);
            plan.disconnected(now, &mut rng, transport);
            let wait = plan.timeout().unwrap() - now;
            assert!(wait >= Duration::from_millis(800) * 2_u32.pow(round.min(8)), "{round} {wait:?}");
            now = now + wait;
        }
        let (transport, address) = plan.poll(now).unwrap();
        plan.connected(now, transport, Some(address));
        now = now + Duration::from_secs(10);
        plan.disconnected(now, &mut rng, transport);
        assert!(plan.timeout().unwrap() - now <= Duration::from_millis(1_200));
    }

    #[test]
    fn while_both_sides_dial_the_device_counts_as_connected_until_the_last_is_gone() {
        let (mut plan, mut rng) = (wanted(1..2), Rng::new(3));
        let (transport, address) = plan.poll(seconds(1)).unwrap();
        plan.connected(seconds(1), transport, None);
        plan.connected(seconds(2), transport, Some(address));
        plan.disconnected(seconds(3), &mut rng, transport);
        assert_eq!(plan.timeout(), None);
        plan.disconnected(seconds(30), &mut rng, transport);
        plan.disconnected(seconds(30), &mut rng, transport);
        assert!(plan.timeout().is_some());
        plan.want(transport, false);
        assert_eq!(plan.timeout(), None);
    }

    #[test]
    fn dials_are_limited_and_shared_fairly() {
        const DEVICES: u8 = 40;
        let (mut plan, mut rng) = (wanted(0..DEVICES), Rng::new(5));
        for n in 0..DEVICES {
            plan.learn(key(n), &[address(n, 2), address(n, 3)]);
        }
        let mut dials = BTreeMap::from_iter((0..DEVICES).map(|n| (key(n), 0)));
        let mut flying: Vec<(Instant, TransportKey, SocketAddr)> = Vec::new();
        let mut now = Instant(0);
        // Each dial takes ten seconds to fail.
        while now < seconds(600) {
            flying.retain(|(end, transport, address)| {
                let over = *end <= now;
                if over {
                    plan.failed(now, &mut rng, *transport, *address);
                }
                !over
            });
            while let Some((transport, address)) = plan.poll(now) {
                assert!(!flying.iter().any(|(_, other, _)| *other == transport), "two dials of one device");
                *dials.get_mut(&transport).unwrap() += 1;
                flying.push((now + Duration::from_secs(10), transport, address));
            }
            assert!(flying.len() <= DIALS);
            now = now + Duration::from_millis(500);
        }
        // 8 at a time for 600 s at 10 s each: 480 dials among 40.
        let (least, most) = (dials.values().min().unwrap(), dials.values().max().unwrap());
        assert!(*least >= 9 && *most <= 15, "{least} {most}");
    }

    #[test]
    fn what_is_kept_is_bounded_and_can_be_forgotten() {
        let mut plan = DialPlan::default();
        for n in 0..MEMBERS * CIRCLES + 5 {
            let mut transport = key(0);
            transport.0[..8].copy_from_slice(&n.to_be_bytes());
            plan.learn(transport, &[address(1, 1)]);
            plan.want(transport, true);
        }
        assert_eq!(plan.devices.len(), MEMBERS * CIRCLES);
        let (dialed, _) = plan.poll(seconds(1)).unwrap();
        plan.retain(|_| false);
        assert_eq!(plan.devices.keys().collect::<Vec<_>>(), [&dialed]);
    }
}
