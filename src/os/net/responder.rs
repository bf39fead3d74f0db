//! Which multicast DNS messages are due when, on which interface: offers of services (RFC 6763) and searches for them,
//! with the rhythm of RFC 6762. It touches no socket.
//!
//! Left out of the RFC: probing, since the names contain what nobody else has; answers by unicast; IPv6.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::base::{Instant, Rng};
use crate::wire::dns::{Data, Message, Name, Question, Record, Type};

/// Something that this node offers on the LAN.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Service {
    /// Its kind, as `_http._tcp`.
    pub(super) kind: &'static str,
    /// The instance's label; nobody else on the LAN may have it.
    pub(super) instance: Vec<u8>,
    /// The host's label; nobody else on the LAN may have it.
    pub(super) host: Vec<u8>,
    /// Its TCP port.
    pub(super) port: u16,
    /// The strings of its TXT record.
    pub(super) strings: Vec<Vec<u8>>,
}

/// An interface that takes part.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Interface {
    /// The kernel's number.
    pub(super) index: u32,
    /// Its IPv4 address.
    pub(super) address: Ipv4Addr,
    /// Of its network.
    pub(super) mask: Ipv4Addr,
}

impl Interface {
    fn reaches(&self, other: Ipv4Addr) -> bool {
        (self.address.to_bits() ^ other.to_bits()) & self.mask.to_bits() == 0
    }
}

/// A service that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// Its kind.
    pub(super) kind: &'static str,
    /// Who told it, and the port that it told.
    pub(super) address: SocketAddrV4,
    /// The strings of its TXT record.
    pub(super) strings: Vec<Vec<u8>>,
}

/// See the module.
pub(super) struct Responder {
    rng: Rng,
    interfaces: Vec<Interface>,
    offers: Vec<Offer>,
    searches: Vec<Search>,
    /// Messages that go out at once: what takes back an offer, and a question on further interfaces.
    ready: Vec<(Interface, Message)>,
}

struct Offer {
    service: Service,
    /// By interface.
    turns: BTreeMap<u32, Turn>,
}

/// When an offer is made on one interface.
#[derive(Default)]
struct Turn {
    due: Option<Instant>,
    sent: Option<Instant>,
    /// It is told unasked so many times more.
    unasked: u32,
}

struct Search {
    kind: &'static str,
    /// The longest wait between two questions.
    wait_max: Duration,
    due: Instant,
    wait: Duration,
}

impl Responder {
    pub(super) fn new(seed: u64) -> Self {
        let rng = Rng::new(seed);
        Self { rng, interfaces: Vec::new(), offers: Vec::new(), searches: Vec::new(), ready: Vec::new() }
    }

    /// Replaces what is offered. What is no longer is taken back.
    pub(super) fn offer(&mut self, now: Instant, services: Vec<Service>) {
        let mut kept = Vec::new();
        for offer in std::mem::take(&mut self.offers) {
            if services.contains(&offer.service) {
                kept.push(offer);
            } else {
                let told = self
                    .interfaces
                    .iter()
                    .filter(|interface| offer.turns.get(&interface.index).is_some_and(|turn| turn.sent.is_some()));
                self.ready.extend(told.map(|interface| (*interface, offer.service.message(interface.address, true))));
            }
        }
        for service in services {
            if !kept.iter().any(|offer| offer.service == service) {
                let fresh = |interface: &Interface| (interface.index, Turn::unasked(now));
                kept.push(Offer { service, turns: self.interfaces.iter().map(fresh).collect() });
            }
        }
        self.offers = kept;
    }

