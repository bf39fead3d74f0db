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
        self.wanted && self.dialing.is_none() && self.open == 0 && !self.addresses.is_empty()
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
        if device.next < device.addresses.len() {
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
        let address = *device.addresses.get(device.next)?;
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
