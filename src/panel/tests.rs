//! The panel under fingers: every length of hold, bounces, taps, and what an onlooker reads from the LED alone.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::base::Instant;

/// A panel, its clock, and somebody who looks at the LED.
struct Rig {
    panel: Panel,
    now: Instant,
    light: (Instant, Light),
    /// When the LED turned on (true) and off.
    seen: Vec<(Instant, bool)>,
    gestures: Vec<Gesture>,
}

impl Rig {
    fn new(state: State) -> Self {
        let light = (Instant(0), Light::steady(Glow::Dark));
        let mut rig =
            Self { panel: Panel::new(), now: Instant(0), light, seen: vec![(Instant(0), false)], gestures: vec![] };
        rig.tell(Input::Show(state));
        rig
    }

    fn tell(&mut self, input: Input) {
        self.panel.handle(self.now, input);
        self.gestures.extend(std::iter::from_fn(|| self.panel.poll_gesture()));
        if let Some(light) = self.panel.poll_light() {
            self.light = (self.now, light);
        }
        self.look();
    }

    fn look(&mut self) -> Option<Duration> {
        let (glow, stays) = self.light.1.at(self.now.since(self.light.0));
        let lit = glow != Glow::Dark;
        if self.seen.last().is_some_and(|last| last.1 != lit) {
            self.seen.push((self.now, lit));
        }
        stays
    }

    /// Time goes on; timeouts are told as they come.
    fn wait_ms(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        loop {
            let stays = self.look().map(|stays| self.now + stays);
            let next = self.panel.poll_timeout().into_iter().chain(stays).min().filter(|next| *next <= end);
            let Some(next) = next else { break };
            assert!(next >= self.now, "a timeout in the past: {next:?} at {:?}", self.now);
            self.now = next;
            if self.panel.poll_timeout().is_some_and(|due| due <= next) {
                let before = self.panel.poll_timeout();
                self.tell(Input::Tick);
                assert!(self.panel.poll_timeout() != before, "a timeout that stays due");
            }
        }
        self.now = end;
        self.look();
    }

    fn key(&mut self, key: Key, down: bool) {
        self.tell(Input::Key { key, down });
    }

    fn hold(&mut self, key: Key, ms: u64) {
        self.key(key, true);
        self.wait_ms(ms);
        self.key(key, false);
        self.wait_ms(50);
    }

    /// A serial panel that repeats its byte while the key is held.
    fn strokes(&mut self, key: Key, ms: u64) {
        for _ in 0..=ms / 100 {
            self.tell(Input::Stroke { key });
            self.wait_ms(100);
        }
        self.wait_ms(400);
    }

    fn tap(&mut self) {
        self.tell(Input::Stroke { key: Key::Button });
    }

    fn gestures(&mut self) -> Vec<Gesture> {
        std::mem::take(&mut self.gestures)
    }

    fn flickers(&self) -> bool {
        self.light.1 == Rhythm::refused()
    }
}

/// Reads codes from when the LED turned on and off, by the constants of `blink` alone.
fn codes(seen: &[(Instant, bool)]) -> Vec<Vec<u8>> {
    let mut codes: Vec<Vec<u8>> = Vec::new();
    let mut digit = 0;
    for pair in seen.windows(2) {
        let (ms, lit) = (pair[1].0.since(pair[0].0).as_millis() as u64, pair[0].1);
        match lit {
            true if ms >= u64::from(blink::LEAD_AT_MS) => codes.push(Vec::new()),
            true => digit += 1,
            false if ms >= u64::from(blink::GAP_AT_MS) && digit > 0 => {
                if let Some(code) = codes.last_mut() {
                    code.push(digit % 10);
                }
                digit = 0;
            }
            false => {}
        }
    }
    codes
}

/// Longer than any code takes.
const CODE_MS: u64 = 30_000;
const CODE: State = State::Code([4, 0, 7, 1]);

