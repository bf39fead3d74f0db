//! How long a key was held, and what that means.

use std::time::Duration;

use super::light::{Glow, Light, Rhythm};

/// The spans of a hold, in order; each begins where the one before it ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Span {
    /// Under 2 s: a press, which asks or answers.
    Short,
    /// 2 to 4 s: confirms a pairing code.
    Confirm,
    /// 4 to 5 s: nothing, so that who wants the one does not get the other.
    Between,
    /// 5 to 10 s: forgets who is signed in to the page, and the password for WebDAV.
    Reset,
    /// 10 to 20 s: leaves the circle.
    Leave,
    /// Longer: nothing; something leans on the box.
    Stuck,
}

impl Span {
    /// All, in order.
    pub const ALL: [Span; 6] = [Span::Short, Span::Confirm, Span::Between, Span::Reset, Span::Leave, Span::Stuck];

    /// The one in which a hold of this length ends.
    pub fn of(length: Duration) -> Self {
        Self::ALL.into_iter().find(|span| span.end().is_none_or(|end| length < end)).unwrap_or(Span::Stuck)
    }

    /// Length of the hold at which the next span begins; `None` after the last.
    pub fn end(self) -> Option<Duration> {
        match self {
            Span::Short => Some(Duration::from_secs(2)),
            Span::Confirm => Some(Duration::from_secs(4)),
            Span::Between => Some(Duration::from_secs(5)),
            Span::Reset => Some(Duration::from_secs(10)),
            Span::Leave => Some(Duration::from_secs(20)),
            Span::Stuck => None,
        }
    }

    /// What a hold of this length does, for people.
    pub fn words(self) -> &'static str {
        match self {
            Span::Short => "asks for a friend, or answers the question that is open",
            Span::Confirm => "confirms a pairing code that was shown to its end",
            Span::Between => "nothing",
            Span::Reset => "forgets who is signed in to the page, and the password for WebDAV",
            Span::Leave => "leaves the circle; no file is touched",
            Span::Stuck => "nothing",
        }
    }

    /// What the LED does meanwhile: it changes at each threshold, so that a person can let go in time.
    pub fn light(self) -> Light {
        match self {
            Span::Short | Span::Between | Span::Stuck => Light::steady(Glow::Dark),
            Span::Confirm | Span::Leave => Light::steady(Glow::Status),
            Span::Reset => Rhythm::Even(QUICK_MS).light(Glow::Status, &[]),
        }
    }
}

const QUICK_MS: u16 = 100;
