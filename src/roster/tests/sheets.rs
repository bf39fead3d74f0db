//! Recovery sheets: what they may say, when they are out, and that they count as nobody.

use super::*;

/// Founded by 1, with 2 as a cache and 9 as a sheet that 1 printed.
fn printed() -> Roster {
    let mut roster = circle();
    say(&mut roster, 1, admit(2, Role::Cache)).unwrap();
    say(&mut roster, 1, sheet(9)).unwrap();
    let saying = epoch(&roster);
    say(&mut roster, 1, saying).unwrap();
    roster
}

#[test]
fn a_sheet_is_given_keys_and_counts_as_nobody() {
    let mut roster = printed();
    assert_eq!(roster.recipients(), [member(1), member(9)]);
    assert_eq!(roster.parcel_of(&member(9)), Some(&[9; 9][..]));
    assert_eq!(roster.parcel_of(&member(2)), None);
    assert_eq!(roster.sheets().map(|sheet| (&sheet.name[..], sheet.by)).collect::<Vec<_>>(), [("sheet 9", member(1))]);
    assert_eq!(roster.present().map(|member| member.device.member.0[0]).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(roster.sheet_transports(), [TransportKey([9; 32])].into());
    assert!(!roster.allowed_transports().contains(&TransportKey([9; 32])));
    assert!(roster.guest_transports().is_empty(), "it is no stock client");
    let dot = Dot { author: member(9), incarnation: 0, sequence: 1 };
    assert_eq!(roster.accepts(&dot, &CommitHash([1; 32])), Verdict::NotAllowed);
    assert_eq!(say(&mut roster, 1, remove(1)), Err(RosterError::LastKeeper), "no circle is left with a sheet alone");
    assert_eq!(say(&mut roster, 1, change(1, Role::Member)), Err(RosterError::LastKeeper));
}

#[test]
fn a_sheet_admits_one_box_and_is_out_with_that() {
    let mut roster = printed();
    say(&mut roster, 9, admit(3, Role::Keeper)).unwrap();
    assert_eq!((roster.role_of(&member(3)), roster.role_of(&member(9))), (Some(Role::Keeper), None));
    assert!(roster.sheet_transports().is_empty() && roster.removed_transports().contains(&TransportKey([9; 32])));
    assert!(roster.needs_epoch(), "whoever finds the sheet reads nothing that is written from now on");
    assert_eq!(roster.recipients(), [member(1), member(3)]);
    let refused = say(&mut roster, 9, admit(4, Role::Keeper));
    assert_eq!(refused, Err(RosterError::NotEntitled(member(9), Role::Keeper)));
    // The box is a keeper as any: it removes the one that it is there for.
    let saying = epoch(&roster);
    say(&mut roster, 3, saying).unwrap();
    say(&mut roster, 3, remove(1)).unwrap();
    assert_eq!(ids(&roster), [2, 3]);
}

#[test]
fn a_sheet_says_nothing_else_and_has_one_role() {
    let mut roster = printed();
    let epoch = epoch(&roster);
    let says =
        [admit(3, Role::Member), admit(3, Role::Cache), sheet(8), remove(2), remove(1), change(2, Role::Keeper), epoch];
    for saying in says {
        assert!(matches!(say(&mut roster, 9, saying.clone()), Err(RosterError::Sheet(_))), "{saying:?}");
    }
    assert!(matches!(say(&mut roster, 1, change(9, Role::Member)), Err(RosterError::Sheet(_))));
    let guest = Saying::Admit { device: Device::sheet("stock".into(), member(7)), role: Role::Cache, parcel: None };
    say(&mut roster, 1, guest).unwrap();
    assert_eq!(roster.sheets().count(), 1, "a stock client is none");
    assert_eq!(roster.guest_transports(), [TransportKey([7; 32])].into());
}

/// A cache that was away knows the sheet as it was.
#[test]
fn two_boxes_from_one_sheet_are_both_in() {
    let (mut a, mut b) = (printed(), printed());
    say(&mut a, 9, admit(3, Role::Keeper)).unwrap();
    say(&mut b, 9, admit(4, Role::Keeper)).unwrap();
    join(&mut a, &mut b);
    assert_eq!(ids(&a).len(), 4);
    assert_eq!((a.role_of(&member(3)), a.role_of(&member(4))), (Some(Role::Keeper), Some(Role::Keeper)));
    assert_eq!(a.role_of(&member(9)), None);
}

#[test]
fn a_removal_beats_what_a_sheet_says_unseen() {
    for struck in [9, 1] {
        let mut a = printed();
        say(&mut a, 1, admit(5, Role::Keeper)).unwrap();
        let mut b = a.clone();
        say(&mut a, 5, remove(struck)).unwrap();
        if struck == 1 {
            // As a node does: the sheets of whom it removes go with it.
            say(&mut a, 5, remove(9)).unwrap();
        }
        say(&mut b, 9, admit(3, Role::Keeper)).unwrap();
        join(&mut a, &mut b);
        assert_eq!((a.role_of(&member(3)), a.role_of(&member(9))), (None, None), "{struck} was removed");
        let refused = say(&mut a, 9, admit(4, Role::Keeper));
        assert_eq!(refused, Err(RosterError::NotEntitled(member(9), Role::Keeper)));
    }
}

#[test]
fn a_removal_that_saw_the_new_box_leaves_it_in() {
    let mut roster = printed();
    say(&mut roster, 9, admit(3, Role::Keeper)).unwrap();
    say(&mut roster, 3, remove(9)).unwrap();
    say(&mut roster, 3, remove(1)).unwrap();
    assert_eq!(ids(&roster), [2, 3]);
}

/// Who finds a used sheet, and has a roster from before, is a keeper of nothing, however much it says.
#[test]
fn a_used_sheet_that_was_removed_admits_nobody_by_an_older_roster() {
    for removes in [9, 1] {
        let mut thief = printed();
        let mut a = thief.clone();
        say(&mut a, 1, admit(5, Role::Member)).unwrap();
        say(&mut a, 9, admit(3, Role::Keeper)).unwrap();
        say(&mut a, 3, remove(9)).unwrap();
        say(&mut thief, 9, admit(4, Role::Keeper)).unwrap();
        for n in 20..28 {
            say(&mut thief, 4, admit(n, Role::Keeper)).unwrap();
        }
        say(&mut thief, 4, remove(removes)).unwrap();
        let mut b = thief.clone();
        join(&mut a, &mut b);
        assert_eq!(ids(&a), [1, 2, 5, 3], "{removes} was removed");
        assert_eq!(a.role_of(&member(3)), Some(Role::Keeper));
        // It goes on, having seen all: nobody takes it.
        assert!(matches!(say(&mut a, 4, remove(3)), Err(RosterError::NotEntitled(..))));
        // Nor has what it said without having seen the removal any effect.
        say(&mut thief, 4, admit(30, Role::Keeper)).unwrap();
        join(&mut a, &mut thief);
        assert_eq!(ids(&a), [1, 2, 5, 3]);
    }
}

/// Two people recover by one sheet where they cannot hear of each other, and both boxes remove it: one stays.
#[test]
fn of_two_boxes_that_remove_their_sheet_the_one_that_knew_more_stays() {
    let mut a = printed();
    let mut b = a.clone();
    say(&mut b, 1, admit(5, Role::Member)).unwrap();
    say(&mut a, 9, admit(3, Role::Keeper)).unwrap();
    say(&mut a, 3, remove(9)).unwrap();
    say(&mut b, 9, admit(4, Role::Keeper)).unwrap();
    say(&mut b, 4, remove(9)).unwrap();
    join(&mut a, &mut b);
    assert_eq!(ids(&a), [1, 2, 5, 4]);
}

/// Who is removed and prints a sheet meanwhile does not come back by it.
#[test]
fn a_sheet_that_a_removed_keeper_printed_unseen_is_none() {
    let mut a = circle();
    say(&mut a, 1, admit(5, Role::Keeper)).unwrap();
    let mut b = a.clone();
    say(&mut a, 1, remove(5)).unwrap();
    say(&mut b, 5, sheet(9)).unwrap();
    say(&mut b, 9, admit(3, Role::Keeper)).unwrap();
    join(&mut a, &mut b);
    assert_eq!(ids(&a), [1]);
    assert_eq!(a.sheets().count(), 0);
}

#[test]
fn sheets_are_limited() {
    let mut roster = circle();
    for n in 0..SHEETS as u8 {
        say(&mut roster, 1, sheet(10 + n)).unwrap();
        say(&mut roster, 1, remove(10 + n)).unwrap();
    }
    assert_eq!(say(&mut roster, 1, sheet(99)), Err(RosterError::TooManySheets));
    say(&mut roster, 1, admit(2, Role::Keeper)).unwrap();
}