#[test]
fn each_length_of_a_hold_is_its_own_gesture() {
    use Gesture::*;
    let table = [
        (30, Some(Press)),
        (1_999, Some(Press)),
        (2_000, None),
        (3_999, None),
        (4_000, None),
        (4_999, None),
        (5_000, Some(ResetPassword)),
        (9_999, Some(ResetPassword)),
        (10_000, Some(LeaveCircle)),
        (19_999, Some(LeaveCircle)),
        (20_000, None),
        (3_600_000, None),
    ];
    for (ms, expected) in table {
        let mut rig = Rig::new(State::Ready);
        rig.key(Key::Button, true);
        rig.wait_ms(ms);
        assert_eq!(rig.gestures(), [], "{ms} ms: nothing before the key is let go");
        rig.key(Key::Button, false);
        assert_eq!(rig.gestures(), Vec::from_iter(expected), "{ms} ms");
        assert_eq!(rig.flickers(), expected.is_none(), "{ms} ms");
        rig.wait_ms(1_000);
        assert_eq!(rig.light.1, State::Ready.light(), "{ms} ms: the state shows again");
        assert_eq!(rig.panel.poll_timeout(), None, "{ms} ms: nothing is left to wait for");
    }
}

#[test]
fn the_reset_key_neither_presses_nor_confirms() {
    let table = [
        (100, None),
        (3_000, None),
        (6_000, Some(Gesture::ResetPassword)),
        (12_000, Some(Gesture::LeaveCircle)),
        (25_000, None),
    ];
    for (ms, expected) in table {
        let mut rig = Rig::new(CODE);
        rig.wait_ms(CODE_MS);
        rig.hold(Key::Reset, ms);
        assert_eq!(rig.gestures(), Vec::from_iter(expected), "{ms} ms");
    }
}

#[test]
fn the_power_key_acts_when_it_goes_down_and_only_then() {
    let mut rig = Rig::new(State::Ready);
    rig.key(Key::Power, true);
    assert_eq!(rig.gestures(), [Gesture::Shutdown]);
    rig.wait_ms(8_000);
    rig.key(Key::Power, false);
    assert_eq!(rig.gestures(), []);
    rig.tell(Input::Stroke { key: Key::Power });
    rig.wait_ms(200);
    rig.tell(Input::Stroke { key: Key::Power });
    rig.wait_ms(1_000);
    assert_eq!(rig.gestures(), [Gesture::Shutdown]);
    // An ACPI power button tells both edges in the same moment.
    rig.key(Key::Power, true);
    rig.key(Key::Power, false);
    rig.wait_ms(1_000);
    assert_eq!(rig.gestures(), [Gesture::Shutdown]);
}

#[test]
fn bounces_are_one_press_at_both_edges() {
    let mut rig = Rig::new(State::Ready);
    for down in [true, false, true, false, true] {
        rig.key(Key::Button, down);
        rig.wait_ms(3);
    }
    rig.wait_ms(6_000);
    assert_eq!(rig.gestures(), []);
    for down in [false, true, false, true, false] {
        rig.key(Key::Button, down);
        rig.wait_ms(3);
    }
    rig.wait_ms(1_000);
    assert_eq!(rig.gestures(), [Gesture::ResetPassword]);
    // Both edges inside the time of bounces are a press nevertheless, told at its end.
    rig.key(Key::Button, true);
    rig.wait_ms(5);
    rig.key(Key::Button, false);
    assert_eq!(rig.gestures(), []);
    rig.wait_ms(100);
    assert_eq!(rig.gestures(), [Gesture::Press]);
    // A hold that begins among the bounces of the press before it is as long as it was held.
    rig.key(Key::Button, true);
    rig.wait_ms(100);
    rig.key(Key::Button, false);
    rig.wait_ms(10);
    rig.key(Key::Button, true);
    rig.wait_ms(5_000);
    rig.key(Key::Button, false);
    assert_eq!(rig.gestures(), [Gesture::Press, Gesture::ResetPassword]);
    // An edge that was told twice, and a release without a press.
    rig.wait_ms(100);
    rig.key(Key::Button, false);
    rig.wait_ms(100);
    rig.key(Key::Button, true);
    rig.wait_ms(100);
    rig.key(Key::Button, true);
    rig.wait_ms(100);
    rig.key(Key::Button, false);
    assert_eq!(rig.gestures(), [Gesture::Press]);
}

