//! A disk that is set back to an older state while the others know what came after: scenes of who holds what.

use std::time::Duration;

use dustfs::node::io::{Inode, Op};
use dustfs::wire::statement::Role;

use super::work::{CIRCLE, What};
use super::world::World;

/// A circle of a keeper and members, in which nothing goes wrong by chance.
pub struct Scene(pub World);

impl Scene {
    pub fn of(seed: u64, roles: &[Role]) -> Self {
        Self::with_quota(seed, roles, None)
    }

    /// The caches keep so many bytes.
    pub fn with_quota(seed: u64, roles: &[Role], quota: Option<u64>) -> Self {
        let mut world = World::new(seed, false, false);
        world.draw_wires(roles.len());
        for (at, role) in roles.iter().enumerate() {
            let quota = quota.filter(|_| *role == Role::Cache);
            world.add_machine_with(&format!("{}{at}", role.word()), false, quota);
        }
        let entropy = world.bytes96();
        let task = world.new_task(0, What::Once);
        world.ask(0, task, Op::Found { name: CIRCLE.into(), entropy });
        world.machines[0].role = Some(Role::Keeper);
        for (at, role) in roles.iter().enumerate().skip(1) {
            world.join_now(at, *role);
        }
        Self(world)
    }

    pub fn pass(&mut self, time: Duration) {
        let until = self.0.now + time.as_micros() as u64;
        self.0.run_until(until);
    }

    pub fn settle(&mut self) {
        self.0.groups.iter_mut().for_each(|group| *group = 0);
        self.0.settle();
    }

    /// Only these reach each other.
    pub fn meet(&mut self, machines: &[usize]) {
        let groups = self.0.groups.len();
        self.0.part((0..groups).map(|at| if machines.contains(&at) { 0 } else { 1 + at as u32 }).collect());
    }

    /// A directory: what is made at once, with one commit and without a task that goes on.
    pub fn make(&mut self, at: usize, name: &str) {
        let parent = self.root(at);
        let task = self.0.new_task(at, What::Once);
        self.0.ask(at, task, Op::Mkdir { parent, name: name.as_bytes().to_vec(), mode: 0o755 });
        self.pass(Duration::from_millis(300));
    }

    fn remove(&mut self, at: usize, name: &str) {
        let parent = self.root(at);
        let task = self.0.new_task(at, What::Once);
        self.0.ask(at, task, Op::Rmdir { parent, name: name.as_bytes().to_vec() });
        self.pass(Duration::from_millis(300));
    }

    pub fn root(&self, at: usize) -> Inode {
        self.0.root_of(at).expect("it is in the circle")
    }

    pub fn names(&self, at: usize) -> Vec<String> {
        let node = self.0.machines[at].node.as_ref().expect("it runs");
        let entries = node.list(self.root(at), None, usize::MAX).expect("a directory");
        entries.into_iter().map(|entry| String::from_utf8_lossy(&entry.name).into_owned()).collect()
    }

    fn back_up(&mut self, at: usize) {
        let machine = &mut self.0.machines[at];
        machine.backup = Some(machine.disk.backup());
    }

    fn set_back(&mut self, at: usize) {
        let backup = self.0.machines[at].backup.take().expect("there is one");
        self.0.crash(at);
        self.0.machines[at].disk.restore(backup);
        self.0.start(at);
    }

    pub fn restart(&mut self, at: usize) {
        self.0.crash(at);
        self.0.start(at);
    }

    /// All show exactly these names, and know of no fork, now and after a restart.
    fn all_show(&mut self, names: &[&str]) {
        self.settle();
        for _ in 0..2 {
            for at in 0..self.0.machines.len() {
                let machine = &self.0.machines[at];
                let status = machine.node.as_ref().expect("it runs").status();
                assert!(status.circles.iter().all(|circle| circle.forks.is_empty()), "{} shows a fork", machine.name);
                if machine.role.is_some_and(Role::reads) {
                    assert_eq!(self.names(at), names, "{}", machine.name);
                }
            }
            for at in 0..self.0.machines.len() {
                self.restart(at);
            }
            self.settle();
        }
    }
}

const MEMBERS: [Role; 3] = [Role::Keeper, Role::Member, Role::Member];
pub const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn what_was_forgotten_comes_back_and_what_was_written_since_stays() {
    for seed in 0..4 {
        let mut scene = Scene::of(seed, &[Role::Keeper, Role::Member, Role::Member, Role::Cache]);
        scene.make(1, "before");
        scene.make(1, "gone");
        scene.settle();
        scene.back_up(1);
        for name in ["lost-1", "lost-2", "lost-3"] {
            scene.make(1, name);
        }
        scene.settle();
        scene.meet(&[0, 2, 3]);
        scene.set_back(1);
        // Fewer, as many and more commits than were lost.
        for name in ["since-1", "since-2", "since-3", "since-4"].iter().take(seed as usize + 1) {
            scene.make(1, name);
        }
        scene.remove(1, "gone");
        let mut names = vec!["before", "lost-1", "lost-2", "lost-3"];
        names.extend(["since-1", "since-2", "since-3", "since-4"].iter().take(seed as usize + 1));
        scene.all_show(&names);
    }
}

