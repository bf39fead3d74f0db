//! Members that let bodies go: in every world copies stay enough, and scenes of who does so when.

use std::time::Duration;

use bytes::Bytes;
use dustfs::base::InfoHash;
use dustfs::keep::pledges::{COPIES, Step};
use dustfs::node::io::Op;
use dustfs::wire::control::Control;
use dustfs::wire::statement::Role;

use super::mirror::{is_whole, put};
use super::set_back::Scene;
use super::work::{CIRCLE, What};
use super::world::World;

const MINUTE: Duration = Duration::from_secs(60);

impl World {
    /// How much a member may keep: some have little room.
    pub fn draw_member_quota(&mut self) -> Option<u64> {
        self.rng.chance(1, 4).then(|| 70_000 + self.rng.below(2_000_000))
    }

    /// A path of something on this machine, as operations take it.
    fn some_path(&mut self, machine: usize) -> Option<String> {
        let files = self.files(machine);
        let at = self.rng.below(files.len() as u64 + 1) as usize;
        let below = files.get(at).map_or(String::new(), |(path, _)| String::from_utf8_lossy(path).into_owned());
        // Of half of them all that is beside them.
        let below =
            if self.rng.chance(1, 2) { below.rsplit_once('/').map_or("", |(above, _)| above).into() } else { below };
        let home = self.machines[machine].node.as_ref()?.has_home();
        Some(if home { format!("{CIRCLE}{below}") } else { below })
    }

    /// Somebody lets something go, pins something or takes a pin away; now and then everybody lets everything go at once.
    pub fn keep_work(&mut self, machine: usize) -> Option<()> {
        if self.rng.chance(1, 6) {
            *self.counts.entry("times that all let everything go".into()).or_default() += 1;
            let readers: Vec<usize> = (0..self.machines.len())
                .filter(|at| self.machines[*at].role.is_some_and(Role::reads) && self.is_open(*at))
                .collect();
            for at in readers {
                self.let_all_go(at);
            }
            return Some(());
        }
        let path = self.some_path(machine)?;
        let op = match self.rng.below(6) {
            0 => Op::Pin { path, pinned: true },
            1 => Op::Pin { path, pinned: false },
            _ => Op::Free { path },
        };
        let task = self.new_task(machine, What::Once);
        self.ask(machine, task, op);
        Some(())
    }

    pub fn let_all_go(&mut self, machine: usize) {
        let home = self.machines[machine].node.as_ref().is_some_and(|node| node.has_home());
        let path = if home { CIRCLE.into() } else { String::new() };
        let task = self.new_task(machine, What::Once);
        self.ask(machine, task, Op::Free { path });
    }

    /// Who tells that it has let a body go leaves enough others that have it, whole and durable.
    pub fn check_let_go(&mut self, at: usize, payload: &Bytes) {
        let Ok(Some(Control::Pledge(pledge))) = Control::decode(payload) else { return };
        // What no file shows goes when its time is over.
        if pledge.step != Step::Gone.number() || self.lost_anything() || self.chaos_state.lies || self.lets_go {
            return;
        }
        for body in pledge.bodies {
            if !self.is_shown(&body.info_hash) {
                continue;
            }
            *self.counts.entry("pledges ended by 'gone'".into()).or_default() += 1;
            let left = self.copies(&body.info_hash, at);
            if left < COPIES {
                let name = &self.machines[at].name;
                self.broken(&format!("{name} let {} go, and {left} others have it whole", body.info_hash));
            }
        }
    }

    /// How many others have a body whole on their disks.
    fn copies(&self, info_hash: &InfoHash, but: usize) -> usize {
        // Who joined while its disk failed was told of an error, and is a member all the same.
        let others = self.machines.iter().enumerate().filter(|(at, _)| *at != but);
        others.filter(|(_, machine)| is_whole(&machine.disk.store, info_hash)).count()
    }
}

const MEMBERS: [Role; 4] = [Role::Keeper, Role::Member, Role::Member, Role::Member];

/// A circle whose members fetch everything.
fn circle(seed: u64, roles: &[Role]) -> Scene {
    let mut scene = Scene::with_quota(seed, roles, None);
    for at in 0..roles.len() {
        scene.0.machines[at].config.fetch = dustfs::node::Fetch::Everything;
        scene.0.machines[at].config.quota = None;
        scene.restart(at);
    }
    scene.settle();
    scene
}

