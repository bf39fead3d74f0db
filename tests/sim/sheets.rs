//! Recovery sheets: a keeper's box is gone, and a new one takes its place with whoever is left.

use dustfs::node::io::Op;
use dustfs::pair::Sheet;
use dustfs::wire::statement::Role;

use super::set_back::{MINUTE, Scene};
use super::work::{CIRCLE, What};

impl Scene {
    fn op(&mut self, at: usize, op: Op) {
        let task = self.0.new_task(at, What::Once);
        self.0.ask(at, task, op);
        self.pass(MINUTE);
    }

    /// Prints a sheet, of which each machine hears that can be reached.
    fn print(&mut self, at: usize) -> Sheet {
        let mut secret = [0; 16];
        self.0.rng.fill(&mut secret);
        self.op(at, Op::PrintSheet { secret });
        Sheet::new(secret, Vec::new())
    }

    /// A blank machine asks these; whether anything came of it.
    fn recover(&mut self, at: usize, sheet: &Sheet, asked: &[usize]) -> bool {
        let asked = asked.iter().map(|asked| self.0.machines[*asked].address).collect();
        let task = self.0.new_task(at, What::Once);
        self.0.ask(at, task, Op::Recover { sheet: sheet.words(), at: asked });
        let end = self.0.now + MINUTE.as_micros() as u64;
        while self.0.tasks.contains_key(&task) && self.0.step(end) {}
        let circles = self.0.machines[at].node.as_ref().expect("it runs").status().circles;
        let found = circles.iter().find(|circle| circle.name == CIRCLE);
        assert!(found.is_none_or(|circle| circle.role == Role::Keeper));
        self.0.machines[at].role = found.map(|circle| circle.role);
        found.is_some()
    }

    fn blank(&mut self) -> usize {
        let at = self.0.add_machine("new", false);
        self.0.draw_wires(at + 1);
        at
    }

    fn friends(&self, at: usize) -> Vec<String> {
        let friends = self.0.machines[at].node.as_ref().expect("it runs").friends().into_iter();
        friends.filter(|friend| !friend.removed && !friend.sheet).map(|friend| friend.name).collect()
    }
}

const ROLES: [Role; 3] = [Role::Keeper, Role::Keeper, Role::Cache];

/// With nobody there but a cache; the other keeper comes back later, and has worked meanwhile.
#[test]
fn a_new_box_takes_the_place_of_one_that_died() {
    for seed in 0..4 {
        let mut scene = Scene::of(seed, &ROLES);
        scene.make(1, "of-the-dead");
        let sheet = scene.print(1);
        scene.settle();
        let new = scene.blank();
        scene.meet(&[2, new]);
        scene.make(0, "meanwhile");
        assert!(scene.recover(new, &sheet, &[2]));
        scene.pass(MINUTE * 6);
        assert_eq!(scene.names(new), ["of-the-dead"]);
        scene.make(new, "of-the-new");
        scene.op(new, Op::Remove { circle: Some(CIRCLE.into()), member: "keeper1".into(), entropy: [7; 96] });
        scene.meet(&[0, 2, new]);
        scene.0.settle();
        for at in [0, new] {
            assert_eq!(scene.names(at), ["meanwhile", "of-the-dead", "of-the-new"]);
        }
        assert_eq!(scene.friends(0), ["cache2", "new"]);
        let thief = scene.blank();
        assert!(!scene.recover(thief, &sheet, &[0, 2, new]), "it was used");
    }
}

/// Until somebody says that the second sheet is on paper each can be used; with one the other is out.
#[test]
fn an_older_sheet_is_valid_until_the_new_one_is_on_paper() {
    for (used, written) in [(0, false), (1, false), (0, true), (1, true)] {
        let mut scene = Scene::of(5, &ROLES);
        let sheets = [scene.print(1), scene.print(1)];
        if written {
            scene.op(1, Op::SheetWritten);
        }
        scene.settle();
        let new = scene.blank();
        scene.meet(&[0, 2, new]);
        assert_eq!(scene.recover(new, &sheets[used], &[2]), used == 1 || !written, "sheet {used}, written: {written}");
        scene.pass(MINUTE);
        if !written {
            let other = scene.blank();
            scene.meet(&[0, 2, new, other]);
            assert!(!scene.recover(other, &sheets[1 - used], &[0, 2, new]), "sheet {used} was used");
        }
    }
}

/// Who is asked first was away for long: the others are asked, too, before anything is believed.
#[test]
fn the_newest_roster_is_looked_for() {
    let mut scene = Scene::of(6, &ROLES);
    let sheet = scene.print(1);
    scene.settle();
    scene.meet(&[0, 1]);
    let joiner = scene.0.add_machine("member3", false);
    scene.0.draw_wires(joiner + 1);
    scene.meet(&[0, 1, joiner]);
    scene.0.join_now(joiner, Role::Member);
    let new = scene.blank();
    scene.meet(&[0, 2, new]);
    for link in scene.0.links.keys().copied().collect::<Vec<_>>() {
        scene.0.cut(link, MINUTE / 60);
    }
    scene.meet(&[2, new]);
    scene.0.groups[0] = scene.0.groups[2];
    assert!(scene.recover(new, &sheet, &[2]));
    // At once, and not only when the others have told it what it lacks.
    let mut friends = scene.friends(new);
    friends.sort();
    assert_eq!(friends, ["cache2", "keeper0", "keeper1", "member3"]);
}
