//! The one table of what the LED says.

use super::light::{Glow, Light, Rhythm};

/// What the box is at; whoever holds the panel tells, the panel shows. The most urgent counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The node reads its ledger.
    Starting,
    /// No circle with friends.
    Unpaired,
    /// Has a passphrase and waits for it.
    Locked,
    /// A cache: it can read nothing.
    CacheMode,
    /// The pairing window is open.
    Window,
    /// One candidate was found, the two talk.
    Exchanging,
    /// The pairing code, digits 0 to 9.
    Code([u8; 4]),
    /// This side has confirmed, the other has not.
    Confirmed,
    /// Both boxes have circles with friends.
    ChooseOnPage,
    /// Three pairings failed.
    PairingPaused,
    /// The sign-in code of the page, digits 0 to 9.
    SignIn([u8; 2]),
    /// All is well.
    Ready,
    /// All is well here, and some of what is here is on no friend's box yet.
    OnlyHere,
    /// All is well here, and no friend is connected.
    NoFriendOnline,
    /// Much was deleted or overwritten at once, and waits for a keeper.
    MassChange,
    /// A disk with files of its owner's is here, and nobody has said whether they are to be imported.
    DiskOffered,
    /// No space is left.
    DiskFull,
    /// The disk fails, or is gone.
    DiskFault,
    /// What is written is being made durable.
    Stopping,
}

/// A line of the table: what a state looks like and means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pattern {
    /// How it blinks; of no other state.
    pub rhythm: Rhythm,
    /// The LED that does.
    pub glow: Glow,
    /// What it means, for people.
    pub words: &'static str,
}

impl State {
    /// One of each, in the order of the table.
    pub const ALL: [State; 19] = [
        State::Starting,
        State::Unpaired,
        State::Window,
        State::Exchanging,
        State::Code([0; 4]),
        State::Confirmed,
        State::ChooseOnPage,
        State::PairingPaused,
        State::Ready,
        State::OnlyHere,
        State::NoFriendOnline,
        State::SignIn([0; 2]),
        State::CacheMode,
        State::Locked,
        State::MassChange,
        State::DiskOffered,
        State::DiskFull,
        State::DiskFault,
        State::Stopping,
    ];

    /// The state's line of the table.
    pub fn pattern(&self) -> Pattern {
        use Rhythm::*;
        let calm = |rhythm, words| Pattern { rhythm, glow: Glow::Status, words };
        let fault = |rhythm, words| Pattern { rhythm, glow: Glow::Fault, words };
        match self {
            State::Starting => calm(Even(1_000), "starting"),
            State::Unpaired => calm(Flashes(1), "no friend yet: press to pair"),
            State::Window => calm(Even(500), "pairing: press the other box's button within two minutes"),
            State::Exchanging => calm(Even(150), "pairing: the boxes have found each other"),
            State::Code(_) => calm(Digits(4), "pairing: if the other box shows the same code, hold 2 to 4 seconds"),
            State::Confirmed => calm(Long(1), "pairing: confirmed here, now on the other box"),
            State::ChooseOnPage => calm(Flashes(2), "pairing: both boxes have friends, choose on the page"),
            State::PairingPaused => fault(Flashes(3), "pairing: failed three times, pauses for a while"),
            State::Ready => calm(Steady, "ready"),
            State::OnlyHere => calm(Gaps(4), "ready, but some files are on this box only: a friend's box gets them"),
            State::NoFriendOnline => calm(Gaps(1), "ready, but no friend is online"),
            State::SignIn(_) => calm(Digits(2), "sign-in: if the page shows the same code, press"),
            State::CacheMode => calm(Gaps(2), "ready as a cache"),
            State::Locked => calm(Gaps(3), "locked: give the passphrase on the page"),
            State::MassChange => fault(Long(3), "much was deleted or overwritten at once: was it meant? see the page"),
            State::DiskOffered => calm(Gaps(5), "a disk with files of its owner: import them? see the page"),
            State::DiskFull => fault(Flashes(4), "the disk is full"),
            State::DiskFault => fault(Flashes(5), "the disk fails or is missing"),
            State::Stopping => calm(Long(2), "stopping: leave the power on"),
        }
    }

    /// What the LED does.
    pub fn light(&self) -> Light {
        let Pattern { rhythm, glow, .. } = self.pattern();
        match self {
            State::Code(digits) => rhythm.light(glow, digits),
            State::SignIn(digits) => rhythm.light(glow, digits),
            _ => rhythm.light(glow, &[]),
        }
    }

    /// What it means, for people: the page says it in the same words as README.
    pub fn words(&self) -> &'static str {
        self.pattern().words
    }
}