#[test]
fn a_late_tick_changes_no_length() {
    let mut rig = Rig::new(CODE);
    // Nobody called since the code began: it was shown all the same.
    rig.now = rig.now + Duration::from_millis(CODE_MS);
    rig.key(Key::Button, true);
    rig.now = rig.now + Duration::from_millis(3_000);
    rig.key(Key::Button, false);
    assert_eq!(rig.gestures(), [Gesture::Confirm]);
}

#[test]
fn only_a_hold_after_the_whole_code_confirms() {
    let whole_ms = CODE.light().duration().as_millis() as u64 - u64::from(blink::GAP_MS);
    let mut rig = Rig::new(CODE);
    // Too early, by a millisecond.
    rig.wait_ms(whole_ms - 1);
    assert!(!rig.panel.code_shown());
    rig.hold(Key::Button, 3_000);
    assert_eq!(rig.gestures(), []);
    assert!(rig.flickers());
    // The key interrupted the code: it counts from its new start, after the flicker.
    rig.wait_ms(550 + whole_ms - 1);
    assert!(!rig.panel.code_shown());
    rig.wait_ms(1);
    assert!(rig.panel.code_shown());
    // Impatience, then a wrong length, then the right one.
    for ms in [100, 1_900, 4_100] {
        rig.hold(Key::Button, ms);
        rig.wait_ms(1_000);
    }
    assert_eq!(rig.gestures(), [Gesture::Press, Gesture::Press]);
    rig.hold(Key::Button, 2_500);
    assert_eq!(rig.gestures(), [Gesture::Confirm]);
    // Another code is another question, also when it comes during the hold.
    rig.key(Key::Button, true);
    rig.wait_ms(1_000);
    rig.tell(Input::Show(State::Code([1, 2, 3, 4])));
    rig.wait_ms(2_000);
    rig.key(Key::Button, false);
    assert_eq!(rig.gestures(), []);
}

#[test]
fn a_code_that_went_away_is_not_confirmed() {
    for other in [State::Ready, State::SignIn([1, 2]), State::PairingPaused] {
        let mut rig = Rig::new(CODE);
        rig.wait_ms(CODE_MS);
        rig.key(Key::Button, true);
        rig.wait_ms(1_000);
        rig.tell(Input::Show(other));
        rig.wait_ms(2_000);
        rig.key(Key::Button, false);
        assert_eq!(rig.gestures(), [], "{other:?}");
    }
}

#[test]
fn each_threshold_shows_while_the_key_is_held() {
    let mut rig = Rig::new(State::Ready);
    rig.wait_ms(5_000);
    rig.key(Key::Button, true);
    let began = rig.now;
    rig.wait_ms(25_000);
    let at = |ms: u64| {
        let when = began + Duration::from_millis(ms);
        rig.seen.iter().rev().find(|(since, _)| *since <= when).is_some_and(|(_, lit)| *lit)
    };
    assert!(!at(0) && !at(1_999) && at(2_000) && at(3_999) && !at(4_000) && !at(4_999));
    let quick = rig.seen.iter().filter(|(when, _)| (5_000..10_000).contains(&(when.since(began).as_millis())));
    assert_eq!(quick.count(), 50, "a blink each 200 ms");
    assert!(at(10_000) && at(19_999) && !at(20_000) && !at(25_000));
}

#[test]
fn a_run_of_strokes_is_a_hold() {
    let mut rig = Rig::new(State::Ready);
    rig.strokes(Key::Button, 1_000);
    assert_eq!(rig.gestures(), [Gesture::Press]);
    rig.strokes(Key::Button, 6_000);
    assert_eq!(rig.gestures(), [Gesture::ResetPassword]);
    rig.strokes(Key::Reset, 12_000);
    assert_eq!(rig.gestures(), [Gesture::LeaveCircle]);
    rig.tell(Input::Show(CODE));
    rig.strokes(Key::Button, 3_000);
    assert_eq!(rig.gestures(), [], "before the code was shown");
    rig.wait_ms(CODE_MS);
    rig.strokes(Key::Button, 3_000);
    assert_eq!(rig.gestures(), [Gesture::Confirm]);
}

