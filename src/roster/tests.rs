//! Rosters by hand for each rule; at random for what must hold of all.

mod random;
mod sheets;

use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};

use super::*;
use crate::wire::WireError;
use crate::wire::statement::KeyFor;

fn member(n: u8) -> MemberKey {
    MemberKey([n; 32])
}

fn device(n: u8) -> Device {
    Device { member: member(n), name: format!("box {n}"), transport: TransportKey([n | 0x80; 32]) }
}

/// The roster is handed verified statements, so most tests need no real signature.
fn sealed(statement: Statement) -> SignedStatement {
    statement.sign(|_| [0; 64])
}

fn circle() -> Roster {
    Roster::new(sealed(found([0; 16], "Friends".into(), b"root", device(1)))).unwrap()
}

fn admit(n: u8, role: Role) -> Saying {
    Saying::Admit { device: device(n), role, parcel: None }
}

fn sheet(n: u8) -> Saying {
    let device = Device::sheet(format!("sheet {n}"), member(n));
    Saying::Admit { device, role: Role::Keeper, parcel: Some(Bytes2::from(&[n; 9][..])) }
}

fn change(n: u8, role: Role) -> Saying {
    Saying::Role { member: member(n), role, cuts: Vec::new() }
}

fn remove(n: u8) -> Saying {
    Saying::Remove { member: member(n), cuts: Vec::new() }
}

fn cut(incarnation: u32, sequence: u64, hash: u8) -> Cut {
    Cut { hash: CommitHash([hash; 32]), incarnation, sequence }
}

fn epoch(roster: &Roster) -> Saying {
    let keys = roster.recipients().into_iter().map(|member| KeyFor { member, sealed: Bytes2::from(&b"key"[..]) });
    Saying::Epoch { number: roster.next_epoch_number(), suite: 2, keys: keys.collect() }
}

/// Says and adds; the nonce is the number of statements.
fn say(roster: &mut Roster, author: u8, saying: Saying) -> Result<SignedStatement, RosterError> {
    let mut nonce = [author; 16];
    nonce[..8].copy_from_slice(&(roster.history.len() as u64).to_be_bytes());
    let signed = sealed(roster.say(member(author), nonce, saying));
    assert_eq!(roster.add(signed.clone())?, Added::New);
    Ok(signed)
}

/// Brings both to the same set.
fn join(a: &mut Roster, b: &mut Roster) {
    let (from_a, from_b) = (b.statements().cloned().collect(), a.statements().cloned().collect());
    assert_eq!(a.extend(from_a).1, []);
    assert_eq!(b.extend(from_b).1, []);
    assert_eq!(summary(a), summary(b));
}

/// All that follows from a roster.
fn summary(roster: &Roster) -> String {
    let epochs: Vec<_> = roster.epochs().map(|epoch| (epoch.number, epoch.id, epoch.effective)).collect();
    let cuts: Vec<_> = roster.members().map(|m| roster.cuts_of(&m.device.member)).collect();
    let effective = |at: &usize| roster.state.effective(*at);
    let effects: Vec<bool> = roster.history.order().iter().map(effective).collect();
    let members: Vec<_> = roster.members().collect();
    format!(
        "{members:#?} {epochs:?} {:?} {cuts:?} {effects:?} {:?} {:?} {}",
        roster.current_epoch(),
        roster.hashes(),
        roster.heads(),
        roster.next_epoch_number()
    )
}

fn ids(roster: &Roster) -> Vec<u8> {
    roster.current().map(|member| member.device.member.0[0]).collect()
}

#[test]
fn a_founded_circle_has_its_founder() {
    let roster = circle();
    assert_eq!((roster.name(), &roster.root_der()[..]), ("Friends", &b"root"[..]));
    assert_eq!(roster.circle().0, roster.heads()[0].0);
    assert_eq!(roster.role_of(&member(1)), Some(Role::Keeper));
    assert_eq!(roster.role_of(&member(2)), None);
    assert_eq!(roster.member_by_transport(&device(1).transport), Some((&device(1), Role::Keeper)));
    assert!(roster.needs_epoch());
}