    /// Replaces what is searched for, each with the longest wait between two questions.
    pub(super) fn search(&mut self, now: Instant, kinds: &[(&'static str, Duration)]) {
        self.searches.retain(|search| kinds.iter().any(|(kind, _)| *kind == search.kind));
        for (kind, wait_max) in kinds {
            if !self.searches.iter().any(|search| search.kind == *kind) {
                self.searches.push(Search { kind, wait_max: *wait_max, due: now, wait: SECOND });
            }
        }
    }

    /// Replaces the interfaces. On a new one everything begins anew. True when any is new or gone.
    pub(super) fn interfaces(&mut self, now: Instant, interfaces: Vec<Interface>) -> bool {
        if interfaces == self.interfaces {
            return false;
        }
        for interface in interfaces.iter().filter(|interface| !self.interfaces.contains(interface)) {
            for offer in &mut self.offers {
                offer.turns.insert(interface.index, Turn::unasked(now));
            }
            for search in &mut self.searches {
                (search.due, search.wait) = (now, SECOND);
            }
        }
        self.ready.retain(|(interface, _)| interfaces.contains(interface));
        for offer in &mut self.offers {
            offer.turns.retain(|index, _| interfaces.iter().any(|interface| interface.index == *index));
        }
        self.interfaces = interfaces;
        true
    }

    /// Takes a message that came to an interface from the group's port of `from`. Answers what was found.
    pub(super) fn message(&mut self, now: Instant, interface: u32, from: Ipv4Addr, bytes: &[u8]) -> Vec<Found> {
        let near = self.interfaces.iter().any(|known| known.index == interface && known.reaches(from));
        let Some(message) = Message::decode(bytes).ok().filter(|_| near) else { return Vec::new() };
        if message.response {
            return self.found(from, &message.records);
        }
        for offer in &mut self.offers {
            let asked = message.questions.iter().any(|question| offer.service.answers(question));
            if let Some(turn) = offer.turns.get_mut(&interface)
                && asked
                && (!offer.service.is_known(&message.records) || asks_more(&offer.service, &message.questions))
            {
                // RFC 6762, section 6: shared records after a moment, and none twice within a second.
                let moment = now + Duration::from_millis(20 + self.rng.below(100));
                let due = turn.sent.map_or(moment, |sent| moment.max(sent + SECOND));
                turn.due = Some(turn.due.map_or(due, |before| before.min(due)));
            }
        }
        Vec::new()
    }

    fn found(&self, from: Ipv4Addr, records: &[Record]) -> Vec<Found> {
        let mut found = Vec::new();
        for record in records.iter().filter(|record| record.ttl > 0) {
            let Data::Srv { port, .. } = record.data else { continue };
            let kind = record.name.parent();
            let Some(search) = self.searches.iter().find(|search| kind_name(search.kind) == kind) else { continue };
            let strings =
                records.iter().filter(|other| other.name == record.name).find_map(|other| match &other.data {
                    Data::Txt(strings) => Some(strings.clone()),
                    _ => None,
                });
            if let Some(strings) = strings {
                found.push(Found { kind: search.kind, address: SocketAddrV4::new(from, port), strings });
            }
        }
        found
    }

    /// The next message that is due, and where it goes out.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(Interface, Vec<u8>)> {
        if let Some((interface, message)) = self.ready.pop() {
            return Some((interface, message.encode()));
        }
        for offer in &mut self.offers {
            for interface in &self.interfaces {
                let turn = offer.turns.entry(interface.index).or_default();
                if turn.due.is_some_and(|due| due <= now) {
                    turn.sent = Some(now);
                    turn.unasked = turn.unasked.saturating_sub(1);
                    turn.due = (turn.unasked > 0).then(|| now + SECOND);
                    return Some((*interface, offer.service.message(interface.address, false).encode()));
                }
            }
        }
        self.poll_search(now)
    }

    /// A search goes out on all interfaces at once.
    fn poll_search(&mut self, now: Instant) -> Option<(Interface, Vec<u8>)> {
        let search = self.searches.iter_mut().find(|search| search.due <= now)?;
        search.due = now + search.wait;
        search.wait = (search.wait * 2).min(search.wait_max);
        let question = Question { name: kind_name(search.kind), kind: Type::PTR };
        let message = Message { questions: vec![question], ..Message::default() };
        let mut interfaces = self.interfaces.iter();
        let first = interfaces.next()?;
        self.ready.extend(interfaces.map(|interface| (*interface, message.clone())));
        Some((*first, message.encode()))
    }

    /// When to poll again.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if !self.ready.is_empty() {
            return Some(Instant(0));
        }
        let offers = self.offers.iter().flat_map(|offer| offer.turns.values()).filter_map(|turn| turn.due);
        let searches = self.searches.iter().filter(|_| !self.interfaces.is_empty()).map(|search| search.due);
        offers.chain(searches).min()
    }
}

