//! What a cache keeps: as much as its quota allows, of what was wanted last.
//!
//! The rule, all of it:
//! 1. A torrent is *wanted* when a member publishes it, says that it lacks it, or opens a channel for it.
//! 2. While the quota has room, everything that is known is mirrored.
//! 3. When room is short, what was wanted later comes in and what was wanted before it goes, the least recently wanted
//!    first. Nothing goes for what is older than itself, nor for what nobody online could bring.
//! 4. Only what is *spare* goes: what a member that is connected now has told that it holds whole. Another cache does not
//!    count, since two would each trust in the other; nor does who is away, since it may never come back; nor an author
//!    that has not told yet. So the last known copy stays, however full the cache is, and over its quota too.
//! 5. What went comes back when there is room for it without anything going, or when a member wants it again, and in
//!    neither case before [`REST`] has passed.
//!
//! Numbers of wants only grow and each eviction is for a later want, so a cache of which nobody wants anything comes to
//! rest. Who is spare and who is offered is the caller's to know, and how the space is freed.
//!
//! Invariant: each known torrent is in one of the three orders or set aside; `used` is the bytes of those that are held.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::base::{InfoHash, Instant};

/// What was evicted is not fetched again within this time.
pub const REST: Duration = Duration::from_secs(60);

/// What a cache leaves free of the disk: a part of it, and at least so many bytes.
const RESERVE_PART: u64 = 20;
const RESERVE_LEAST: u64 = 256 << 20;
/// What the disk allows is told in steps of so many bytes, lest what else grows there stir a full cache all the time.
const STEP: u64 = 16 << 20;

/// Bytes that a cache may hold on a disk of `total` bytes, of which `free` are free and `written` are the cache's: all
/// but a reserve of 5 %, or of 256 MiB where that is more.
pub fn room(total: u64, free: u64, written: u64) -> u64 {
    let reserve = (total / RESERVE_PART).max(RESERVE_LEAST);
    let room = written.saturating_add(free).saturating_sub(reserve);
    room - room % STEP
}

/// See the module.
#[derive(Clone, Default, Debug)]
pub struct Cache {
    /// What the operator allows, in bytes.
    quota: Option<u64>,
    /// What the disk allows, in bytes.
    room: Option<u64>,
    known: BTreeMap<InfoHash, Known>,
    /// By the number of the last want: what is here or has its room here, what is not, and what went.
    held: BTreeMap<u64, InfoHash>,
    lacked: BTreeMap<u64, InfoHash>,
    gone: BTreeMap<u64, InfoHash>,
    used: u64,
    last: u64,
    evicted: u64,
    evictions: u64,
    due: Option<Instant>,
    /// After a planning that left something without room, the next one is not before this.
    calm_until: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    bytes: u64,
    /// Number of the last want.
    wanted: u64,
    standing: Standing,
    /// Not to be fetched before.
    rests_until: Instant,
}

/// What a cache has of a torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is here, or has its room here.
    Held,
    /// It is to be fetched.
    Lacked,
    /// It was here and went.
    Gone,
}

/// What a cache is to do now.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Goes, in this order.
    pub evict: Vec<InfoHash>,
    /// Is fetched: there is room for it once the others went.
    pub fetch: Vec<InfoHash>,
    /// Cannot be had: nobody offers it, or it is larger than the quota. Set aside until [`Cache::look_again`].
    pub aside: Vec<InfoHash>,
}

impl Cache {
    /// A cache that may hold so many bytes; `None` leaves it to the disk.
    pub fn new(quota: Option<u64>) -> Self {
        Self { quota, ..Self::default() }
    }

    /// What the disk allows from now on.
    pub fn allow(&mut self, now: Instant, room: u64) {
        if self.room.replace(room) != Some(room) {
            self.stir(now);
        }
    }

    /// Bytes that may be held.
    pub fn quota(&self) -> u64 {
        self.quota.unwrap_or(u64::MAX).min(self.room.unwrap_or(u64::MAX))
    }