#[test]
fn a_bad_founding_is_refused() {
    let good = found([0; 16], "Friends".into(), b"root", device(1));
    let bad = [
        Statement { circle: CircleId([1; 32]), ..good.clone() },
        Statement { author: member(2), ..good.clone() },
        Statement { heads: vec![StatementHash([1; 32])], ..good.clone() },
        Statement { saying: remove(1), ..good.clone() },
    ];
    for statement in bad {
        assert!(matches!(Roster::new(sealed(statement)), Err(RosterError::Malformed(_))));
    }
    let mut roster = circle();
    let again = roster.say(member(1), [9; 16], good.saying.clone());
    assert!(matches!(roster.add(sealed(again)), Err(RosterError::Malformed(_))));
    let other = sealed(found([7; 16], "Other".into(), b"root", device(1)));
    assert!(matches!(roster.add(other), Err(RosterError::OtherCircle(_))));
    assert!(Roster::load(Vec::new()).is_err());
}

#[test]
fn keepers_say_and_others_may_not() {
    let mut roster = circle();
    say(&mut roster, 1, admit(2, Role::Member)).unwrap();
    say(&mut roster, 1, admit(3, Role::Reader)).unwrap();
    say(&mut roster, 1, admit(4, Role::Cache)).unwrap();
    for author in [2, 3, 4, 9] {
        for saying in [admit(5, Role::Cache), change(2, Role::Keeper), remove(1)] {
            let refused = say(&mut roster, author, saying);
            assert_eq!(refused, Err(RosterError::NotEntitled(member(author), Role::Keeper)));
        }
    }
    for author in [3, 4, 9] {
        let saying = epoch(&roster);
        assert_eq!(say(&mut roster, author, saying), Err(RosterError::NotEntitled(member(author), Role::Member)));
    }
    let saying = epoch(&roster);
    let started = say(&mut roster, 2, saying).unwrap();
    assert_eq!(roster.current_epoch(), Some(started.hash));
    assert_eq!(roster.epoch(&started.hash).unwrap().author, member(2));
    say(&mut roster, 1, change(2, Role::Keeper)).unwrap();
    say(&mut roster, 2, admit(5, Role::Member)).unwrap();
    assert_eq!(ids(&roster), [1, 2, 3, 4, 5]);
    assert_eq!(say(&mut roster, 2, change(9, Role::Reader)), Err(RosterError::UnknownMember(member(9))));
    assert_eq!(say(&mut roster, 2, remove(9)), Err(RosterError::UnknownMember(member(9))));
}

#[test]
fn a_forged_author_is_refused() {
    let verify = |key: &MemberKey, bytes: &[u8], signature: &[u8; 64]| {
        let key = VerifyingKey::from_bytes(&key.0);
        key.is_ok_and(|key| key.verify(bytes, &Signature::from_bytes(signature)).is_ok())
    };
    let (keeper, stranger) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
    let key = MemberKey(keeper.verifying_key().to_bytes());
    let device = Device { member: key, ..device(1) };
    let founding = found([0; 16], "Friends".into(), b"root", device).sign(|b| keeper.sign(b).to_bytes());
    let founding = SignedStatement::decode(founding.bytes, verify).unwrap();
    let mut roster = Roster::new(founding).unwrap();
    let forged = roster.say(key, [1; 16], admit(2, Role::Keeper)).sign(|b| stranger.sign(b).to_bytes());
    let decoded = SignedStatement::decode(forged.bytes, verify);
    assert_eq!(decoded, Err(WireError::Signature("a roster statement")));
    let own = MemberKey(stranger.verifying_key().to_bytes());
    let own = roster.say(own, [1; 16], admit(2, Role::Keeper)).sign(|b| stranger.sign(b).to_bytes());
    let own = SignedStatement::decode(own.bytes, verify).unwrap();
    assert!(matches!(roster.add(own), Err(RosterError::NotEntitled(..))));
}

