//! Both machines against each other, and against those who should not come in.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::base::limits::{INVITE_TRIES, INVITE_TRIES_ALL, INVITES};
use crate::base::{CircleId, EpochId, Instant, MemberKey, TransportKey};
use crate::seal::MemberSecret;
use crate::seal::member::verify;
use crate::wire::statement::{Device, Role};

const CIRCLE: CircleId = CircleId([7; 32]);
const SECRET: [u8; 16] = [3; 16];
const EXPORTER: [u8; 32] = [8; 32];
const TIME: Duration = Duration::from_secs(600);
const START: Instant = Instant(1_000_000);

fn member(seed: u8) -> MemberSecret {
    MemberSecret::from_seed([seed; 32])
}

fn device(seed: u8) -> Device {
    Device { member: member(seed).public(), name: "Anna's box".into(), transport: TransportKey([seed; 32]) }
}

fn peer(seed: u8) -> Peer {
    Peer { transport: TransportKey([seed; 32]), exporter: EXPORTER }
}

fn text() -> InviteText {
    text_with(SECRET)
}

fn text_with(secret: [u8; 16]) -> InviteText {
    InviteText {
        addresses: vec!["192.0.2.7:4500".parse().expect("v4"), "[2001:db8::1]:4500".parse().expect("v6")],
        key: TransportKey([1; 32]),
        secret,
        minutes: 10,
        circle: Some("Friends".into()),
    }
}

fn welcome() -> Welcome {
    let key =
        EpochKey { epoch: EpochId::from_slice(&[4; 32]).expect("32"), number: 2, suite: 1, key: Secret([0xA7; 32]) };
    Welcome {
        circle: CIRCLE,
        statements: vec![Bytes::from_static(b"found"), Bytes::from_static(b"admit")],
        leaf: Bytes::from_static(b"leaf"),
        root_secret: Some(Secret([0xB8; 32])),
        epochs: vec![key],
        addresses: vec![Bytes::from_static(b"address")],
    }
}

fn inviter() -> Inviter {
    let mut inviter = Inviter::default();
    inviter.open(START, CIRCLE, Role::Member, TIME, SECRET).expect("the first invite");
    inviter
}

fn join(seed: u8, exporter: [u8; 32]) -> (Joiner, Bytes) {
    join_with(text(), seed, exporter)
}

fn join_with(invite: InviteText, seed: u8, exporter: [u8; 32]) -> (Joiner, Bytes) {
    Joiner::new(invite, device(seed), exporter, |message| member(seed).sign(message))
}

fn accepted(step: InviterStep) -> InviteId {
    match step {
        InviterStep::Accepted { circle, role, invite, .. } => {
            assert_eq!((circle, role), (CIRCLE, Role::Member));
            invite
        }
        InviterStep::Refuse { reason, .. } => panic!("refused: {reason}"),
    }
}

/// The reason, as the joiner reads it.
fn refused(joiner: Joiner, step: InviterStep) -> Refusal {
    match step {
        InviterStep::Refuse { reply, reason } => {
            assert_eq!(joiner.message(&reply), Err(PairError::Refused(reason)));
            reason
        }
        InviterStep::Accepted { .. } => panic!("accepted"),
    }
}

#[test]
fn a_friend_joins_and_may_come_again() {
    let mut inviter = inviter();
    let (joiner, message) = join(2, EXPORTER);
    let step = inviter.message(START, &peer(2), &message, verify);
    let InviterStep::Accepted { device: who, .. } = &step else { panic!("{step:?}") };
    assert_eq!(*who, device(2));
    let id = accepted(step);
    let reply = inviter.welcome(&id, &EXPORTER, &welcome()).expect("a reply");
    assert_eq!(joiner.message(&reply), Ok(welcome()));

    // The reply was lost: the same device comes again, over another connection.
    let later = START + Duration::from_secs(30);
    let (joiner, message) = join(2, [9; 32]);
    let again = Peer { exporter: [9; 32], ..peer(2) };
    let id = accepted(inviter.message(later, &again, &message, verify));
    let reply = inviter.welcome(&id, &[9; 32], &welcome()).expect("a reply");
    assert_eq!(joiner.message(&reply), Ok(welcome()));
    assert!(inviter.any_open(later));

    let (joiner, message) = join(4, EXPORTER);
    assert_eq!(refused(joiner, inviter.message(later, &peer(4), &message, verify)), Refusal::Used);
    inviter.arrived(&device(4).id());
    assert!(inviter.any_open(later));
    inviter.arrived(&device(2).id());
    assert!(!inviter.any_open(later));
    let (joiner, message) = join(2, EXPORTER);
    assert_eq!(refused(joiner, inviter.message(later, &peer(2), &message, verify)), Refusal::Used);
}

