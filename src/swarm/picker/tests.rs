//! Pickers on drawn availability: `#` is a piece that is there, `.` one that is not.

use proptest::prelude::*;

use super::*;

const A: ConnId = ConnId(1);
const B: ConnId = ConnId(2);
const C: ConnId = ConnId(3);
const NOW: Instant = Instant(1_000_000);
/// Four blocks a piece.
const PIECE: u32 = 65_536;
const BLOCK: u32 = 16_384;

fn bits(drawn: &str) -> Bitfield {
    let mut bits = Bitfield::new(drawn.len() as u32);
    for (piece, _) in drawn.chars().enumerate().filter(|(_, mark)| *mark == '#') {
        bits.set(PieceIndex(piece as u32));
    }
    bits
}

fn has(drawn: &str) -> Has {
    Has::Some(bits(drawn))
}

fn picker(have: &str) -> Picker {
    let layout = Layout { length: u64::from(PIECE) * have.len() as u64, piece_length: PIECE };
    Picker::new(layout, &bits(have), 7)
}

fn plenty() -> Budget {
    Budget::new(1 << 40)
}

fn data(length: u32) -> Bytes {
    Bytes::from(vec![0; length as usize])
}

/// The pieces of the next `count` blocks that `source` is asked for.
fn picks(picker: &mut Picker, source: ConnId, drawn: &str, count: usize) -> Vec<u32> {
    let mut budget = plenty();
    let block = |_| picker.pick(NOW, source, &has(drawn), BLOCK, &mut budget).ok().map(|block| block.piece.0);
    (0..count).map_while(block).collect()
}

fn whole(picker: &mut Picker, budget: &mut Budget, source: ConnId, drawn: &str) -> PieceIndex {
    loop {
        let block = picker.pick(NOW, source, &has(drawn), BLOCK, budget).expect("there is a block");
        if let Received::Whole(..) = picker.receive(source, block, data(block.length)) {
            return block.piece;
        }
    }
}

#[test]
fn rarest_first() {
    let mut picker = picker("......");
    for drawn in ["####.#", "##.#.#", "#..#.#", "...#.."] {
        picker.joined(&has(drawn));
    }
    let order = picks(&mut picker, A, "######", 24);
    assert_eq!(order[..4], [4; 4], "nobody else has it");
    assert_eq!(order[4..8], [2; 4]);
    assert_eq!(order[8..12], [1; 4]);
    assert_eq!(order[20..], [3; 4], "everybody has it");
}

#[test]
fn availability_follows_gains_losses_and_leavers() {
    let mut picker = picker("...");
    picker.joined(&has("##."));
    picker.joined(&has("##."));
    picker.gained(PieceIndex(2));
    picker.gained(PieceIndex(2));
    picker.gained(PieceIndex(2));
    picker.lost(PieceIndex(1));
    assert_eq!(picks(&mut picker, A, "###", 12), [1, 1, 1, 1, 0, 0, 0, 0, 2, 2, 2, 2]);
    picker.abandon(A, &mut plenty());
    picker.left(&has("##."));
    picker.left(&has("..#"));
    assert_eq!(picker.pieces.iter().map(|piece| piece.availability).collect::<Vec<_>>(), [1, 0, 2]);
}

#[test]
fn ties_go_by_the_seed() {
    let orders: BTreeSet<Vec<u32>> = (0..8)
        .map(|seed| {
            let layout = Layout { length: u64::from(PIECE) * 12, piece_length: PIECE };
            picks(&mut Picker::new(layout, &Bitfield::new(12), seed), A, "############", 48)
        })
        .collect();
    assert!(orders.len() > 6);
}

#[test]
fn only_what_is_missing_and_the_source_has() {
    let mut picker = picker("#.#.#.#.");
    let mut order = picks(&mut picker, A, "####....", 99);
    order.dedup();
    order.sort_unstable();
    assert_eq!(order, [1, 3]);
    assert_eq!(picker.pick(NOW, A, &has("####...."), BLOCK, &mut plenty()), Err(Idle::Nothing));
    assert_eq!(picker.missing(), 4);
}