#[test]
fn removal_is_final_and_a_key_is_admitted_once() {
    let mut roster = circle();
    say(&mut roster, 1, admit(2, Role::Keeper)).unwrap();
    assert_eq!(say(&mut roster, 1, admit(2, Role::Reader)), Err(RosterError::KeyUsed(member(2))));
    let twin = Device { member: member(3), ..device(2) };
    let twin = Saying::Admit { device: twin, role: Role::Reader, parcel: None };
    assert_eq!(say(&mut roster, 1, twin.clone()), Err(RosterError::TransportUsed(device(2).transport)));
    say(&mut roster, 1, remove(2)).unwrap();
    assert_eq!(roster.role_of(&member(2)), None);
    assert_eq!(roster.member_by_transport(&device(2).transport), None);
    assert!(!roster.allowed_transports().contains(&device(2).transport));
    assert_eq!(roster.name_of(&member(2)), Some("box 2"));
    assert_eq!(say(&mut roster, 1, admit(2, Role::Reader)), Err(RosterError::KeyUsed(member(2))));
    assert_eq!(say(&mut roster, 1, twin), Err(RosterError::TransportUsed(device(2).transport)));
    assert_eq!(say(&mut roster, 1, change(2, Role::Keeper)), Err(RosterError::UnknownMember(member(2))));
    assert!(matches!(say(&mut roster, 2, remove(1)), Err(RosterError::NotEntitled(..))));
}

#[test]
fn removal_beats_what_the_removed_keeper_said_unseen() {
    let mut a = circle();
    say(&mut a, 1, admit(2, Role::Keeper)).unwrap();
    say(&mut a, 1, admit(3, Role::Member)).unwrap();
    let mut b = a.clone();
    say(&mut a, 1, remove(2)).unwrap();
    say(&mut b, 2, admit(4, Role::Keeper)).unwrap();
    say(&mut b, 2, change(3, Role::Cache)).unwrap();
    say(&mut b, 4, admit(5, Role::Keeper)).unwrap();
    say(&mut b, 5, remove(1)).unwrap();
    let unseen = epoch(&b);
    let unseen = say(&mut b, 4, unseen).unwrap();
    join(&mut a, &mut b);
    assert_eq!(ids(&a), [1, 3]);
    assert_eq!(a.role_of(&member(3)), Some(Role::Member));
    assert!(!a.epoch(&unseen.hash).unwrap().effective);
    // The key whose admission had no effect may be admitted by somebody else, and may be removed before it is.
    say(&mut a, 1, admit(4, Role::Reader)).unwrap();
    say(&mut a, 1, remove(5)).unwrap();
    assert!(matches!(say(&mut a, 1, admit(5, Role::Reader)), Err(RosterError::KeyUsed(_))));
    assert_eq!(ids(&a), [1, 3, 4]);
}

#[test]
fn of_two_keepers_that_remove_each_other_the_longer_serving_stays() {
    let mut a = circle();
    say(&mut a, 1, admit(3, Role::Keeper)).unwrap();
    say(&mut a, 1, admit(2, Role::Keeper)).unwrap();
    for (senior, junior) in [(1, 3), (3, 2), (1, 2)] {
        for strikes in [[remove(junior), remove(senior)], [change(junior, Role::Reader), remove(senior)]] {
            let [of_senior, of_junior] = strikes;
            let (mut x, mut y) = (a.clone(), a.clone());
            say(&mut x, senior, of_senior).unwrap();
            say(&mut y, junior, of_junior).unwrap();
            say(&mut y, junior, admit(9, Role::Member)).unwrap();
            join(&mut x, &mut y);
            assert_eq!(x.role_of(&member(senior)), Some(Role::Keeper));
            assert!(x.role_of(&member(junior)).is_none_or(|role| role == Role::Reader));
            assert_eq!(x.role_of(&member(9)), None);
        }
    }
    // A ring: 1 removes 3, 3 removes 2, 2 removes 1. Only 3's is struck by a longer serving keeper.
    let [mut x, mut y, mut z] = [a.clone(), a.clone(), a.clone()];
    say(&mut x, 1, remove(3)).unwrap();
    say(&mut y, 3, remove(2)).unwrap();
    say(&mut z, 2, remove(1)).unwrap();
    join(&mut x, &mut y);
    join(&mut y, &mut z);
    assert_eq!(ids(&z), [2]);
}

