//! How pairing by the button stands, in what people are shown.

use std::fmt;
use std::time::Duration;

use crate::base::Instant;
use crate::base::limits::PAIR_FAILURES;

/// How pairing stands, for the panel, the page and the API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// A press opens a window.
    Closed,
    /// Open; no other box was found yet.
    Window {
        /// When it closes.
        until: Instant,
    },
    /// More than two boxes were in the window, so that all of them gave up.
    Overlap {
        /// When a press opens a window again.
        until: Instant,
    },
    /// Another box was found, and a code is being agreed.
    Exchanging {
        /// When the window closes.
        until: Instant,
    },
    /// Both boxes show a code: the same, or somebody sits between.
    Code {
        /// The code, each 0 to 9.
        digits: [u8; 4],
        /// What the other box calls itself.
        name: String,
        /// Confirmed here: waits for the other box.
        here: bool,
        /// Confirmed on the other box.
        there: bool,
        /// When it fails.
        until: Instant,
    },
    /// Confirmed on both: one joins the other.
    Joining {
        /// What the other box calls itself.
        name: String,
    },
    /// The boxes share a circle.
    Done {
        /// What the other box calls itself.
        name: String,
        /// The circle's name.
        circle: String,
    },
    /// It came to nothing.
    Failed {
        /// Why.
        why: Failure,
    },
    /// Too many failures: a press is refused.
    Paused {
        /// Until then.
        until: Instant,
    },
    /// Both boxes are in circles, or one is in several: an invite says which circle is meant.
    ChooseOnPage {
        /// What the other box calls itself.
        name: String,
    },
}

/// Why pairing came to nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// No other box was in the window.
    Nobody,
    /// The code was not confirmed on both boxes in time.
    Unconfirmed,
    /// The other box went away.
    Gone,
    /// What the other box sent is not what it committed to, or not of the protocol.
    Wrong,
    /// This box is in a circle, where only a keeper's box may invite.
    NoKeeper,
    /// The other box is in a circle, where only a keeper's box may invite.
    TheyNoKeeper,
    /// Joining failed after the confirmation.
    Join(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::Nobody => "no other box was found: press both within two minutes, on one network",
            Failure::Unconfirmed => "the code was not confirmed on both boxes in time: press both again",
            Failure::Gone => "the other box went away: press both again",
            Failure::Wrong => "the other box did not keep to the protocol: update both, and press both again",
            Failure::NoKeeper => "this box may not invite to its circle: pair with the box of a keeper",
            Failure::TheyNoKeeper => "the other box may not invite to its circle: pair with the box of a keeper",
            Failure::Join(why) => return write!(f, "joining failed: {why}"),
        })
    }
}

/// Why a press or a hold does nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Pairing pauses after failures, for so long.
    Paused(Duration),
    /// Several boxes were in the window; for so long.
    CoolDown(Duration),
    /// A code waits to be confirmed.
    CodeWaits,
    /// The boxes are joining.
    Joining,
    /// No code waits to be confirmed.
    NoCode,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: &Duration| time.as_millis().div_ceil(1_000);
        match self {
            Refused::Paused(left) => {
                write!(f, "pairing failed {PAIR_FAILURES} times and pauses: wait {} s", seconds(left))
            }
            Refused::CoolDown(left) => {
                write!(f, "several boxes were pressed: wait {} s, then press two only", seconds(left))
            }
            Refused::CodeWaits => {
                f.write_str("a code waits to be confirmed: compare it on both boxes, then hold the button for 2 to 4 s")
            }
            Refused::Joining => f.write_str("the boxes are joining: wait a moment"),
            Refused::NoCode => f.write_str("no code waits to be confirmed: press the button to pair"),
        }
    }
}

impl std::error::Error for Refused {}