#[test]
fn each_source_goes_on_with_its_own_piece() {
    let mut picker = picker("........");
    let a = picks(&mut picker, A, "########", 1)[0];
    let b = picks(&mut picker, B, "########", 1)[0];
    assert_ne!(a, b);
    assert_eq!(picks(&mut picker, A, "########", 3), [a; 3]);
    assert_eq!(picks(&mut picker, B, "########", 3), [b; 3]);
}

#[test]
fn pieces_of_a_leaver_come_before_new_ones() {
    let mut picker = picker("........");
    let mut budget = plenty();
    let block = picker.pick(NOW, A, &has("########"), BLOCK, &mut budget).expect("all is missing");
    picker.pick(NOW, A, &has("########"), BLOCK, &mut budget).expect("all is missing");
    picker.receive(A, block, data(BLOCK));
    picker.abandon(A, &mut budget);
    assert_eq!(picks(&mut picker, B, "########", 3), [block.piece.0; 3], "what came is kept");
    assert_ne!(picks(&mut picker, B, "########", 1), [block.piece.0]);
}

#[test]
fn others_join_when_nothing_new_is_left() {
    let mut picker = picker("#.##");
    assert_eq!(picks(&mut picker, A, "####", 1), [1]);
    assert_eq!(picks(&mut picker, B, "####", 9), [1, 1, 1]);
    assert!(picker.is_exhausted());
    assert_eq!(picker.pending().count(), 4);
}

#[test]
fn deadlines_first() {
    let mut picker = picker("........");
    let rarest = picks(&mut picker, A, "########", 1)[0];
    let urgent: Vec<u32> = (0..8).filter(|piece| *piece != rarest).take(3).collect();
    picker.urge(PieceIndex(urgent[0]), Instant(9_000_000));
    picker.urge(PieceIndex(urgent[1]), Instant(8_000_000));
    picker.urge(PieceIndex(urgent[2]), Instant(7_000_000));
    picker.urge(PieceIndex(urgent[0]), Instant(1_000_000));
    picker.urge(PieceIndex(urgent[1]), Instant(9_900_000));
    let mut order = picks(&mut picker, A, "########", 15);
    assert_eq!(order.len(), 15);
    order.dedup();
    assert_eq!(order, [urgent[0], urgent[2], urgent[1], rarest], "the earlier of two deadlines counts");
}

#[test]
fn deadlines_pass() {
    let mut picker = picker("..");
    picker.urge(PieceIndex(0), Instant(5));
    picker.urge(PieceIndex(1), Instant(10));
    picker.expire(Instant(6));
    assert_eq!(picker.choose_due(A, &has("##"), &plenty()), Some(PieceIndex(1)));
    picker.expire(Instant(11));
    assert!(!picker.is_urgent());
    assert_eq!(picker.choose_due(A, &has("##"), &plenty()), None);
    picker.urge(PieceIndex(77), NOW);
    assert!(!picker.is_urgent(), "there is no such piece");
}

#[test]
fn a_full_budget_begins_no_piece_but_for_readers() {
    let mut picker = picker("........");
    let mut budget = Budget::new(2 * u64::from(PIECE));
    for _ in 0..8 {
        picker.pick(NOW, A, &has("########"), BLOCK, &mut budget).expect("two pieces fit");
    }
    assert_eq!(picker.pick(NOW, A, &has("########"), BLOCK, &mut budget), Err(Idle::Later));
    let piece = *picker.fresh.iter().map(|(_, _, piece)| piece).next_back().expect("six are left");
    picker.urge(piece, NOW);
    assert_eq!(picker.pick(NOW, A, &has("########"), BLOCK, &mut budget).map(|block| block.piece), Ok(piece));
    picker.close(&mut budget);
    assert_eq!(budget.used(), 0);
}

#[test]
fn blocks_are_as_long_as_their_piece_was_begun_with() {
    let layout = Layout { length: 70_000, piece_length: PIECE };
    let mut picker = Picker::new(layout, &Bitfield::new(2), 1);
    let mut budget = plenty();
    let mut blocks: Vec<Block> =
        std::iter::from_fn(|| picker.pick(NOW, A, &Has::All, PIECE, &mut budget).ok()).collect();
    blocks.sort();
    let block = |piece, length| Block { piece: PieceIndex(piece), begin: 0, length };
    assert_eq!(blocks, [block(0, PIECE), block(1, 70_000 - PIECE)]);
}