    /// Bytes of what is held, with the room of what is being fetched.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Torrents that were here and went.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// How often something went since the start.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// What it has of a torrent, if it knows it.
    pub fn standing(&self, id: &InfoHash) -> Option<Standing> {
        self.known.get(id).map(|known| known.standing)
    }

    /// The number of a torrent's last want, to be kept over a restart; 0 where it is not known.
    pub fn number(&self, id: &InfoHash) -> u64 {
        self.known.get(id).map_or(0, |known| known.wanted)
    }

    /// A torrent that was held, or went, before the restart. `wanted` is what [`Cache::number`] told then.
    pub fn load(&mut self, id: InfoHash, bytes: u64, wanted: u64, held: bool) {
        self.last = self.last.max(wanted);
        let standing = if held { Standing::Held } else { Standing::Gone };
        // Numbers that an earlier program did not keep are drawn anew.
        let free = |number: &u64| *number > 0 && !self.held.contains_key(number) && !self.gone.contains_key(number);
        let wanted = if free(&wanted) { wanted } else { self.draw() };
        self.known.insert(id, Known { bytes, wanted, standing, rests_until: Instant(0) });
        self.place(&id);
    }

    /// A member published a torrent of so many bytes. Known ones stay as they are, but for a length that was guessed.
    pub fn publish(&mut self, now: Instant, id: InfoHash, bytes: u64) {
        if let Some(known) = self.known.get_mut(&id) {
            if known.standing == Standing::Held {
                self.used = self.used - known.bytes + bytes;
            }
            known.bytes = bytes;
            return;
        }
        let known = Known { bytes, wanted: self.draw(), standing: Standing::Lacked, rests_until: Instant(0) };
        self.known.insert(id, known);
        self.place(&id);
        self.stir(now);
    }

    /// A member wants a torrent now. What is not known stays so.
    pub fn want(&mut self, now: Instant, id: &InfoHash) {
        let number = self.draw();
        let mut lacks = false;
        self.shift(id, |known| {
            known.wanted = number;
            if known.standing == Standing::Gone {
                known.standing = Standing::Lacked;
            }
            lacks = known.standing == Standing::Lacked;
        });
        if lacks {
            self.stir(now);
        }
    }

    /// The room for a torrent is taken.
    pub fn hold(&mut self, id: &InfoHash) {
        self.shift(id, |known| known.standing = Standing::Held);
    }

    /// A torrent went. One that was not here whole is to be fetched all the same.
    pub fn drop(&mut self, now: Instant, id: &InfoHash, whole: bool) {
        self.evictions += 1;
        self.shift(id, |known| {
            known.standing = if whole { Standing::Gone } else { Standing::Lacked };
            if whole {
                known.rests_until = now + REST;
            }
        });
        self.stir(now);
    }

    /// What was set aside is looked at again: somebody may offer it now.
    pub fn look_again(&mut self, now: Instant, id: &InfoHash) {
        self.shift(id, |_| {});
        self.stir(now);
    }

    /// The room that was taken for a torrent is not needed: it cannot be fetched now, and is set aside.
    pub fn give_back(&mut self, id: &InfoHash) {
        self.shift(id, |known| known.standing = Standing::Lacked);
        self.unplace(id);
    }

    /// Something changed that may let something in or out.
    pub fn stir(&mut self, now: Instant) {
        self.due = Some(self.due.map_or(now, |due| due.min(now)));
    }

    /// When [`Cache::plan`] is to be called, if at all.
    pub fn timeout(&self) -> Option<Instant> {
        self.due.map(|due| due.max(self.calm_until))
    }