#[test]
fn an_invite_is_spent_by_success_only() {
    let mut inviter = inviter();
    let (_, message) = join(2, EXPORTER);
    let id = accepted(inviter.message(START, &peer(2), &message, verify));
    let (joiner, other) = join(4, EXPORTER);
    assert_eq!(refused(joiner, inviter.message(START, &peer(4), &other, verify)), Refusal::Used);
    inviter.release(&id);
    assert_eq!(inviter.welcome(&id, &EXPORTER, &welcome()), Err(PairError::NotAccepted));
    accepted(inviter.message(START, &peer(4), &other, verify));
    inviter.welcome(&id, &EXPORTER, &welcome()).expect("a reply");
    inviter.release(&id);
    let (joiner, message) = join(2, EXPORTER);
    assert_eq!(refused(joiner, inviter.message(START, &peer(2), &message, verify)), Refusal::Used);
}

#[test]
fn an_invite_ends_with_its_time() {
    let mut inviter = inviter();
    assert_eq!(inviter.poll_timeout(START), Some(START + TIME));
    let (joiner, message) = join(2, EXPORTER);
    let end = START + TIME;
    assert!(inviter.any_open(Instant(end.0 - 1)));
    assert!(!inviter.any_open(end));
    assert_eq!(inviter.poll_timeout(end), None);
    assert_eq!(refused(joiner, inviter.message(end, &peer(2), &message, verify)), Refusal::Ended);
}

#[test]
fn an_unknown_invite_is_refused() {
    let (joiner, message) = join_with(text_with([5; 16]), 2, EXPORTER);
    assert_eq!(refused(joiner, inviter().message(START, &peer(2), &message, verify)), Refusal::Unknown);
    let (joiner, message) = join(2, EXPORTER);
    let mut restarted = Inviter::default();
    assert_eq!(refused(joiner, restarted.message(START, &peer(2), &message, verify)), Refusal::Unknown);
}

#[test]
fn a_man_in_the_middle_gets_nothing() {
    // He passes the joiner's message on over his own connection to the inviter, which has another exporter.
    let (joiner, message) = join(2, [66; 32]);
    assert_eq!(refused(joiner, inviter().message(START, &peer(2), &message, verify)), Refusal::Wrong);
    // He terminates TLS with a key of his own, and happens on the exporter.
    let (joiner, message) = join(2, EXPORTER);
    assert_eq!(refused(joiner, inviter().message(START, &peer(66), &message, verify)), Refusal::Wrong);
    // Who has the secret cannot bring in a transport key that is not the connection's, though his member key says so.
    let claim = message::signed_by_joiner(&EXPORTER, &peer(66).transport);
    let (joiner, message) = Joiner::new(text(), device(2), EXPORTER, |_| member(2).sign(&claim));
    assert_eq!(refused(joiner, inviter().message(START, &peer(66), &message, verify)), Refusal::Wrong);
    // He puts a member key of his own beside the joiner's proof.
    let (joiner, message) = Joiner::new(text(), device(2), EXPORTER, |message| member(66).sign(message));
    assert_eq!(refused(joiner, inviter().message(START, &peer(2), &message, verify)), Refusal::Wrong);
    // He answers in the inviter's place without the secret, or with a welcome for another connection.
    for (secret, exporter) in [([5; 16], EXPORTER), (SECRET, [66; 32])] {
        let mut his = Inviter::default();
        let id = his.open(START, CIRCLE, Role::Member, TIME, secret).expect("an invite of his");
        let peer = Peer { exporter, ..peer(2) };
        let (_, message) = join_with(text_with(secret), 2, exporter);
        accepted(his.message(START, &peer, &message, verify));
        let reply = his.welcome(&id, &exporter, &welcome()).expect("a reply");
        let (joiner, _) = join(2, EXPORTER);
        assert_eq!(joiner.message(&reply), Err(PairError::Impostor));
    }
}