#[test]
fn a_block_that_was_asked_of_two_is_taken_from_the_first_that_brings_it() {
    let mut picker = picker(".");
    let mut budget = plenty();
    let block = picker.pick(NOW, A, &Has::All, BLOCK, &mut budget).expect("all is missing");
    assert_eq!(picker.pending().map(|pending| pending.source).collect::<Vec<_>>(), [A]);
    picker.duplicate(NOW, B, block);
    assert_eq!(picker.pending().count(), 0, "two are enough");
    assert_eq!(picker.receive(B, block, data(BLOCK)), Received::Kept(Some(A)));
    assert_eq!(picker.receive(A, block, data(BLOCK)), Received::Unneeded);
    assert_eq!(picker.missing_bytes(), u64::from(PIECE - BLOCK));

    let block = picker.pick(NOW, A, &Has::All, BLOCK, &mut budget).expect("three are missing");
    picker.duplicate(NOW, B, block);
    assert!(picker.release(A, block));
    assert!(!picker.release(A, block));
    assert!(!picker.release(C, block));
    assert_eq!(picker.pending().map(|pending| pending.source).collect::<Vec<_>>(), [B]);
    assert_eq!(picker.receive(A, block, data(BLOCK)), Received::Kept(Some(B)), "late, and still good");
}

#[test]
fn one_source_of_a_bad_piece_is_named_and_several_are_not() {
    let mut picker = picker("#.");
    let mut budget = plenty();
    let piece = whole(&mut picker, &mut budget, A, "##");
    assert_eq!(picker.refuse(piece, &mut budget), Some(A));

    let block = picker.pick(NOW, A, &has("##"), BLOCK, &mut budget).expect("it is missing again");
    picker.receive(A, block, data(BLOCK));
    assert_eq!(picker.pick(NOW, B, &has("##"), BLOCK, &mut budget), Err(Idle::Nothing), "it must come from one");
    assert_eq!(picker.pending().count(), 0);
    picker.abandon(A, &mut budget);
    assert_eq!(picker.missing_bytes(), u64::from(PIECE), "nothing of the leaver's is kept");
    assert_eq!(whole(&mut picker, &mut budget, B, "##"), piece);
    assert!(picker.keep(piece, &mut budget));
    assert!(!picker.keep(piece, &mut budget));
    assert_eq!((picker.missing(), picker.missing_bytes(), budget.used()), (0, 0, 0));
}

/// Its source had told that it has the piece, and refuses it: nobody else would ever be asked.
#[test]
fn a_piece_that_must_come_from_one_source_goes_on_with_another_where_that_refuses() {
    let mut picker = picker("#.");
    let mut budget = plenty();
    let piece = whole(&mut picker, &mut budget, C, "##");
    picker.refuse(piece, &mut budget);
    let [first, second, third] =
        [(); 3].map(|()| picker.pick(NOW, A, &has("##"), BLOCK, &mut budget).expect("missing"));
    picker.receive(A, first, data(BLOCK));
    for refused in [second, third] {
        assert_eq!(picker.pick(NOW, B, &has("##"), BLOCK, &mut budget), Err(Idle::Nothing), "one may still come");
        picker.release(A, refused);
        picker.pass_on(A, piece, &mut budget);
    }
    assert_eq!(picker.missing_bytes(), u64::from(PIECE), "nothing of the first's is kept");
    assert_eq!(whole(&mut picker, &mut budget, B, "##"), piece);
    assert!(picker.keep(piece, &mut budget));
    assert_eq!((picker.missing_bytes(), budget.used()), (0, 0));
}

#[test]
fn a_bad_piece_of_two_blames_neither() {
    let mut picker = picker(".");
    let mut budget = plenty();
    for source in [A, B, A, B] {
        let block = picker.pick(NOW, source, &Has::All, BLOCK, &mut budget).expect("it is missing");
        picker.receive(source, block, data(BLOCK));
    }
    assert_eq!(picker.refuse(PieceIndex(0), &mut budget), None);
    assert_eq!(budget.used(), 0);
    picker.want(PieceIndex(0));
    assert_eq!(picker.missing(), 1, "it was missing already");
}