#[test]
fn a_demotion_takes_what_was_said_unseen_and_a_promotion_answers_it() {
    let mut a = circle();
    say(&mut a, 1, admit(2, Role::Keeper)).unwrap();
    let mut b = a.clone();
    say(&mut a, 1, change(2, Role::Member)).unwrap();
    say(&mut b, 2, admit(3, Role::Member)).unwrap();
    let unseen = epoch(&b);
    let unseen = say(&mut b, 2, unseen).unwrap();
    join(&mut a, &mut b);
    assert_eq!(ids(&a), [1, 2]);
    assert!(a.epoch(&unseen.hash).unwrap().effective, "a member may start epochs");
    assert!(a.needs_epoch(), "but this one names somebody who is not in");
    assert!(matches!(say(&mut a, 2, admit(4, Role::Member)), Err(RosterError::NotEntitled(..))));
    say(&mut a, 1, change(2, Role::Keeper)).unwrap();
    say(&mut a, 2, admit(4, Role::Member)).unwrap();
    assert_eq!(ids(&a), [1, 2, 4]);
}

#[test]
fn of_concurrent_role_changes_the_lowest_holds() {
    let mut a = circle();
    say(&mut a, 1, admit(2, Role::Keeper)).unwrap();
    say(&mut a, 1, admit(3, Role::Reader)).unwrap();
    let mut b = a.clone();
    say(&mut a, 1, change(3, Role::Keeper)).unwrap();
    say(&mut b, 2, change(3, Role::Member)).unwrap();
    join(&mut a, &mut b);
    assert_eq!(a.role_of(&member(3)), Some(Role::Member));
    let mut b = a.clone();
    say(&mut a, 1, change(3, Role::Keeper)).unwrap();
    say(&mut b, 2, remove(3)).unwrap();
    join(&mut a, &mut b);
    assert_eq!(a.role_of(&member(3)), None);
}

#[test]
fn of_concurrent_admissions_of_one_key_one_counts() {
    let mut a = circle();
    say(&mut a, 1, admit(2, Role::Keeper)).unwrap();
    let mut b = a.clone();
    say(&mut b, 2, admit(8, Role::Cache)).unwrap();
    say(&mut a, 1, admit(3, Role::Reader)).unwrap();
    say(&mut b, 2, admit(3, Role::Keeper)).unwrap();
    let twin = Device { transport: device(8).transport, ..device(4) };
    say(&mut a, 1, Saying::Admit { device: twin, role: Role::Reader, parcel: None }).unwrap();
    join(&mut a, &mut b);
    assert_eq!(a.role_of(&member(3)), Some(Role::Reader), "the less deep admission counts");
    assert_eq!(a.role_of(&member(4)), None, "the transport key belongs to 8");
    assert_eq!(a.member_by_transport(&device(8).transport).unwrap().0, &device(8));
    say(&mut a, 1, remove(4)).unwrap();
}

#[test]
fn the_last_keeper_stays() {
    let mut a = circle();
    say(&mut a, 1, admit(2, Role::Member)).unwrap();
    assert_eq!(say(&mut a, 1, remove(1)), Err(RosterError::LastKeeper));
    assert_eq!(say(&mut a, 1, change(1, Role::Member)), Err(RosterError::LastKeeper));
    say(&mut a, 1, change(2, Role::Keeper)).unwrap();
    say(&mut a, 1, admit(3, Role::Keeper)).unwrap();
    say(&mut a, 1, remove(1)).unwrap();
    // Both that are left leave at once: the one that served longer stays, not the founder who left before.
    let mut b = a.clone();
    say(&mut a, 2, remove(2)).unwrap();
    say(&mut b, 3, remove(3)).unwrap();
    join(&mut a, &mut b);
    assert_eq!(ids(&a), [2]);
    // What was put aside does not keep it there for ever.
    say(&mut a, 2, admit(4, Role::Keeper)).unwrap();
    say(&mut a, 4, remove(2)).unwrap();
    assert_eq!(ids(&a), [4]);
    let (loaded, refused) = Roster::load(a.statements().cloned().collect()).unwrap();
    assert_eq!((summary(&loaded), refused), (summary(&a), Vec::new()));
}