fn held(scene: &Scene, at: usize) -> u64 {
    let status = scene.0.machines[at].node.as_ref().expect("it runs").status();
    status.circles.iter().find(|circle| circle.name == CIRCLE).expect("it is in the circle").held_torrents
}

/// All want to let all go in the same instant: each body is on two in the end, and each that has gone comes again.
#[test]
fn all_that_let_everything_go_at_once_leave_two_copies() {
    for seed in 0..8 {
        let mut scene = circle(seed, &MEMBERS);
        for name in ["a", "b", "c", "d", "e"] {
            put(&mut scene, (seed % 4) as usize, name);
        }
        scene.settle();
        for at in 0..4 {
            assert_eq!(held(&scene, at), 5, "seed {seed}");
            scene.0.let_all_go(at);
        }
        scene.pass(MINUTE);
        let left: u64 = (0..4).map(|at| held(&scene, at)).sum();
        assert_eq!(left, 10, "seed {seed}");
        for at in 0..4 {
            scene.restart(at);
        }
        scene.settle();
        let again: u64 = (0..4).map(|at| held(&scene, at)).sum();
        assert_eq!(again, 10, "seed {seed}: nothing is fetched unasked");
        // A pin brings all back, and keeps it; without it what is not needed here goes again.
        let needed = held(&scene, 0);
        for pinned in [true, false] {
            let task = scene.0.new_task(0, What::Once);
            scene.0.ask(0, task, Op::Pin { path: String::new(), pinned });
            scene.pass(MINUTE);
            scene.0.let_all_go(0);
            scene.pass(MINUTE);
            assert_eq!(held(&scene, 0), if pinned { 5 } else { needed }, "seed {seed}");
        }
    }
}

/// Where another that pledged is cut off in the middle, or loses its power, nothing becomes too rare, and nobody is bound in
/// the end: each can let go in its turn.
#[test]
fn a_cut_in_the_middle_binds_nobody_for_ever() {
    for seed in 0..24 {
        let mut scene = circle(seed, &MEMBERS[..3]);
        for name in ["a", "b"] {
            put(&mut scene, 0, name);
        }
        scene.settle();
        scene.0.let_all_go(0);
        let moment = scene.0.rng.below(120_000);
        scene.pass(Duration::from_micros(moment));
        if seed % 2 == 0 {
            scene.restart(1);
        } else {
            scene.meet(&[0, 2]);
        }
        scene.pass(MINUTE);
        assert!(held(&scene, 0) == 0 || held(&scene, 0) == 2, "seed {seed}: one question for both");
        assert_eq!((held(&scene, 1), held(&scene, 2)), (2, 2), "seed {seed}");
        scene.settle();
        let task = scene.0.new_task(0, What::Once);
        scene.0.ask(0, task, Op::Pin { path: String::new(), pinned: true });
        scene.pass(MINUTE * 6);
        scene.0.let_all_go(1);
        scene.pass(MINUTE);
        assert_eq!((held(&scene, 0), held(&scene, 1), held(&scene, 2)), (2, 0, 2), "seed {seed}");
    }
}

/// A cache lets go what one member holds: not where its own copy stands for that of a member.
#[test]
fn a_cache_that_pledged_keeps_what_it_stands_for() {
    for seed in 0..6 {
        let mut scene = circle(seed, &[Role::Keeper, Role::Member, Role::Cache]);
        put(&mut scene, 0, "a");
        scene.settle();
        scene.0.let_all_go(0);
        scene.pass(MINUTE);
        assert_eq!((held(&scene, 0), held(&scene, 1), held(&scene, 2)), (0, 1, 1), "seed {seed}");
        // Little room from now on, and newer files.
        scene.0.machines[2].config.quota = Some(250_000);
        scene.restart(2);
        for name in ["b", "c"] {
            put(&mut scene, 1, name);
        }
        scene.settle();
        scene.pass(MINUTE * 10);
        let info_hash = scene.0.machines[0].node.as_ref().and_then(|node| node.freed_bodies().next());
        let store = &scene.0.machines[2].disk.store;
        assert!(is_whole(store, &info_hash.expect("one went")), "seed {seed}");
    }
}

/// What is asked for where two are is refused in words.
#[test]
fn two_let_nothing_go() {
    let mut scene = circle(1, &MEMBERS[..2]);
    put(&mut scene, 0, "a");
    scene.settle();
    scene.0.let_all_go(0);
    scene.pass(MINUTE);
    assert_eq!((held(&scene, 0), held(&scene, 1)), (1, 1));
}
