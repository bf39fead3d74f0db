//! What an LED does: steps of light with their times, and the rhythms that they are made from.

use std::fmt;
use std::time::Duration;

use heapless::Vec;

use super::blink;

/// Steps of the longest light: a code of four zeros, which is ten blinks each, and its lead-in.
pub const STEPS: usize = 3 + 4 * 2 * blink::ZERO as usize;

/// What is lit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Glow {
    /// Nothing.
    Dark,
    /// The status LED.
    Status,
    /// The fault LED (red, amber); the status LED on a box that has no other.
    Fault,
}

/// One step of a light.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// What is lit.
    pub glow: Glow,
    /// For how long, in milliseconds; never zero.
    pub ms: u16,
}

/// What a driver plays until it is told another: steps in order, again and again or once. Has at least one step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Light {
    steps: Vec<Step, STEPS>,
    repeats: bool,
}

impl Light {
    /// One glow, for good.
    pub fn steady(glow: Glow) -> Self {
        let mut light = Self { steps: Vec::new(), repeats: true };
        light.add(glow, STEADY_MS);
        light
    }

    /// The steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// True when the steps begin anew after the last; else the last one's glow stays.
    pub fn repeats(&self) -> bool {
        self.repeats
    }

    /// The glow that never changes, where there is just one.
    pub fn only_glow(&self) -> Option<Glow> {
        let first = self.steps.first()?.glow;
        self.steps.iter().all(|step| step.glow == first).then_some(first)
    }

    /// Time of all steps, once.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.steps.iter().map(|step| u64::from(step.ms)).sum())
    }

    /// What is lit `elapsed` after the light began, and how long that stays; `None` means for good.
    pub fn at(&self, elapsed: Duration) -> (Glow, Option<Duration>) {
        let whole = self.duration();
        if let Some(glow) = self.only_glow() {
            return (glow, None);
        }
        let mut left = if self.repeats {
            Duration::from_micros((elapsed.as_micros() % whole.as_micros().max(1)) as u64)
        } else {
            elapsed
        };
        for step in &self.steps {
            let length = Duration::from_millis(u64::from(step.ms));
            if left < length {
                return (step.glow, Some(length - left));
            }
            left -= length;
        }
        (self.steps.last().map_or(Glow::Dark, |step| step.glow), None)
    }

    /// One more step. A light is as long as [`STEPS`] at most, which holds for every rhythm (a test makes each).
    fn add(&mut self, glow: Glow, ms: u16) {
        let added = self.steps.push(Step { glow, ms });
        debug_assert!(added.is_ok(), "a light has at most {STEPS} steps");
    }
}

/// How the LED says a state. Every state has its own, so that one LED of one colour tells them all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rhythm {
    /// On.
    Steady,
    /// Lit and dark for the same time, in milliseconds.
    Even(u16),
    /// Dark, with so many short flashes every while.
    Flashes(u8),
    /// Lit, with so many short gaps every while.
    Gaps(u8),
    /// One long light and so many short ones.
    Long(u8),
    /// Counted blinks, see [`blink`].
    Digits(u8),
}

impl Rhythm {
    /// The light of the rhythm in this glow; `digits` are 0 to 9 each, and used by [`Rhythm::Digits`] alone.
    pub fn light(self, glow: Glow, digits: &[u8]) -> Light {
        let mut light = Light { steps: Vec::new(), repeats: true };
        match self {
            Rhythm::Steady => light.add(glow, STEADY_MS),
            Rhythm::Even(ms) => {
                light.add(glow, ms);
                light.add(Glow::Dark, ms);
            }
            Rhythm::Flashes(count) => beats(&mut light, count, glow, Glow::Dark),
            Rhythm::Gaps(count) => beats(&mut light, count, Glow::Dark, glow),
            Rhythm::Long(shorts) => {
                light.add(glow, LONG_MS);
                light.add(Glow::Dark, APART_MS);
                for _ in 0..shorts {
                    light.add(glow, APART_MS);
                    light.add(Glow::Dark, APART_MS);
                }
            }
            Rhythm::Digits(_) => blinks(&mut light, glow, digits),
        }
        light
    }

    /// Three flickers, once: what was done at the button was not taken.
    pub fn refused() -> Light {
        let mut light = Light { steps: Vec::new(), repeats: false };
        for _ in 0..REFUSED_FLICKERS {
            light.add(Glow::Fault, REFUSED_MS);
            light.add(Glow::Dark, REFUSED_MS);
        }
        light
    }
}

/// For the table of patterns in README.
impl fmt::Display for Rhythm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Rhythm::Steady => f.write_str("on"),
            Rhythm::Even(ms) => write!(f, "blinks evenly, {ms} ms on, {ms} ms off"),
            Rhythm::Flashes(count) => write!(
                f,
                "{} short flash{}, then dark for two seconds",
                word(count),
                if count == 1 { "" } else { "es" }
            ),
            Rhythm::Gaps(count) => {
                write!(f, "on, with {} short gap{} every two seconds", word(count), if count == 1 { "" } else { "s" })
            }
            Rhythm::Long(shorts) => write!(f, "a long light and {} short", word(shorts)),
            Rhythm::Digits(count) => {
                write!(f, "two seconds of light, then {} digits as counted blinks (ten for 0)", word(count))
            }
        }
    }
}

/// Small numbers in words.
fn word(count: u8) -> &'static str {
    ["no", "one", "two", "three", "four", "five"].get(usize::from(count)).copied().unwrap_or("many")
}

fn beats(light: &mut Light, count: u8, beat: Glow, between: Glow) {
    for _ in 1..count {
        light.add(beat, BEAT_MS);
        light.add(between, BEAT_MS);
    }
    light.add(beat, BEAT_MS);
    light.add(between, PAUSE_MS);
}

fn blinks(light: &mut Light, glow: Glow, digits: &[u8]) {
    light.add(Glow::Dark, blink::LEAD_DARK_MS);
    light.add(glow, blink::LEAD_LIT_MS);
    light.add(Glow::Dark, blink::GAP_MS);
    for &digit in digits {
        let count = blink::count(digit);
        for at in 1..=count {
            light.add(glow, blink::ON_MS);
            light.add(Glow::Dark, if at == count { blink::GAP_MS } else { blink::OFF_MS });
        }
    }
}

/// The length of a step that never ends is of no matter.
const STEADY_MS: u16 = 1_000;
const BEAT_MS: u16 = 200;
const PAUSE_MS: u16 = 2_000;
const LONG_MS: u16 = 900;
const APART_MS: u16 = 300;
const REFUSED_FLICKERS: usize = 3;
const REFUSED_MS: u16 = 100;