#[test]
fn cuts_bound_what_a_removed_author_wrote() {
    let mut a = circle();
    say(&mut a, 1, admit(2, Role::Keeper)).unwrap();
    say(&mut a, 1, admit(3, Role::Member)).unwrap();
    say(&mut a, 1, admit(4, Role::Reader)).unwrap();
    let dot = |n: u8, incarnation, sequence| Dot { author: member(n), incarnation, sequence };
    let hash = |n: u8| CommitHash([n; 32]);
    assert_eq!(a.accepts(&dot(3, 0, 99), &hash(0)), Verdict::Accepted);
    assert_eq!(a.accepts(&dot(4, 0, 1), &hash(0)), Verdict::NotAllowed);
    assert_eq!(a.accepts(&dot(9, 0, 1), &hash(0)), Verdict::NotAllowed);
    assert_eq!(a.cuts_of(&member(3)), None);

    let mut b = a.clone();
    let cuts = vec![cut(0, 7, 70), cut(1, 5, 50), cut(2, 2, 20)];
    say(&mut a, 1, Saying::Remove { member: member(3), cuts }).unwrap();
    let cuts = vec![cut(0, 9, 90), cut(1, 4, 40), cut(1, 3, 30)];
    say(&mut b, 2, Saying::Role { member: member(3), role: Role::Reader, cuts }).unwrap();
    join(&mut a, &mut b);
    assert_eq!(a.cuts_of(&member(3)), Some(vec![cut(0, 7, 70), cut(1, 3, 30)]));
    assert_eq!(a.accepts(&dot(3, 0, 6), &hash(1)), Verdict::Accepted);
    assert_eq!(a.accepts(&dot(3, 0, 7), &hash(70)), Verdict::Accepted);
    assert_eq!(a.accepts(&dot(3, 0, 7), &hash(71)), Verdict::WrongHash);
    assert_eq!(a.accepts(&dot(3, 0, 8), &hash(80)), Verdict::AboveCut);
    assert_eq!(a.accepts(&dot(3, 2, 1), &hash(1)), Verdict::AboveCut, "one of the two does not name this chain");
    assert_eq!(a.accepts(&dot(3, 5, 1), &hash(1)), Verdict::AboveCut);

    // A removal may be said again with a lower cut; a promotion lifts a demotion's cuts.
    say(&mut a, 1, Saying::Remove { member: member(3), cuts: vec![cut(0, 1, 10)] }).unwrap();
    assert_eq!(a.cuts_of(&member(3)), Some(vec![cut(0, 1, 10)]));
    say(&mut a, 1, change(2, Role::Reader)).unwrap();
    assert_eq!(a.accepts(&dot(2, 0, 1), &hash(1)), Verdict::AboveCut);
    say(&mut a, 1, change(2, Role::Member)).unwrap();
    assert_eq!(a.accepts(&dot(2, 0, 1), &hash(1)), Verdict::Accepted);
    assert_eq!(a.cuts_of(&member(2)), None);
    say(&mut a, 1, Saying::Remove { member: member(2), cuts: vec![cut(0, 4, 4)] }).unwrap();
    assert_eq!(a.accepts(&dot(2, 0, 4), &hash(4)), Verdict::Accepted, "the answered demotion cuts nothing");
}

