//! The simulator: composed nodes in a seeded world of links and disks that fail, and what must hold whatever happens.
//!
//! `DUSTFS_SEED=n` replays one seed, with `DUSTFS_TRACE=1` event by event; `DUSTFS_LONG=1` runs 10,000 seeds, and
//! `DUSTFS_FIRST=n` with `DUSTFS_SEEDS=n` any others.

mod chaos;
mod check;
mod disk;
mod freeing;
mod mirror;
mod model;
mod net;
mod pairing;
mod rot;
mod set_back;
mod sheets;
mod trace;
mod work;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use dustfs::node::io::Op;
use dustfs::tree::Counts;
use dustfs::wire::statement::Role;

use work::{CIRCLE, What};
use world::{Event, World};

/// What came of one seed.
struct Outcome {
    conflicts: Counts,
    counts: BTreeMap<String, u64>,
    trace: [u8; 32],
}

/// How much of a run is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Telling {
    Nothing,
    /// The last events, when something breaks.
    Last,
    All,
}

/// One world from its start to its end.
fn run(seed: u64, telling: Telling) -> Outcome {
    let mut world = World::new(seed, telling != Telling::Nothing, telling == Telling::All);
    let count = 3 + world.rng.below(4) as usize;
    world.draw_wires(count);
    let mut roles = vec![Role::Keeper];
    for at in 1..count {
        let role = match (at, world.rng.below(8)) {
            (1, _) | (_, 0..4) => Role::Member,
            (_, 4) => Role::Keeper,
            (_, 5) => Role::Reader,
            _ => Role::Cache,
        };
        roles.push(role);
    }
    for (at, role) in roles.iter().enumerate() {
        let home = *role != Role::Cache && world.rng.chance(3, 4);
        let quota = if *role == Role::Cache { world.draw_quota() } else { world.draw_member_quota() };
        world.add_machine_with(&format!("{}{at}", role.word()), home, quota);
    }
    let entropy = world.bytes96();
    let task = world.new_task(0, What::Once);
    world.ask(0, task, Op::Found { name: CIRCLE.into(), entropy });
    world.machines[0].role = Some(Role::Keeper);
    let late = world.rng.chance(1, 2).then(|| count - 1);
    for at in (1..count).filter(|at| Some(*at) != late) {
        world.join_now(at, roles[at]);
    }
    let until = world.now + 2_000_000;
    world.run_until(until);

    let end = world.now + 20_000_000 + world.rng.below(40_000_000);
    world.draw_chaos(end, late.map(|at| (at, roles[at])));
    world.work_left = 100 + world.rng.below(200) as u32;
    world.push(0, Event::Work);
    while world.now < end {
        let until = world.now + 1_000_000;
        world.run_until(until);
        world.check_waiting();
    }
    world.heal();
    world.end_join();
    world.settle();
    world.check_quotas();
    let conflicts = world.conflicts();
    world.rot_at_rest();
    world.check_end();
    world.count_end();
    *world.counts.entry("virtual seconds".into()).or_default() += world.now / 1_000_000;
    Outcome { conflicts, trace: world.trace_hash(), counts: world.counts }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nodes_hold_what_they_promise() {
    if let Some(seed) = variable("DUSTFS_SEED") {
        let telling = if variable("DUSTFS_TRACE").is_some() { Telling::All } else { Telling::Last };
        log(telling);
        let outcome = run(seed, telling);
        println!("seed {seed}: {:?} {:#?}", outcome.conflicts, outcome.counts);
        return;
    }
    let seeds = match (variable("DUSTFS_SEEDS"), variable("DUSTFS_LONG")) {
        (Some(seeds), _) => seeds as usize,
        (None, Some(_)) => 10_000,
        (None, None) => 200,
    };
    let first = variable("DUSTFS_FIRST").unwrap_or(0) as usize;
    let started = Instant::now();
    let next = AtomicUsize::new(first);
    let total: Mutex<(Counts, BTreeMap<String, u64>)> = Mutex::default();
    let failed: Mutex<Vec<(u64, String)>> = Mutex::default();
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed) as u64;
                    if seed as usize >= first + seeds || failed.lock().unwrap().len() >= FAILURES {
                        break;
                    }
                    match catch_unwind(AssertUnwindSafe(|| run(seed, Telling::Nothing))) {
                        Ok(outcome) => add(&mut total.lock().unwrap(), outcome),
                        Err(panic) => failed.lock().unwrap().push((seed, words(panic))),
                    }
                }
            });
        }
    });
    let _ = std::panic::take_hook();
    let (conflicts, counts) = total.into_inner().unwrap();
    let took = started.elapsed().as_secs_f64();
    println!("{seeds} seeds in {took:.1} s, {:.2} seeds a second", seeds as f64 / took);
    println!("{conflicts:?}");
    for (what, count) in counts {
        println!("{count:>9} {what}");
    }
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    for (seed, why) in &failed {
        println!("seed {seed}: {why}");
    }
    assert!(failed.is_empty(), "{} seeds failed; replay one by DUSTFS_SEED={}", failed.len(), failed[0].0);
    if seeds >= 200 {
        let Counts { move_cycles, name_clashes, edit_edit, edit_delete } = conflicts;
        assert!(![move_cycles, name_clashes, edit_edit, edit_delete].contains(&0), "{conflicts:?}");
    }
}

#[test]
fn a_seed_is_a_whole_world() {
    for seed in 1_000_000..1_000_003 {
        let [one, other] = [run(seed, Telling::Nothing), run(seed, Telling::Nothing)];
        assert_eq!(one.trace, other.trace, "seed {seed}");
    }
}

fn add(total: &mut (Counts, BTreeMap<String, u64>), outcome: Outcome) {
    total.0.move_cycles += outcome.conflicts.move_cycles;
    total.0.name_clashes += outcome.conflicts.name_clashes;
    total.0.edit_edit += outcome.conflicts.edit_edit;
    total.0.edit_delete += outcome.conflicts.edit_delete;
    for (what, count) in outcome.counts {
        *total.1.entry(what).or_default() += count;
    }
}

fn words(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(words) => *words,
        Err(panic) => panic.downcast::<&str>().map_or("a panic without words".into(), |words| words.to_string()),
    }
}

/// The nodes' own log goes between the lines of the trace.
fn log(telling: Telling) {
    struct Lines;
    impl log::Log for Lines {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            println!("             log      {:?} {}", record.level(), record.args());
        }
        fn flush(&self) {}
    }
    if telling == Telling::All && log::set_logger(&Lines).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}

/// After so many seeds that failed no further one is begun.
const FAILURES: usize = 8;