impl Turn {
    /// RFC 6762, section 8.3: at least twice, a second apart.
    fn unasked(now: Instant) -> Self {
        Self { due: Some(now), sent: None, unasked: 2 }
    }
}

/// True when somebody asks for more of a service than its name: what is known of that is not told by the name's record.
fn asks_more(service: &Service, questions: &[Question]) -> bool {
    questions.iter().any(|question| question.kind != Type::PTR && service.answers(question))
}

impl Service {
    fn name(&self) -> Name {
        kind_name(self.kind).below(&self.instance)
    }

    fn host_name(&self) -> Name {
        Name::new([&self.host[..], b"local"])
    }

    fn answers(&self, question: &Question) -> bool {
        let about = |name: Name, kinds: &[Type]| {
            question.name == name && (question.kind == Type::ANY || kinds.contains(&question.kind))
        };
        about(kind_name(self.kind), &[Type::PTR])
            || about(self.name(), &[Type::SRV, Type::TXT])
            || about(self.host_name(), &[Type::A])
            || about(Name::dotted(KINDS), &[Type::PTR])
    }

    /// RFC 6762, section 7.1: who asks tells which answers it has, with more than half of their time left.
    fn is_known(&self, known: &[Record]) -> bool {
        let same = |record: &Record| matches!(&record.data, Data::Ptr(instance) if *instance == self.name());
        known.iter().any(|record| same(record) && record.ttl >= TTL_S / 2)
    }

    /// All that there is to say of it, or that it is no more.
    fn message(&self, address: Ipv4Addr, over: bool) -> Message {
        let ttl = |seconds| if over { 0 } else { seconds };
        let (kind, name, host) = (kind_name(self.kind), self.name(), self.host_name());
        let shared = |name: &Name, data| Record { name: name.clone(), unique: false, ttl: ttl(TTL_S), data };
        let unique = |name: &Name, data| Record { name: name.clone(), unique: true, ttl: ttl(HOST_TTL_S), data };
        let mut records = vec![
            shared(&kind, Data::Ptr(name.clone())),
            unique(&name, Data::Srv { port: self.port, target: host.clone() }),
            unique(&name, Data::Txt(self.strings.clone())),
        ];
        if !over {
            // Another service of this host may go on; that the kind is no more is for nobody to say.
            records.push(unique(&host, Data::A(address)));
            records.push(shared(&Name::dotted(KINDS), Data::Ptr(kind)));
        }
        Message { response: true, questions: Vec::new(), records }
    }
}

fn kind_name(kind: &str) -> Name {
    Name::dotted(&format!("{kind}.local"))
}