#[test]
fn an_epoch_is_usable_while_nobody_else_knows_its_key() {
    let mut a = circle();
    say(&mut a, 1, admit(2, Role::Keeper)).unwrap();
    let saying = epoch(&a);
    let first = say(&mut a, 1, saying).unwrap().hash;
    assert_eq!((a.current_epoch(), a.needs_epoch()), (Some(first), false));
    // Whoever is admitted by one that knows an epoch is given its key: by pairing, not by the statement.
    say(&mut a, 1, admit(3, Role::Reader)).unwrap();
    say(&mut a, 1, admit(4, Role::Cache)).unwrap();
    assert_eq!(a.current_epoch(), Some(first));
    say(&mut a, 1, remove(4)).unwrap();
    assert_eq!(a.current_epoch(), Some(first), "a cache knew nothing");
    say(&mut a, 1, remove(3)).unwrap();
    assert!(a.needs_epoch(), "3 is no recipient, but was given the key");
    assert_eq!(a.recipients(), [member(1), member(2)]);

    // Both start one: the same wins everywhere, and both can be read.
    let mut b = a.clone();
    let saying = epoch(&a);
    let mine = say(&mut a, 1, saying.clone()).unwrap().hash;
    let yours = say(&mut b, 2, saying).unwrap().hash;
    join(&mut a, &mut b);
    assert_eq!(a.current_epoch(), Some(mine.max(yours)));
    assert_eq!(a.epochs().map(|epoch| epoch.number).collect::<Vec<_>>(), [1, 2, 2]);
    assert_eq!(a.next_epoch_number(), 3);

    // One who is promoted to read was given nothing; one whose admission was lost may have been.
    say(&mut a, 1, admit(5, Role::Cache)).unwrap();
    say(&mut a, 1, change(5, Role::Reader)).unwrap();
    assert!(a.needs_epoch());
    let saying = epoch(&a);
    let third = say(&mut a, 1, saying).unwrap().hash;
    assert_eq!(a.current_epoch(), Some(third));
    let mut b = a.clone();
    say(&mut a, 1, change(2, Role::Member)).unwrap();
    assert_eq!(a.current_epoch(), Some(third), "a demoted keeper still reads");
    say(&mut b, 2, admit(6, Role::Reader)).unwrap();
    join(&mut a, &mut b);
    assert_eq!(a.role_of(&member(6)), None);
    assert!(a.needs_epoch());
    let saying = epoch(&a);
    let fourth = say(&mut a, 2, saying).unwrap().hash;
    assert_eq!(a.current_epoch(), Some(fourth));
}

/// One keeper admitted a member while another removed one, or took the member itself for removed: nobody had given it
/// the key of the epoch that followed, and what was sealed under it stayed closed for good.
#[test]
fn an_epoch_that_somebody_was_never_given_is_handed_on_with_a_later_one() {
    let mut a = circle();
    for n in [2, 3] {
        say(&mut a, 1, admit(n, Role::Keeper)).unwrap();
    }
    let saying = epoch(&a);
    say(&mut a, 1, saying).unwrap();
    let mut b = a.clone();
    say(&mut a, 1, admit(4, Role::Reader)).unwrap();
    say(&mut b, 2, remove(3)).unwrap();
    let saying = epoch(&b);
    let missed = say(&mut b, 2, saying).unwrap().hash;
    join(&mut a, &mut b);
    let ids = |roster: &Roster, n| roster.not_given(&member(n)).iter().map(|epoch| epoch.id).collect::<Vec<_>>();
    assert_eq!(ids(&a, 4), [missed], "its admission brought the one before");
    assert_eq!((ids(&a, 1), ids(&a, 2)), (vec![], vec![]));
    let saying = epoch(&a);
    say(&mut a, 2, saying).unwrap();
    assert_eq!(ids(&a, 4), [], "whoever starts an epoch hands on what was missed");
}

#[test]
fn a_removal_elsewhere_ends_an_epoch_that_did_not_see_it() {
    let mut a = circle();
    for n in [2, 3, 4] {
        say(&mut a, 1, admit(n, Role::Keeper)).unwrap();
    }
    let mut b = a.clone();
    say(&mut a, 1, remove(3)).unwrap();
    say(&mut b, 2, remove(4)).unwrap();
    for roster in [&mut a, &mut b] {
        let saying = epoch(roster);
        say(roster, 2, saying).unwrap();
        assert!(!roster.needs_epoch());
    }
    join(&mut a, &mut b);
    assert!(a.needs_epoch());
}

#[test]
fn malformed_epochs_are_refused() {
    let mut roster = circle();
    say(&mut roster, 1, admit(2, Role::Reader)).unwrap();
    say(&mut roster, 1, admit(3, Role::Cache)).unwrap();
    let key = |n| KeyFor { member: member(n), sealed: Bytes2::new() };
    for (number, keys) in [
        (0, vec![key(1), key(2)]),
        (2, vec![key(1), key(2)]),
        (u64::MAX, vec![key(1), key(2)]),
        (1, vec![]),
        (1, vec![key(1)]),
        (1, vec![key(1), key(1), key(2)]),
        (1, vec![key(1), key(2), key(3)]),
        (1, vec![key(1), key(9)]),
    ] {
        let refused = say(&mut roster, 1, Saying::Epoch { number, suite: 1, keys });
        assert!(matches!(refused, Err(RosterError::Epoch(_))), "{number}");
    }
    say(&mut roster, 1, Saying::Epoch { number: 1, suite: 1, keys: vec![key(2), key(1)] }).unwrap();
}