#[test]
fn a_changed_welcome_is_not_believed() {
    let mut inviter = inviter();
    let (_, message) = join(2, EXPORTER);
    let id = accepted(inviter.message(START, &peer(2), &message, verify));
    let reply = inviter.welcome(&id, &EXPORTER, &welcome()).expect("a reply").to_vec();
    let at = reply.windows(4).position(|window| window == b"leaf").expect("the certificate");
    let mut changed = reply.clone();
    changed[at] ^= 1;
    assert_eq!(join(2, EXPORTER).0.message(&changed), Err(PairError::Impostor));
    for length in 0..reply.len() {
        assert!(matches!(join(2, EXPORTER).0.message(&reply[..length]), Err(PairError::Message(_))));
    }
}

#[test]
fn tries_are_limited() {
    let mut inviter = inviter();
    let (_, wrong) = join(2, [66; 32]);
    let (_, right) = join(2, EXPORTER);
    for _ in 0..INVITE_TRIES {
        let (joiner, _) = join(2, EXPORTER);
        assert_eq!(refused(joiner, inviter.message(START, &peer(2), &wrong, verify)), Refusal::Wrong);
    }
    let (joiner, _) = join(2, EXPORTER);
    let soon = START + Duration::from_secs(59);
    assert_eq!(refused(joiner, inviter.message(soon, &peer(2), &right, verify)), Refusal::Busy);
    accepted(inviter.message(START + Duration::from_secs(60), &peer(2), &right, verify));
}

#[test]
fn guesses_are_limited_and_do_not_lock_out_who_was_invited() {
    let mut inviter = inviter();
    let guess = |inviter: &mut Inviter, number: u32, now| {
        let mut secret = [0; 16];
        secret[..4].copy_from_slice(&number.to_be_bytes());
        let (joiner, message) = join_with(text_with(secret), 9, EXPORTER);
        refused(joiner, inviter.message(now, &peer(9), &message, verify))
    };
    for number in 0..INVITE_TRIES_ALL {
        assert_eq!(guess(&mut inviter, number, START), Refusal::Unknown);
    }
    assert_eq!(guess(&mut inviter, 99, START), Refusal::Busy);
    assert_eq!(guess(&mut inviter, 99, START + Duration::from_secs(60)), Refusal::Unknown);
    let (_, message) = join(2, EXPORTER);
    accepted(inviter.message(START, &peer(2), &message, verify));
}

#[test]
fn open_invites_are_limited() {
    let mut inviter = Inviter::default();
    for number in 0..INVITES as u8 {
        inviter.open(START, CIRCLE, Role::Reader, TIME, [number; 16]).expect("there is room");
    }
    assert_eq!(inviter.open(START, CIRCLE, Role::Reader, TIME, [99; 16]), Err(PairError::TooMany(INVITES)));
    inviter.open(START + TIME, CIRCLE, Role::Reader, TIME, [99; 16]).expect("the others have ended");
}

#[test]
fn a_welcome_has_limits() {
    let mut inviter = inviter();
    let (_, message) = join(2, EXPORTER);
    let id = accepted(inviter.message(START, &peer(2), &message, verify));
    let statement = Bytes::from(vec![0; 60_000]);
    let large = Welcome { statements: vec![statement.clone(); 34], ..welcome() };
    let (joiner, _) = join(2, EXPORTER);
    assert_eq!(joiner.message(&inviter.welcome(&id, &EXPORTER, &large).expect("it fits")), Ok(large));
    for too_large in [
        Welcome { statements: vec![statement; 35], ..welcome() },
        Welcome { statements: vec![Bytes::from(vec![0; 65_537])], ..welcome() },
        Welcome { leaf: Bytes::from(vec![0; 4_097]), ..welcome() },
        Welcome { addresses: vec![Bytes::new(); 257], ..welcome() },
    ] {
        assert!(matches!(
            inviter.welcome(&id, &EXPORTER, &too_large),
            Err(PairError::Message(WireError::OverLimit(..)))
        ));
    }
}

#[test]
fn other_versions_are_told() {
    let (_, message) = join(2, EXPORTER);
    let mut message = message.to_vec();
    assert!(message.ends_with(b"1:vi1ee"));
    let at = message.len() - 3;
    message[at] = b'2';
    let (joiner, _) = join(2, EXPORTER);
    assert_eq!(refused(joiner, inviter().message(START, &peer(2), &message, verify)), Refusal::Version);
    let newer = b"d1:r9:elsewhere1:vi2ee";
    assert_eq!(join(2, EXPORTER).0.message(newer), Err(PairError::Refused(Refusal::Version)));
    let newer = b"d1:p1:x1:vi2e1:w1:xe";
    let error = join(2, EXPORTER).0.message(newer);
    assert!(matches!(error, Err(PairError::Message(WireError::Version(_, 2)))), "{error:?}");
}