    /// What is to go, and what of the rest is to be fetched: at most `slots`. `offered` says whether somebody online has a
    /// torrent, `spare` whether it may go. The caller carries the plan out by [`Cache::drop`] and [`Cache::hold`].
    pub fn plan(
        &mut self,
        now: Instant,
        slots: usize,
        offered: impl Fn(&InfoHash) -> bool,
        spare: impl Fn(&InfoHash) -> bool,
    ) -> Plan {
        self.due = None;
        let mut turn = Turn {
            quota: self.quota(),
            used: self.used,
            oldest: self.held.iter(),
            pool: VecDeque::new(),
            pool_bytes: 0,
            known: &self.known,
            spare,
            plan: Plan::default(),
        };
        turn.make_room(0, u64::MAX);
        let (mut again, mut tries) = (None, 0);
        for (number, id) in self.lacked.iter().rev().chain(self.gone.iter().rev()) {
            if turn.plan.fetch.len() >= slots || tries >= TRIES {
                // Those that are left have their turn when one of these is here.
                break;
            }
            let known = &self.known[id];
            if known.bytes > turn.quota || !offered(id) {
                turn.plan.aside.push(*id);
                continue;
            }
            let rests = now < known.rests_until;
            if rests {
                again = Some(again.map_or(known.rests_until, |at: Instant| at.min(known.rests_until)));
                continue;
            }
            // What went has only what room there is.
            let until = if known.standing == Standing::Gone { 0 } else { *number };
            if turn.make_room(known.bytes, until) {
                turn.plan.fetch.push(*id);
                continue;
            }
            tries += 1;
        }
        let plan = turn.plan;
        for id in &plan.aside {
            self.unplace(id);
        }
        self.due = again;
        if tries > 0 {
            self.calm_until = now + CALM;
        }
        plan
    }

    fn draw(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn shift(&mut self, id: &InfoHash, change: impl FnOnce(&mut Known)) {
        self.unplace(id);
        if let Some(known) = self.known.get_mut(id) {
            match known.standing {
                Standing::Held => self.used -= known.bytes,
                Standing::Gone => self.evicted -= 1,
                Standing::Lacked => {}
            }
            change(known);
            self.place(id);
        }
    }

    fn place(&mut self, id: &InfoHash) {
        let Some(known) = self.known.get(id).copied() else { return };
        match known.standing {
            Standing::Held => self.used += known.bytes,
            Standing::Gone => self.evicted += 1,
            Standing::Lacked => {}
        }
        self.order(known.standing).insert(known.wanted, *id);
    }

    fn unplace(&mut self, id: &InfoHash) {
        if let Some(Known { wanted, standing, .. }) = self.known.get(id).copied() {
            self.order(standing).remove(&wanted);
        }
    }

    fn order(&mut self, standing: Standing) -> &mut BTreeMap<u64, InfoHash> {
        match standing {
            Standing::Held => &mut self.held,
            Standing::Lacked => &mut self.lacked,
            Standing::Gone => &mut self.gone,
        }
    }
}

/// One planning: what went so far, and what could go.
struct Turn<'a, S> {
    quota: u64,
    used: u64,
    oldest: std::collections::btree_map::Iter<'a, u64, InfoHash>,
    /// What is spare and was passed by, the least recently wanted first, and its bytes.
    pool: VecDeque<(u64, InfoHash, u64)>,
    pool_bytes: u64,
    known: &'a BTreeMap<InfoHash, Known>,
    spare: S,
    plan: Plan,
}