#[test]
fn what_nobody_can_finish_is_dropped_when_memory_is_short() {
    let mut picker = picker("..");
    let mut budget = Budget::new(u64::from(PIECE));
    let block = picker.pick(NOW, A, &has("##"), BLOCK, &mut budget).expect("all is missing");
    picker.receive(A, block, data(BLOCK));
    picker.drop_unreachable(&mut budget, |_| true);
    assert_eq!(budget.used(), u64::from(PIECE));
    picker.drop_unreachable(&mut budget, |_| false);
    assert_eq!((budget.used(), picker.missing_bytes()), (0, 2 * u64::from(PIECE)));
}

/// What the opening of the module says always holds.
fn check(picker: &Picker, budget: &Budget) {
    let fresh = picker.layout.pieces().filter(|piece| picker.pieces[piece.0 as usize].state == State::Fresh);
    let keyed = fresh.map(|piece| (picker.pieces[piece.0 as usize].availability, tie(picker.seed, piece), piece));
    assert_eq!(picker.fresh, keyed.collect());
    let mut open = BTreeSet::new();
    for (piece, started) in &picker.started {
        let count = |wanted: fn(&Slot) -> bool| started.slots.iter().filter(|slot| wanted(slot)).count();
        assert_eq!(started.free, count(|slot| matches!(slot, Slot::Free)));
        assert_eq!(started.got, count(|slot| matches!(slot, Slot::Got(..))));
        if started.free > 0 {
            open.insert((started.owner, *piece));
        }
        assert_eq!(picker.pieces[piece.0 as usize].state, State::Started);
    }
    assert_eq!(picker.open, open);
    let can_be_asked = |piece: &PieceIndex| {
        open.iter().any(|(_, open)| open == piece) || picker.pieces[piece.0 as usize].state == State::Fresh
    };
    let due = picker.deadlines.iter().filter(|(piece, _)| can_be_asked(piece)).map(|(piece, by)| (*by, *piece));
    assert_eq!(picker.due, due.collect());
    let states = |wanted: fn(&State) -> bool| picker.pieces.iter().filter(|piece| wanted(&piece.state)).count();
    assert_eq!(picker.missing as usize, states(|state| *state != State::Kept));
    let in_memory = states(|state| matches!(state, State::Started | State::Storing(_)));
    assert_eq!(budget.used(), in_memory as u64 * u64::from(PIECE));
    let got: usize = picker.started.values().map(|started| started.got).sum();
    let whole = states(|state| matches!(state, State::Fresh | State::Started)) as u64 * u64::from(PIECE);
    assert_eq!(picker.missing_bytes, whole - got as u64 * u64::from(BLOCK));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn its_indices_agree_whatever_happens(steps in prop::collection::vec((0..12u8, 1..4u64, 0..6u32), 0..200)) {
        let mut picker = picker("..#...");
        let mut budget = Budget::new(3 * u64::from(PIECE));
        let mut asked: Vec<(ConnId, Block)> = Vec::new();
        for (step, source, number) in steps {
            let (source, piece) = (ConnId(source), PieceIndex(number));
            match step {
                0..4 => {
                    if let Ok(block) = picker.pick(NOW, source, &has("#####."), BLOCK, &mut budget) {
                        asked.push((source, block));
                    }
                }
                4..6 if !asked.is_empty() => {
                    let (source, block) = asked.remove(number as usize % asked.len());
                    picker.receive(source, block, data(BLOCK));
                }
                6 if !asked.is_empty() => {
                    let (source, block) = asked[number as usize % asked.len()];
                    picker.release(source, block);
                }
                7 => picker.abandon(source, &mut budget),
                8 => { picker.refuse(piece, &mut budget); }
                9 => { picker.keep(piece, &mut budget); }
                10 => { picker.want(piece); picker.gained(piece); }
                11 => { picker.urge(piece, Instant(source.0)); picker.expire(Instant(u64::from(number) / 2)); }
                _ => {
                    let late: Vec<Pending> = picker.pending().collect();
                    late.iter().for_each(|late| picker.duplicate(NOW, source, late.block));
                    picker.drop_unreachable(&mut budget, |held| held != piece);
                }
            }
            check(&picker, &budget);
        }
    }
}