/// Lists the kinds of services (RFC 6763, section 9).
const KINDS: &str = "_services._dns-sd._udp.local";
const SECOND: Duration = Duration::from_secs(1);
/// Seconds that shared records hold (RFC 6762, section 10).
const TTL_S: u32 = 4_500;
/// Seconds that records hold which name a host or its address.
const HOST_TTL_S: u32 = 120;

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "_dustfs-pair._tcp";

    fn service(n: u8) -> Service {
        Service {
            kind: KIND,
            instance: vec![b'a' + n],
            host: vec![b'h', b'a' + n],
            port: 47_470,
            strings: vec![b"v=1".to_vec(), vec![n; 200]],
        }
    }

    fn interface(n: u8) -> Interface {
        let mask = Ipv4Addr::new(255, 0, 0, 0);
        Interface { index: u32::from(n), address: Ipv4Addr::new(10, 0, n, 1), mask }
    }

    fn at(milliseconds: u64) -> Instant {
        Instant(milliseconds * 1_000)
    }

    /// All that goes out until then, with the time in milliseconds.
    fn until(responder: &mut Responder, from: u64, to: u64) -> Vec<(u64, Interface, Message)> {
        let mut out = Vec::new();
        for time in from..to {
            while let Some((interface, bytes)) = responder.poll(at(time)) {
                out.push((time, interface, Message::decode(&bytes).expect("our own")));
                assert!(out.len() < 1_000, "it never ends");
            }
        }
        out
    }

    fn question(name: &str, kind: Type) -> Vec<u8> {
        Message { questions: vec![Question { name: Name::dotted(name), kind }], ..Message::default() }.encode()
    }

    #[test]
    fn an_offer_is_told_twice_and_taken_back() {
        let mut responder = Responder::new(1);
        responder.interfaces(at(0), vec![interface(1), interface(2)]);
        responder.offer(at(0), vec![service(0)]);
        let told = until(&mut responder, 0, 5_000);
        let times: Vec<_> = told.iter().map(|(time, interface, _)| (*time, interface.index)).collect();
        assert_eq!(times, [(0, 1), (0, 2), (1_000, 1), (1_000, 2)]);
        assert!(told[0].2.records.iter().any(|record| record.data == Data::A(interface(1).address)));
        assert_eq!(responder.poll_timeout(), None);
        responder.offer(at(5_000), vec![service(0)]);
        assert_eq!(responder.poll_timeout(), None, "the same offer is not told again");
        responder.offer(at(5_000), Vec::new());
        let over = until(&mut responder, 5_000, 6_000);
        assert_eq!(over.len(), 2);
        assert!(over.iter().all(|(_, _, message)| message.records.iter().all(|record| record.ttl == 0)));
    }

    #[test]
    fn an_interface_that_comes_late_is_told_and_asked_on() {
        let mut responder = Responder::new(1);
        responder.offer(at(0), vec![service(0)]);
        responder.search(at(0), &[(KIND, Duration::from_secs(60))]);
        assert_eq!((responder.poll_timeout(), responder.poll(at(0))), (None, None));
        assert!(responder.interfaces(at(9_000), vec![interface(3)]));
        assert!(!responder.interfaces(at(9_000), vec![interface(3)]));
        let told = until(&mut responder, 9_000, 9_001);
        assert_eq!(told.iter().map(|(_, _, message)| message.response).collect::<Vec<_>>(), [true, false]);
        assert!(responder.interfaces(at(20_000), Vec::new()));
        assert_eq!(responder.poll(at(90_000)), None);
    }

    #[test]
    fn questions_are_answered_after_a_moment_and_once_a_second() {
        let mut responder = Responder::new(1);
        responder.interfaces(at(0), vec![interface(1), interface(2)]);
        responder.offer(at(0), vec![service(0)]);
        until(&mut responder, 0, 5_000);
        let about = [
            ("_DUSTFS-pair._tcp.local", Type::PTR, true),
            ("_dustfs-pair._tcp.local", Type::ANY, true),
            ("a._dustfs-pair._tcp.local", Type::SRV, true),
            ("a._dustfs-pair._tcp.local", Type::TXT, true),
            ("ha.local", Type::A, true),
            ("_services._dns-sd._udp.local", Type::PTR, true),
            ("_dustfs-pair._tcp.local", Type::A, false),
            ("b._dustfs-pair._tcp.local", Type::SRV, false),
            ("_dustfs._tcp.local", Type::PTR, false),
        ];
        for ((name, kind, answered), round) in about.into_iter().zip(1..) {
            let start = round * 10_000;
            responder.message(at(start), 1, Ipv4Addr::new(10, 0, 1, 9), &question(name, kind));
            let told = until(&mut responder, start, start + 5_000);
            assert_eq!(told.len(), usize::from(answered), "{name}");
            assert!(told.iter().all(|(time, to, _)| (start + 20..=start + 120).contains(time) && to.index == 1));
        }
        for time in 200_000..205_000 {
            responder.message(at(time), 2, Ipv4Addr::new(10, 0, 2, 9), &question("ha.local", Type::A));
        }
        assert!(until(&mut responder, 200_000, 210_000).len() <= 7, "a flood is answered once a second");
    }

    #[test]
    fn what_is_known_is_not_told_again() {
        let mut responder = Responder::new(1);
        responder.interfaces(at(0), vec![interface(1)]);
        responder.offer(at(0), vec![service(0)]);
        until(&mut responder, 0, 5_000);
        for (ttl, answered) in [(TTL_S, 0), (TTL_S / 2, 0), (TTL_S / 2 - 1, 1)] {
            let known = Record { name: kind_name(KIND), unique: false, ttl, data: Data::Ptr(service(0).name()) };
            let question = Question { name: kind_name(KIND), kind: Type::PTR };
            let query = Message { questions: vec![question], records: vec![known], ..Message::default() };
            responder.message(at(10_000), 1, Ipv4Addr::new(10, 0, 1, 9), &query.encode());
            assert_eq!(until(&mut responder, 10_000, 10_500).len(), answered, "{ttl}");
        }
    }

    #[test]
    fn searches_find_what_is_offered_and_grow_rare() {
        let (mut one, mut two) = (Responder::new(1), Responder::new(2));
        one.interfaces(at(0), vec![interface(1)]);
        two.interfaces(at(0), vec![interface(2)]);
        two.offer(at(0), vec![service(7)]);
        until(&mut two, 0, 5_000);
        one.search(at(5_000), &[(KIND, Duration::from_secs(8))]);
        let (_, message) = one.poll(at(5_000)).expect("a question");
        two.message(at(5_000), 2, interface(1).address, &message);
        let (_, _, answer) = until(&mut two, 5_000, 5_200).pop().expect("an answer");
        let found = one.message(at(5_100), 1, interface(2).address, &answer.encode());
        let address = SocketAddrV4::new(interface(2).address, 47_470);
        assert_eq!(found, [Found { kind: KIND, address, strings: service(7).strings }]);
        let asked: Vec<_> = until(&mut one, 5_001, 40_000).into_iter().map(|(time, ..)| time).collect();
        assert_eq!(asked, [6_000, 8_000, 12_000, 20_000, 28_000, 36_000]);
        let foreign = Ipv4Addr::new(192, 0, 2, 1);
        assert_eq!(one.message(at(5_100), 1, foreign, &answer.encode()), [], "not of this network");
        assert_eq!(one.message(at(5_100), 9, interface(2).address, &answer.encode()), [], "of no interface");
        two.offer(at(9_000), Vec::new());
        let (_, goodbye) = two.poll(at(9_000)).expect("a goodbye");
        assert_eq!(one.message(at(9_000), 1, interface(2).address, &goodbye), [], "what is no more is not found");
        one.search(at(40_000), &[]);
        assert_eq!(one.message(at(40_000), 1, interface(2).address, &answer.encode()), [], "nobody searches");
        assert_eq!(one.poll_timeout(), None);
    }

    #[test]
    fn garbage_does_nothing() {
        let mut responder = Responder::new(1);
        responder.interfaces(at(0), vec![interface(1)]);
        responder.offer(at(0), vec![service(0)]);
        until(&mut responder, 0, 5_000);
        for bytes in [&b""[..], &[0xff; 600], &[0; 9_001]] {
            assert_eq!(responder.message(at(6_000), 1, Ipv4Addr::LOCALHOST, bytes), []);
        }
        assert_eq!(responder.poll_timeout(), None);
    }
}