impl<S: Fn(&InfoHash) -> bool> Turn<'_, S> {
    /// Takes room for so many bytes; what was last wanted before `until` goes for it where it must, all or nothing.
    /// For 0 bytes it goes as far as it can.
    fn make_room(&mut self, bytes: u64, until: u64) -> bool {
        let need = self.used.saturating_add(bytes).saturating_sub(self.quota);
        while self.pool_bytes < need
            && let Some((number, id)) = self.oldest.clone().next().filter(|(number, _)| **number < until)
        {
            self.oldest.next();
            if (self.spare)(id) {
                let bytes = self.known[id].bytes;
                self.pool.push_back((*number, *id, bytes));
                self.pool_bytes += bytes;
            }
        }
        if self.pool_bytes < need && bytes > 0 {
            return false;
        }
        let (mut freed, mut count) = (0, 0);
        while freed < need
            && let Some((_, _, bytes)) = self.pool.get(count).filter(|(number, ..)| *number < until)
        {
            freed += bytes;
            count += 1;
        }
        if freed < need && bytes > 0 {
            return false;
        }
        // A large one may have made enough room by itself: of those before it the latest wanted stay.
        let mut kept = BTreeSet::new();
        for (at, (_, _, bytes)) in self.pool.iter().enumerate().take(count).rev() {
            if freed - bytes >= need {
                freed -= bytes;
                kept.insert(at);
            }
        }
        let (mut at, plan) = (0, &mut self.plan);
        self.pool.retain(|(_, id, _)| {
            let goes = at < count && !kept.contains(&at);
            at += 1;
            if goes {
                plan.evict.push(*id);
            }
            !goes
        });
        self.pool_bytes -= freed;
        self.used -= freed;
        self.used += bytes;
        true
    }
}