#[test]
fn names_shown_are_never_alike() {
    let mut roster = circle();
    for (n, name) in [(2, "Ada"), (3, "Ada"), (4, "Ada (2)"), (5, "Ada")] {
        let device = Device { name: name.into(), ..device(n) };
        say(&mut roster, 1, Saying::Admit { device, role: Role::Reader, parcel: None }).unwrap();
    }
    say(&mut roster, 1, remove(2)).unwrap();
    let names: Vec<&str> = (2..6).map(|n| roster.name_of(&member(n)).unwrap()).collect();
    assert_eq!(names, ["Ada", "Ada (2)", "Ada (2) (2)", "Ada (3)"]);
}

#[test]
fn what_has_not_seen_its_past_waits_and_what_is_missing_is_told() {
    let mut a = circle();
    let mut b = a.clone();
    let first = say(&mut a, 1, admit(2, Role::Keeper)).unwrap();
    let second = say(&mut a, 2, admit(3, Role::Reader)).unwrap();
    assert_eq!(b.add(second.clone()), Ok(Added::Waiting));
    assert_eq!(b.bytes_of(&second.hash), None);
    assert_eq!(b.extend(vec![second.clone()]), (vec![], vec![(second.hash, None)]));
    assert_eq!(a.missing_from(&b.hashes()), [first.bytes.clone(), second.bytes.clone()]);
    assert_eq!(a.missing_from(&a.hashes()), Vec::<Bytes>::new());
    let both = vec![second.clone(), first.clone()];
    assert_eq!(b.extend(both), (vec![first.clone(), second.clone()], vec![]));
    assert_eq!(b.add(second), Ok(Added::Known));
    assert_eq!(summary(&a), summary(&b));

    let mut unordered = a.say(member(1), [1; 16], admit(4, Role::Reader));
    unordered.heads = vec![first.hash, first.hash];
    assert!(matches!(a.add(sealed(unordered)), Err(RosterError::Malformed(_))));
    let mut rootless = a.say(member(1), [1; 16], admit(4, Role::Reader));
    rootless.heads.clear();
    assert!(matches!(a.add(sealed(rootless)), Err(RosterError::NotEntitled(..))));
}

#[test]
fn members_and_statements_have_limits() {
    let mut roster = circle();
    let numbered = |n: usize| {
        let mut device = device(0);
        device.member.0[..8].copy_from_slice(&n.to_be_bytes());
        device.transport.0[..8].copy_from_slice(&n.to_be_bytes());
        Saying::Admit { device, role: Role::Keeper, parcel: None }
    };
    for n in 1..MEMBERS {
        say(&mut roster, 1, numbered(n)).unwrap();
    }
    assert_eq!(say(&mut roster, 1, numbered(MEMBERS)), Err(RosterError::TooManyMembers));
    let keeper = |n: usize| roster.members().nth(n).unwrap().device.member;
    let keepers: Vec<MemberKey> = (0..MEMBERS).map(keeper).collect();
    // Half of it in a row, half of it without having seen the others.
    let fork = roster.clone();
    let mut batch = Vec::new();
    for n in 0..STATEMENTS {
        let saying = Saying::Role { member: keepers[n % 7 + 1], role: Role::Keeper, cuts: Vec::new() };
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&n.to_be_bytes());
        let from = if n % 2 == 0 { &roster } else { &fork };
        let signed = sealed(from.say(keepers[n % 11], nonce, saying));
        if n % 2 == 0 && n < 512 {
            roster.add(signed).unwrap();
        } else {
            batch.push(signed);
        }
    }
    let (_, refused) = roster.extend(batch);
    assert_eq!(roster.hashes().len(), STATEMENTS);
    assert_eq!(refused.len(), 256 + MEMBERS - 256);
    assert!(refused.iter().all(|(_, why)| *why == Some(RosterError::Full)));
    let (loaded, refused) = Roster::load(roster.statements().cloned().collect()).unwrap();
    assert_eq!((summary(&loaded), refused), (summary(&roster), Vec::new()));
}
