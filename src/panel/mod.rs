//! The front panel as a machine: key edges in, gestures out; states in, what the LED plays out. Allocates nothing.
//!
//! [`Panel::handle`] takes a fact; then [`Panel::poll_gesture`] and [`Panel::poll_light`] are drained, and
//! [`Panel::poll_timeout`] tells when to call again with [`Input::Tick`].
//!
//! # One button
//! What a hold means depends on its length when the key is let go, see [`Span`]; the LED shows each threshold while the
//! key is down. Nothing happens before the key is let go, so a key that jams, or whose release is lost, does nothing.
//! The power key alone acts when it goes down. The reset key (the hole in the back of some boxes) resets and leaves as
//! the button does, and neither presses nor confirms.
//!
//! A code counts as shown when it was blinked from its first to its last blink without a key going down. Only a hold
//! that began after that confirms pairing, and only a press that began after that allows a sign-in. So whoever presses
//! again out of impatience only makes the code start anew, and nobody lets in whom they have not seen ask.
//!
//! # A panel that tells no release
//! Some serial panels send a byte when a key goes down, and nothing when it is let go ([`Input::Stroke`]). Where the
//! byte is repeated while the key is down, at least every [`STROKE_GAP`], the run of bytes is the hold. Where one byte
//! comes however long the key is held, two presses stand for the two edges of a hold: the first goes down, the second
//! lets go. To confirm, press after the code was shown to its end; the LED goes dark, and lights two seconds later for
//! two seconds: press again while it is lit. The reset key works likewise: two presses 5 to 10 s apart reset, 10 to 20 s
//! apart leave. A second press that comes too early confirms nothing, and the code has to be shown once more before the
//! next try, so that pressing fast again and again does not get there.

pub mod blink;
mod hold;
mod key;
mod light;
mod machine;
pub mod microp;
pub mod qnap;
mod state;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use hold::Span;
pub use light::{Glow, Light, Rhythm, STEPS, Step};
pub use machine::Panel;
pub use state::{Pattern, State};

/// A fact that the panel is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// The time of `poll_timeout` has come.
    Tick,
    /// An edge of a key; bounces are welcome.
    Key {
        /// Which.
        key: Key,
        /// It went down, or was let go.
        down: bool,
    },
    /// A panel that knows no releases told that a key is or went down.
    Stroke {
        /// Which.
        key: Key,
    },
    /// From now on this is shown. Telling the same again changes nothing.
    Show(State),
    /// The last gesture could not be taken: the LED flickers.
    Refused,
}

/// A key of the panel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Key {
    /// The one that pairs; on boxes often the copy button.
    Button,
    /// Shuts down.
    Power,
    /// The hole in the back.
    Reset,
}

/// What a person meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gesture {
    /// Asks for a friend, or answers the one question that is open.
    Press,
    /// The pairing code that is shown is the other box's as well.
    Confirm,
    /// Forget the password of page, SMB and WebDAV.
    ResetPassword,
    /// Leave the circle; data stay.
    LeaveCircle,
    /// Make everything durable and turn the box off.
    Shutdown,
}

/// After an edge, other edges are bounces for this long; the level at its end counts.
pub const BOUNCE: Duration = Duration::from_millis(20);
/// Strokes that come faster than this are one press.
pub const STROKE_GAP: Duration = Duration::from_millis(300);
/// Gestures that may wait to be taken; what comes on top is refused.
pub const GESTURES: usize = 8;