#[test]
fn a_single_stroke_is_a_press_and_two_after_the_code_confirm() {
    let mut rig = Rig::new(State::Unpaired);
    rig.tap();
    rig.wait_ms(1_000);
    assert_eq!(rig.gestures(), [Gesture::Press]);
    rig.tell(Input::Show(CODE));
    rig.wait_ms(1_000);
    rig.tap();
    rig.wait_ms(2_500);
    rig.tap();
    rig.wait_ms(1_000);
    assert_eq!(rig.gestures(), [Gesture::Press, Gesture::Press], "the code was not shown yet");
    rig.wait_ms(CODE_MS);
    // The second comes too early: the code has to be shown again.
    rig.tap();
    rig.wait_ms(1_500);
    rig.tap();
    rig.wait_ms(10);
    assert!(rig.flickers() && !rig.panel.code_shown());
    rig.wait_ms(2_500);
    rig.tap();
    rig.wait_ms(2_500);
    assert_eq!(rig.gestures(), [Gesture::Press]);
    rig.wait_ms(CODE_MS);
    // The second never comes: nothing happens, and the next is a first one.
    rig.tap();
    rig.wait_ms(4_100);
    assert_eq!(rig.light.1, CODE.light());
    rig.tap();
    rig.wait_ms(3_000);
    assert_eq!(rig.gestures(), []);
    rig.tap();
    assert_eq!(rig.gestures(), [Gesture::Confirm]);
    rig.wait_ms(5_000);
    assert_eq!(rig.gestures(), []);
}

#[test]
fn two_strokes_of_the_reset_key_are_the_edges_of_a_hold() {
    let table = [
        (1_000, None),
        (3_000, None),
        (4_500, None),
        (6_000, Some(Gesture::ResetPassword)),
        (12_000, Some(Gesture::LeaveCircle)),
    ];
    for (ms, expected) in table {
        let mut rig = Rig::new(State::Ready);
        rig.tell(Input::Stroke { key: Key::Reset });
        rig.wait_ms(ms);
        rig.tell(Input::Stroke { key: Key::Reset });
        rig.wait_ms(1_000);
        assert_eq!(rig.gestures(), Vec::from_iter(expected), "{ms} ms");
    }
    let mut rig = Rig::new(State::Ready);
    rig.tell(Input::Stroke { key: Key::Reset });
    rig.wait_ms(21_000);
    assert_eq!(rig.light.1, State::Ready.light(), "given up");
}

#[test]
fn digits_are_read_back_from_the_edges() {
    // Every digit in every place.
    for number in (0..10_000_u32).step_by(37) {
        let digits = [number / 1_000, number / 100 % 10, number / 10 % 10, number % 10].map(|digit| digit as u8);
        let mut rig = Rig::new(State::Ready);
        rig.wait_ms(700);
        rig.tell(Input::Show(State::Code(digits)));
        rig.wait_ms(90_000);
        let codes = codes(&rig.seen);
        assert!(codes.len() >= 3, "shown again and again");
        assert_eq!(codes[0], digits);
        assert_eq!(codes[1], digits);
    }
    for number in 0..100_u8 {
        let mut rig = Rig::new(State::SignIn([number / 10, number % 10]));
        rig.wait_ms(60_000);
        assert_eq!(codes(&rig.seen)[0], [number / 10, number % 10]);
    }
}

#[test]
fn an_onlooker_who_is_late_or_early_reads_the_same() {
    // The edges as a slow machine makes them: each up to 100 ms late.
    let mut rig = Rig::new(CODE);
    rig.wait_ms(60_000);
    let late = rig.seen.iter().enumerate().map(|(at, (when, lit))| {
        (*when + Duration::from_millis((at as u64 * 61) % 100), *lit) // 61: no pattern
    });
    let read = codes(&late.collect::<Vec<_>>());
    assert_eq!(read[0], [4, 0, 7, 1]);
    assert_eq!(read[1], [4, 0, 7, 1]);
}