#[test]
fn secrets_are_not_printed() {
    let (joiner, _) = join(2, EXPORTER);
    let printed = format!("{:?} {:?} {:?} {:?}", text(), welcome(), inviter(), joiner);
    // Bytes of 3, 0xA7 and 0xB8 as lists of numbers or hex.
    for secret in ["3, 3", "0303", "167", "a7a7", "184", "b8b8"] {
        assert!(!printed.to_lowercase().contains(secret), "{secret} in {printed}");
    }
}

#[test]
fn the_text_of_an_invite() {
    let printed = text().text();
    assert!(printed.starts_with("dustfs1-"), "{printed}");
    assert!(printed.len() < 300, "{}", printed.len());
    assert_eq!(InviteText::parse(&printed), Ok(text()));
    let folded: String = printed.to_uppercase().chars().flat_map(|c| [c, '\n', ' ']).collect();
    assert_eq!(InviteText::parse(&folded), Ok(text()));
    for length in "dustfs1-".len()..printed.len() {
        assert_eq!(InviteText::parse(&printed[..length]), Err(PairError::Damaged), "{length}");
    }
    for at in "dustfs1-".len()..printed.len() {
        let other = if &printed[at..=at] == "a" { "b" } else { "a" };
        let mistyped = [&printed[..at], other, &printed[at + 1..]].concat();
        assert_eq!(InviteText::parse(&mistyped), Err(PairError::Damaged), "{at}");
    }
    for text in
        ["", "dustfs", "dustfs1", "hello", "dustfsx-aaaa", "dustfs0-aaaa", "dustfs99999999999-a", "http://dustfs1-a"]
    {
        assert_eq!(InviteText::parse(text), Err(PairError::NotInvite), "{text}");
    }
    assert_eq!(InviteText::parse("dustfs2-whatever"), Err(PairError::Newer(2)));
    assert_eq!(InviteText::parse(&"a".repeat(1_000_000)), Err(PairError::NotInvite));
}

#[test]
fn every_reason_reads_differently() {
    let mut words = std::collections::BTreeSet::new();
    let refusals = [
        Refusal::Used,
        Refusal::Ended,
        Refusal::Unknown,
        Refusal::Wrong,
        Refusal::Busy,
        Refusal::Version,
        Refusal::Malformed,
    ];
    let errors = [PairError::NotInvite, PairError::Damaged, PairError::Newer(2), PairError::Impostor];
    for error in refusals.map(PairError::Refused).into_iter().chain(errors) {
        assert!(words.insert(error.to_string()), "{error}");
    }
}

proptest! {
    #[test]
    fn texts_read_back(
        v4 in proptest::collection::vec(any::<(core::net::Ipv4Addr, u16)>(), 0..5),
        v6 in proptest::collection::vec(any::<(core::net::Ipv6Addr, u16)>(), 0..4),
        key: [u8; 32],
        secret: [u8; 16],
        minutes: u16,
    ) {
        let addresses = v4.into_iter().map(core::net::SocketAddr::from);
        let addresses = addresses.chain(v6.into_iter().map(|(ip, port)| (ip.to_canonical(), port).into())).collect();
        let text = InviteText { addresses, key: TransportKey(key), secret, minutes, circle: None };
        prop_assert_eq!(InviteText::parse(&text.text()), Ok(text));
    }

    #[test]
    fn garbage_never_panics(bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
        let lenient = |_: &MemberKey, _: &[u8], _: &[u8; 64]| true;
        let _ = InviteText::parse(&String::from_utf8_lossy(&bytes));
        let _ = InviteText::parse(&format!("dustfs1-{}", data_encoding::BASE32_NOPAD.encode(&bytes)));
        let _ = inviter().message(START, &peer(2), &bytes, lenient);
        let _ = join(2, EXPORTER).0.message(&bytes);
        let mut message = join(2, EXPORTER).1.to_vec();
        let at = at.index(message.len());
        message[at] = byte;
        let _ = inviter().message(START, &peer(2), &message, verify);
    }
}