/// Somebody who was away when it was lost meets the one who was set back first, and writes on top of it.
#[test]
fn two_histories_among_the_others_become_one() {
    for seed in 0..4 {
        let mut scene = Scene::of(seed, &MEMBERS);
        scene.make(1, "before");
        scene.settle();
        scene.back_up(1);
        scene.meet(&[0, 1]);
        for name in ["lost-1", "lost-2", "lost-3"] {
            scene.make(1, name);
        }
        scene.pass(MINUTE);
        scene.meet(&[1, 2]);
        scene.set_back(1);
        for name in ["since-1", "since-2"] {
            scene.make(1, name);
        }
        scene.pass(MINUTE * 6);
        assert_eq!(scene.names(2), ["before", "since-1", "since-2"], "they met");
        scene.make(2, "on-top");
        scene.pass(MINUTE);
        if seed % 2 == 0 {
            // The two histories meet before their author does.
            scene.meet(&[0, 2]);
            scene.pass(MINUTE * 6);
        }
        scene.all_show(&["before", "lost-1", "lost-2", "lost-3", "on-top", "since-1", "since-2"]);
    }
}

/// Who had the lost history could not store it and forgot it, too; somebody saw it there, and shows it to its author.
/// Seed 50174.
#[test]
fn what_only_a_witness_saw_is_settled_and_comes_back() {
    for seed in 0..4 {
        let mut scene = Scene::of(seed, &[Role::Keeper, Role::Member, Role::Member, Role::Cache]);
        scene.make(1, "before");
        scene.settle();
        scene.back_up(1);
        scene.meet(&[1, 2]);
        scene.0.machines[2].disk.full = true;
        scene.pass(MINUTE * 6);
        scene.make(1, "lost");
        scene.pass(MINUTE);
        assert_eq!(scene.names(2), ["before", "lost"], "they met");
        scene.meet(&[0, 1, 3]);
        scene.set_back(1);
        scene.make(1, "since-1");
        scene.make(1, "since-2");
        scene.pass(MINUTE * 6);
        scene.meet(&[0, 2, 3]);
        scene.pass(MINUTE * 6);
        scene.0.machines[2].disk.full = false;
        scene.restart(2);
        assert_eq!(scene.names(2), ["before"], "it was never stored");
        scene.meet(&[0, 1, 2, 3]);
        scene.pass(MINUTE * 6);
        scene.all_show(&["before", "lost", "since-1", "since-2"]);
    }
}

/// Its author is set back twice, and each time writes something else under the same numbers.
#[test]
fn three_histories_become_one() {
    let mut scene = Scene::of(7, &MEMBERS);
    scene.make(1, "before");
    scene.settle();
    scene.back_up(1);
    scene.make(1, "first");
    scene.settle();
    for name in ["second", "third"] {
        scene.meet(&[0, 2]);
        scene.set_back(1);
        scene.back_up(1);
        scene.make(1, name);
        scene.settle();
    }
    scene.all_show(&["before", "first", "second", "third"]);
}

/// The power is cut again and again while it is set right.
#[test]
fn a_cut_while_it_is_set_right_loses_nothing() {
    for seed in 0..12 {
        let mut scene = Scene::of(seed, &MEMBERS);
        scene.make(1, "before");
        scene.settle();
        scene.back_up(1);
        scene.make(1, "lost");
        scene.settle();
        scene.meet(&[0, 2]);
        scene.set_back(1);
        for name in ["since-1", "since-2"] {
            scene.make(1, name);
        }
        scene.meet(&[0, 1, 2]);
        for _ in 0..60 {
            scene.pass(Duration::from_millis(400 + 37 * seed));
            scene.restart(1);
        }
        scene.all_show(&["before", "lost", "since-1", "since-2"]);
    }
}

/// A keeper that forgot whom it admitted lets in the only one who can remind it.
#[test]
fn a_keeper_learns_again_whom_it_admitted() {
    let mut scene = Scene::of(3, &[Role::Keeper]);
    scene.make(0, "before");
    scene.back_up(0);
    let joiner = scene.0.add_machine("member1", false);
    scene.0.draw_wires(2);
    scene.0.join_now(joiner, Role::Member);
    scene.settle();
    scene.make(1, "of-the-member");
    scene.set_back(0);
    scene.make(0, "since");
    scene.all_show(&["before", "of-the-member", "since"]);
}