#[test]
fn every_state_has_its_own_light_and_words() {
    for (at, state) in State::ALL.into_iter().enumerate() {
        let light = state.light();
        assert!(light.repeats() && light.steps().iter().all(|step| step.ms > 0));
        assert!(light.steps().len() <= STEPS);
        assert!(!state.words().is_empty());
        let glows = light.steps().iter().filter(|step| step.glow != Glow::Dark);
        assert!(glows.into_iter().all(|step| step.glow == state.pattern().glow), "one LED at a time");
        for other in &State::ALL[..at] {
            assert_ne!(other.pattern().rhythm, state.pattern().rhythm, "one colour tells {other:?} from {state:?}");
            assert_ne!(other.words(), state.words());
        }
    }
    assert_eq!(State::Code([0; 4]).light().steps().len(), STEPS, "the longest");
    assert_eq!(State::Window.light().at(Duration::from_millis(499)).0, Glow::Status);
    assert_eq!(State::Window.light().at(Duration::from_millis(500)).0, Glow::Dark);
    assert_eq!(State::Exchanging.light().at(Duration::from_millis(160)).0, Glow::Dark);
}

#[test]
fn what_ends_stays_at_its_end() {
    let refused = Rhythm::refused();
    assert_eq!(refused.at(Duration::ZERO), (Glow::Fault, Some(Duration::from_millis(100))));
    assert_eq!(refused.at(Duration::from_secs(60)), (Glow::Dark, None));
    assert_eq!(Light::steady(Glow::Status).at(Duration::MAX), (Glow::Status, None));
}

#[test]
fn what_is_shown_again_does_not_start_again() {
    let mut panel = Panel::new();
    panel.handle(Instant(1), Input::Show(State::Window));
    assert_eq!(panel.poll_light(), Some(State::Window.light()));
    panel.handle(Instant(2), Input::Show(State::Window));
    assert_eq!(panel.poll_light(), None);
    panel.handle(Instant(3), Input::Refused);
    assert_eq!(panel.poll_light(), Some(Rhythm::refused()));
    panel.handle(Instant(4), Input::Show(State::Ready));
    assert_eq!(panel.poll_light(), None, "the flicker goes on");
    panel.handle(Instant(700_000), Input::Tick);
    assert_eq!(panel.poll_light(), Some(State::Ready.light()));
    assert_eq!(panel.state(), State::Ready);
}

#[test]
fn gestures_that_nobody_takes_are_refused() {
    let mut panel = Panel::new();
    for at in 0..2 * GESTURES as u64 {
        let now = Instant(at * 1_000_000);
        panel.handle(now, Input::Key { key: Key::Button, down: true });
        panel.handle(now + Duration::from_millis(100), Input::Key { key: Key::Button, down: false });
    }
    assert_eq!(panel.poll_light(), Some(Rhythm::refused()));
    assert_eq!(std::iter::from_fn(|| panel.poll_gesture()).count(), GESTURES);
}

#[test]
fn serial_panels_know_their_bytes() {
    let keys = |key: fn(u8) -> Option<Key>| (0..=255).filter_map(|byte| Some((byte, key(byte)?))).collect::<Vec<_>>();
    assert_eq!(keys(microp::key), [(0x30, Key::Power), (0x60, Key::Button), (0x61, Key::Reset)]);
    assert_eq!(keys(qnap::key), [(0x40, Key::Power)]);
    let all = [Glow::Dark, Glow::Status, Glow::Fault];
    assert_eq!(all.map(microp::byte), *b"78:");
    assert_eq!(all.map(qnap::byte), [0x59, 0x56, 0x57]);
}