/// Least time between two plannings, where room is short.
const CALM: Duration = Duration::from_secs(1);
/// Torrents without room that one planning looks at.
const TRIES: usize = 1_024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u8) -> InfoHash {
        InfoHash([n; 20])
    }

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000)
    }

    /// Carries a plan out as a node does, with everything that is fetched coming whole.
    fn carry_out(cache: &mut Cache, now: Instant, plan: &Plan) {
        for id in &plan.evict {
            cache.drop(now, id, true);
        }
        for id in &plan.fetch {
            cache.hold(id);
        }
    }

    /// Plans and carries out until nothing is to be done.
    fn rest(cache: &mut Cache, now: Instant, spare: impl Fn(&InfoHash) -> bool) -> Vec<InfoHash> {
        let mut evicted = Vec::new();
        for _ in 0..100 {
            let plan = cache.plan(now, 256, |_| true, &spare);
            if plan.evict.is_empty() && plan.fetch.is_empty() {
                return evicted;
            }
            carry_out(cache, now, &plan);
            evicted.extend(plan.evict);
        }
        panic!("it comes to no rest: {cache:?}");
    }

    fn held(cache: &Cache) -> Vec<u8> {
        let held = |n: &u8| cache.standing(&id(*n)) == Some(Standing::Held);
        (0..=255).filter(held).collect()
    }

    #[test]
    fn all_is_mirrored_while_there_is_room_and_then_the_least_recently_wanted_goes() {
        let mut cache = Cache::new(Some(100));
        for n in 1..=4 {
            cache.publish(at(0), id(n), 25);
        }
        assert_eq!(rest(&mut cache, at(0), |_| true), []);
        assert_eq!((held(&cache), cache.used()), (vec![1, 2, 3, 4], 100));
        cache.want(at(1), &id(1));
        cache.publish(at(1), id(5), 40);
        assert_eq!(rest(&mut cache, at(1), |_| true), [id(2), id(3)]);
        assert_eq!((held(&cache), cache.used(), cache.evicted()), (vec![1, 4, 5], 90, 2));
    }

    #[test]
    fn nothing_goes_that_need_not() {
        let mut cache = Cache::new(Some(70));
        for (n, bytes) in [(1, 5), (2, 5), (3, 60)] {
            cache.publish(at(0), id(n), bytes);
        }
        rest(&mut cache, at(0), |_| true);
        cache.publish(at(1), id(4), 55);
        assert_eq!(rest(&mut cache, at(1), |_| true), [id(3)], "the small ones before it would not have been enough");
        assert_eq!((held(&cache), cache.used()), (vec![1, 2, 4], 65));
    }

    #[test]
    fn of_more_than_fits_the_newest_is_fetched_and_nothing_goes_for_the_rest() {
        let mut cache = Cache::new(Some(100));
        for n in 1..=20 {
            cache.publish(at(0), id(n), 25);
        }
        assert_eq!(rest(&mut cache, at(0), |_| true), []);
        assert_eq!(held(&cache), [17, 18, 19, 20]);
        cache.publish(at(0), id(21), 101);
        assert_eq!(rest(&mut cache, at(9), |_| true), [], "what never fits lets nothing go");
    }

    #[test]
    fn the_last_known_copy_stays_however_full_it_is() {
        let mut cache = Cache::new(Some(100));
        for n in 1..=4 {
            cache.publish(at(0), id(n), 25);
        }
        rest(&mut cache, at(0), |_| false);
        cache.publish(at(1), id(5), 50);
        assert_eq!(rest(&mut cache, at(1), |_| false), []);
        assert_eq!(rest(&mut cache, at(2), |id| id.0[0] == 3), [], "one alone makes no room, so it does not go");
        cache.allow(at(3), 40);
        assert_eq!(rest(&mut cache, at(3), |id| id.0[0] == 3), [id(3)], "over its quota all goes that may");
        assert_eq!((held(&cache), cache.used()), (vec![1, 2, 4], 75));
    }

    #[test]
    fn what_went_comes_back_when_it_is_wanted_and_not_at_once_or_when_there_is_room() {
        let mut cache = Cache::new(Some(100));
        cache.publish(at(0), id(1), 60);
        rest(&mut cache, at(0), |_| true);
        cache.publish(at(0), id(2), 60);
        rest(&mut cache, at(0), |_| true);
        assert_eq!((held(&cache), cache.evicted()), (vec![2], 1));
        cache.want(at(1), &id(1));
        assert_eq!(rest(&mut cache, at(1), |_| true), [], "it went a second ago");
        assert_eq!(cache.timeout().map(|due| due >= at(60)), Some(true));
        assert_eq!(rest(&mut cache, at(60), |_| true), [id(2)]);
        assert_eq!(held(&cache), [1]);
        // Nobody wants the other any more: it has to wait for room.
        assert_eq!(rest(&mut cache, at(600), |_| true), []);
        cache.drop(at(700), &id(1), false);
        assert_eq!(cache.standing(&id(1)), Some(Standing::Lacked), "what was not whole is still to be fetched");
        rest(&mut cache, at(700), |_| true);
        assert_eq!(held(&cache), [1], "what was wanted last has the room");
    }

    #[test]
    fn what_nobody_offers_lets_nothing_go_and_waits() {
        let mut cache = Cache::new(Some(100));
        cache.publish(at(0), id(1), 60);
        rest(&mut cache, at(0), |_| true);
        cache.publish(at(0), id(2), 60);
        let plan = cache.plan(at(0), 256, |_| false, |_| true);
        assert_eq!(plan, Plan { aside: vec![id(2)], ..Plan::default() });
        assert_eq!(cache.plan(at(9), 256, |_| true, |_| true), Plan::default(), "it is set aside");
        cache.look_again(at(9), &id(2));
        assert_eq!(rest(&mut cache, at(9), |_| true), [id(1)]);
    }

    #[test]
    fn the_disk_is_filled_but_for_a_reserve() {
        const GIB: u64 = 1 << 30;
        assert_eq!(room(100 * GIB, 100 * GIB, 0), 95 * GIB);
        assert_eq!(room(100 * GIB, 5 * GIB, 60 * GIB), 60 * GIB, "others have the rest");
        assert_eq!(room(100 * GIB, GIB, 60 * GIB), 56 * GIB, "it gives back what others need");
        assert_eq!(room(GIB, GIB, 0), GIB - (256 << 20));
        assert_eq!(room(100 << 20, 100 << 20, 0), 0);
        assert_eq!(room(100 * GIB, 50 * GIB - 1, 0), 45 * GIB - (16 << 20));
        assert_eq!(room(u64::MAX, u64::MAX, u64::MAX) % STEP, 0);
    }

    #[test]
    fn the_order_of_wants_survives_a_restart() {
        let mut cache = Cache::new(Some(100));
        for n in 1..=4 {
            cache.publish(at(0), id(n), 25);
        }
        rest(&mut cache, at(0), |_| true);
        cache.want(at(1), &id(1));
        let mut again = Cache::new(Some(100));
        for n in [4, 3, 2, 1] {
            again.load(id(n), 25, cache.number(&id(n)), true);
        }
        again.load(id(9), 0, 0, false);
        assert_eq!((again.used(), again.evicted()), (100, 1));
        again.publish(at(0), id(3), 20);
        assert_eq!((again.used(), held(&again)), (95, vec![1, 2, 3, 4]));
        again.publish(at(0), id(5), 40);
        assert_eq!(rest(&mut again, at(0), |_| true), [id(2), id(3)]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Publish(u8, u64),
        Want(u8),
        /// Members that hold it whole come or go.
        Holders(u8, bool),
        Quota(u64),
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..40_u8, 1..60_u64).prop_map(|(n, bytes)| Step::Publish(n, bytes)),
            3 => (0..40_u8).prop_map(Step::Want),
            4 => (0..40_u8, any::<bool>()).prop_map(|(n, there)| Step::Holders(n, there)),
            1 => (0..300_u64).prop_map(Step::Quota),
            2 => (0..120_u64).prop_map(Step::Pass),
        ];
        proptest::collection::vec(step, 0..120)
    }

    proptest! {
        /// Whatever happens: what goes is held by a member that is there, the quota is kept but for what may not go, and
        /// when nothing more happens it comes to rest.
        #[test]
        fn eviction_never_drops_the_last_known_copy(steps in steps()) {
            let mut cache = Cache::new(None);
            cache.allow(at(0), 200);
            let (mut now, mut holders, mut ours) = (0, BTreeSet::new(), BTreeSet::new());
            for step in steps {
                match step {
                    Step::Publish(n, bytes) => {
                        if cache.standing(&id(n)).is_none() {
                            // Who publishes holds it.
                            holders.insert(id(n));
                        }
                        cache.publish(at(now), id(n), bytes);
                    }
                    Step::Want(n) => cache.want(at(now), &id(n)),
                    Step::Holders(n, true) => {
                        holders.insert(id(n));
                        cache.look_again(at(now), &id(n));
                    }
                    Step::Holders(n, false) => {
                        holders.remove(&id(n));
                    }
                    Step::Quota(bytes) => cache.allow(at(now), bytes),
                    Step::Pass(seconds) => now += seconds,
                }
                let evictions = cache.evictions();
                let known = cache.known.len() as u64;
                loop {
                    let there = |id: &InfoHash| holders.contains(id);
                    let before = cache.used();
                    let plan = cache.plan(at(now), 3, there, there);
                    for id in &plan.evict {
                        prop_assert!(holders.contains(id) && ours.remove(id), "the last copy of {:?} went", id);
                    }
                    for id in &plan.fetch {
                        prop_assert!(holders.contains(id) && ours.insert(*id));
                    }
                    carry_out(&mut cache, at(now), &plan);
                    let room = cache.quota().max(before);
                    prop_assert!(cache.used() <= room, "{} bytes of {}", cache.used(), room);
                    let spare = ours.iter().any(|id| holders.contains(id));
                    prop_assert!(cache.used() <= cache.quota() || !spare, "over its quota though something may go");
                    if plan == Plan::default() {
                        break;
                    }
                    prop_assert!(cache.evictions() - evictions <= known, "it comes to no rest");
                }
                let used: u64 = ours.iter().map(|id| cache.known[id].bytes).sum();
                prop_assert_eq!(used, cache.used());
                let counted = cache.known.values().filter(|known| known.standing == Standing::Gone).count() as u64;
                prop_assert_eq!(counted, cache.evicted());
            }
        }
    }
}
