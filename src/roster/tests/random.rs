//! Random histories of concurrent, stale and removed authors, added in random orders.

use super::*;
use crate::base::Rng;

/// One device of a random history: what it knows, which may be stale.
struct Actor {
    n: u8,
    roster: Roster,
}

fn random_saying(rng: &mut Rng, roster: &Roster, n: u8, next: u8) -> Saying {
    const ROLES: [Role; 6] = [Role::Keeper, Role::Keeper, Role::Keeper, Role::Member, Role::Reader, Role::Cache];
    let role = ROLES[rng.below(6) as usize];
    let known: Vec<u8> = roster.current().map(|member| member.device.member.0[0]).collect();
    let target = if rng.chance(1, 8) { n } else { known[rng.below(known.len() as u64) as usize] };
    let cuts = (0..rng.below(3) as u32).map(|i| cut(i, 1 + rng.below(5), rng.below(3) as u8)).collect();
    match rng.below(11) {
        10 => sheet(next),
        0..=3 => admit(if rng.chance(1, 6) { target } else { next }, role),
        4..=5 => Saying::Role { member: member(target), role, cuts },
        6..=7 => Saying::Remove { member: member(target), cuts },
        _ => epoch(roster),
    }
}

/// A history in which devices say at random what they may, and hear of each other now and then. Removed ones go on.
fn random_history(rng: &mut Rng) -> (Vec<Roster>, Vec<SignedStatement>) {
    let mut actors = vec![Actor { n: 1, roster: circle() }];
    let mut said: Vec<SignedStatement> = actors[0].roster.statements().cloned().collect();
    for step in 0..60_u8 {
        let at = rng.below(actors.len() as u64) as usize;
        if rng.chance(1, 3) {
            let from = rng.below(actors.len() as u64) as usize;
            let mut news: Vec<SignedStatement> = actors[from].roster.statements().cloned().collect();
            news.truncate(1 + rng.below(2 * news.len() as u64) as usize);
            assert_eq!(actors[at].roster.extend(news).1, []);
            continue;
        }
        // Few keys, so that they are admitted by several.
        let next = 2 + rng.below(9) as u8;
        let saying = random_saying(rng, &actors[at].roster, actors[at].n, next);
        let Actor { n, roster } = &mut actors[at];
        let mut nonce = [step; 16];
        rng.fill(&mut nonce);
        let signed = sealed(roster.say(member(*n), nonce, saying));
        if roster.add(signed.clone()).is_ok() {
            if let Saying::Admit { device, .. } = &signed.statement.saying {
                let (n, roster) = (device.member.0[0], roster.clone());
                actors.push(Actor { n, roster });
            }
            said.push(signed);
        }
    }
    (actors.into_iter().map(|actor| actor.roster).collect(), said)
}

fn shuffle<T>(rng: &mut Rng, items: &mut [T]) {
    for at in (1..items.len()).rev() {
        items.swap(at, rng.below(at as u64 + 1) as usize);
    }
}

/// Adds one by one, asking again for those that had to wait.
fn add_in_this_order(statements: &[SignedStatement]) -> Roster {
    let mut roster = Roster::new(statements.iter().find(|s| s.statement.heads.is_empty()).unwrap().clone()).unwrap();
    let mut left: Vec<&SignedStatement> = statements.iter().collect();
    while !left.is_empty() {
        let before = left.len();
        left.retain(|signed| roster.add((*signed).clone()).unwrap() == Added::Waiting);
        assert!(left.len() < before, "nothing waits for what is not there");
    }
    roster
}

#[test]
fn any_order_of_arrival_gives_the_same_roster() {
    let (mut void, mut spared, mut struck_strikes, mut unusable, mut used) = (0, 0, 0, 0, 0);
    for seed in 0..500 {
        let mut rng = Rng::new(seed);
        let (actors, mut said) = random_history(&mut rng);
        let first = add_in_this_order(&said);
        let expected = summary(&first);
        for _ in 0..3 {
            shuffle(&mut rng, &mut said);
            assert_eq!(summary(&add_in_this_order(&said)), expected, "seed {seed}");
        }
        let (loaded, refused) = Roster::load(said.clone()).unwrap();
        assert_eq!((summary(&loaded), refused), (expected.clone(), Vec::new()), "seed {seed}");
        let mut merged = actors[0].clone();
        for actor in &actors {
            merged.extend(actor.statements().cloned().collect());
        }
        assert_eq!(summary(&merged), expected, "seed {seed}");
        check_invariants(&first, seed);
        let all = 0..first.history.len();
        void += all.clone().filter(|at| !first.state.effective(*at)).count();
        struck_strikes += all.filter(|at| first.history.line(*at).basis.strikes && !first.state.effective(*at)).count();
        spared += usize::from(!first.state.is_plain());
        used += first.state.admitted().filter(|(_, standing)| !standing.spent.is_empty()).count();
        unusable += usize::from(first.needs_epoch() && first.epochs().next().is_some());
    }
    // The histories are not tame ones.
    assert!(
        void > 100 && spared > 5 && struck_strikes > 20 && unusable > 20 && used > 20,
        "{void} {spared} {struck_strikes} {unusable} {used}"
    );
}

fn check_invariants(roster: &Roster, seed: u64) {
    let (history, state) = (&roster.history, &roster.state);
    assert!(roster.present().any(|member| member.role == Role::Keeper), "seed {seed}: no keeper");
    let transports: BTreeSet<_> = roster.members().map(|member| member.device.transport).collect();
    assert_eq!(transports.len(), roster.members().count(), "seed {seed}: a transport key is used twice");
    for at in 1..history.len() {
        let basis = &history.line(at).basis;
        // A strike yields only to a longer serving keeper's; and one that was put aside leaves its subject more than it said.
        let stands = |support: &usize| state.effective(*support) || history.line(*support).basis.strikes;
        let rests = basis.strikes || (stands(&basis.admit) && basis.roles.iter().all(stands));
        assert!(rests || !state.effective(at), "seed {seed}: an effect rests on nothing");
        let Saying::Remove { member, .. } = history.saying(at) else { continue };
        if !state.effective(at) {
            continue;
        }
        assert_eq!(roster.role_of(member), None, "seed {seed}: a removal is not final");
        for &said in history.authored(history.who(member).unwrap()) {
            let harmless = history.line(at).past.contains(said) || history.line(said).basis.strikes;
            assert!(harmless || !state.effective(said), "seed {seed}: a removed key has a say");
        }
    }
    if let Some(epoch) = roster.current_epoch().and_then(|id| roster.epoch(&id)) {
        let reads = |key: &KeyFor| roster.role_of(&key.member).is_some_and(Role::reads);
        assert!(epoch.effective && epoch.keys.iter().all(reads), "seed {seed}: an epoch is known outside");
    }
}