/// The tables in README are these, line by line.
#[test]
fn readme_has_the_tables() {
    let readme = include_str!("../../README.md");
    let mut lines = vec!["| the LED | means |".to_owned(), "| --- | --- |".to_owned()];
    for state in State::ALL {
        let Pattern { rhythm, glow, words } = state.pattern();
        let colour = if glow == Glow::Fault { " (red, where there is red)" } else { "" };
        lines.push(format!("| {rhythm}{colour} | {words} |"));
    }
    let table = lines.join("\n");
    assert!(readme.contains(&table), "README lacks this table of patterns:\n{table}");
    let mut lines = vec!["| held for | the LED meanwhile | does |".to_owned(), "| --- | --- | --- |".to_owned()];
    let mut from = 0;
    for span in Span::ALL {
        let length = match span.end() {
            Some(end) if from == 0 => format!("less than {} s", end.as_secs()),
            Some(end) => format!("{from} to {} s", end.as_secs()),
            None => "longer".to_owned(),
        };
        let rhythm = match span.light().only_glow() {
            Some(Glow::Dark) => "dark",
            Some(_) => "on",
            None => "blinks quickly",
        };
        lines.push(format!("| {length} | {rhythm} | {} |", span.words()));
        from = span.end().map_or(0, |end| end.as_secs());
    }
    let table = lines.join("\n");
    assert!(readme.contains(&table), "README lacks this table of holds:\n{table}");
}

fn inputs() -> impl Strategy<Value = Vec<(u64, Input)>> {
    let key = prop_oneof![4 => Just(Key::Button), 1 => Just(Key::Power), 2 => Just(Key::Reset)];
    let state = prop_oneof![Just(CODE), Just(State::Code([1; 4])), Just(State::Ready), Just(State::SignIn([0, 9]))];
    let input = prop_oneof![
        8 => (key.clone(), any::<bool>()).prop_map(|(key, down)| Input::Key { key, down }),
        4 => key.prop_map(|key| Input::Stroke { key }),
        1 => state.prop_map(Input::Show),
        1 => Just(Input::Refused),
        1 => Just(Input::Tick),
    ];
    let pause = prop_oneof![3 => 0..30_u64, 3 => 30..400_u64, 4 => 400..6_000_u64, 1 => 6_000..40_000_u64];
    proptest::collection::vec((pause, input), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// However a finger or a wire behaves: at most one gesture for each time that a key went down.
    #[test]
    fn one_press_is_one_gesture_at_most(inputs in inputs()) {
        let mut rig = Rig::new(CODE);
        let mut downs = 0;
        for (pause_ms, input) in inputs {
            rig.wait_ms(pause_ms);
            rig.tell(input);
            downs += usize::from(matches!(input, Input::Key { down: true, .. } | Input::Stroke { .. }));
            prop_assert!(rig.gestures.len() <= downs, "{:?}", rig.gestures);
        }
        rig.wait_ms(60_000);
        prop_assert!(rig.gestures.len() <= downs);
    }

    /// Told late or on time, the same edges are the same gestures.
    #[test]
    fn ticks_may_be_late(inputs in inputs()) {
        let (mut prompt, mut late) = (Rig::new(CODE), Rig::new(CODE));
        for (pause_ms, input) in inputs {
            prompt.wait_ms(pause_ms);
            prompt.tell(input);
            late.now = late.now + Duration::from_millis(pause_ms);
            late.tell(input);
        }
        prompt.wait_ms(60_000);
        late.now = late.now + Duration::from_millis(60_000);
        late.tell(Input::Tick);
        prop_assert_eq!(prompt.gestures, late.gestures);
        prop_assert_eq!(prompt.light.1, late.light.1);
    }
}

#[test]
fn a_code_that_impatience_interrupted_is_shown_to_its_end_after_all() {
    let mut rig = Rig::new(State::Code([0, 0, 0, 0]));
    rig.wait_ms(1_000);
    rig.tell(Input::Key { key: Key::Button, down: true });
    rig.wait_ms(100);
    rig.tell(Input::Key { key: Key::Button, down: false });
    rig.tell(Input::Refused);
    rig.wait_ms(300);
    rig.tell(Input::Key { key: Key::Button, down: true });
    rig.wait_ms(2_500);
    rig.tell(Input::Key { key: Key::Button, down: false });
    assert_eq!(rig.gestures, [Gesture::Press]);
    rig.wait_ms(40_000);
    assert!(rig.panel.code_shown());
}
