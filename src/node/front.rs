//! The front panel as the node carries it: what a gesture means now, and what the LED says now.
//!
//! A press answers the one question that is pending; where none is, it asks for a friend. The panel shows the most urgent
//! of what is going on: a person who stands at the box first, then the disk, then the circles.

use super::Node;
use super::io::{Action, Answer, DiskError, OpError, Reply};
use crate::base::{Instant, Snapshot};
use crate::pair::button::State as Pairing;
use crate::panel::{Gesture, Input, State};
use crate::wire::statement::Role;

impl<S: Snapshot> Node<S> {
    /// Somebody moved a key: what was meant by it is done at once. An error says why it could not be, as the LED does.
    pub(super) fn panel_input(&mut self, input: Input) -> Reply {
        let now = self.now.instant;
        let refusals = self.panel.refusals();
        self.panel.handle(now, input);
        let mut reply = Ok(Answer::Done);
        if self.panel.refusals() != refusals {
            reply = Err(OpError::NotPermitted(self.why_not().into()));
        }
        while let Some(gesture) = self.panel.poll_gesture() {
            if let Err(error) = self.gesture(gesture) {
                log::info!("the panel: {error}");
                self.panel.handle(now, Input::Refused);
                reply = Err(error);
            }
        }
        reply
    }

    /// Why the panel did not take a hold.
    fn why_not(&self) -> &'static str {
        match self.panel.state() {
            State::Code(_) if !self.panel.code_shown() => {
                "the code was not shown to its end: compare it on both boxes, then hold the button for 2 to 4 s"
            }
            State::SignIn(_) if !self.panel.code_shown() => {
                "the code was not shown to its end: compare it with the page's, then press"
            }
            _ => "a hold of this length means nothing now",
        }
    }

    /// Does what the panel meant by what has become due; comes before all that a gesture sets going.
    pub(super) fn gestures_due(&mut self) {
        let _ = self.panel_input(Input::Tick);
    }

    /// Shows what has become of things.
    pub(super) fn front_due(&mut self) {
        let now = self.now.instant;
        let pairing = self.pairing_ended();
        if pairing && !self.pairing_over {
            // It came to nothing.
            self.panel.handle(now, Input::Refused);
        }
        self.pairing_over = pairing;
        let state = self.front_state();
        self.panel.handle(now, Input::Show(state));
        if let Some(light) = self.panel.poll_light() {
            self.actions.push_back(Action::Show(Box::new(light)));
        }
    }

    /// When [`Node::front_due`] is to be called at the latest.
    pub(super) fn front_timeout(&self) -> Option<Instant> {
        self.panel.poll_timeout()
    }

    fn gesture(&mut self, gesture: Gesture) -> Result<(), OpError> {
        match gesture {
            Gesture::Press if self.sign_in_pending().is_some() => {
                // The question may have come after what the LED shows: then the press was not its answer.
                if !matches!(self.panel.state(), State::SignIn(_)) {
                    return Err(OpError::NotPermitted("somebody asks to sign in: wait for the code".into()));
                }
                self.sign_in_allow(self.now);
                Ok(())
            }
            Gesture::Press => {
                let entropy = self.fresh_entropy();
                self.pair_press(entropy).map(drop)
            }
            Gesture::Confirm => {
                let entropy = self.fresh_entropy();
                self.pair_confirm(entropy).map(drop)
            }
            Gesture::ResetPassword => {
                self.actions.push_back(Action::ForgetSessions);
                Ok(())
            }
            Gesture::LeaveCircle => self.leave_circles(None),
            Gesture::Shutdown => {
                self.actions.push_back(Action::PowerOff);
                Ok(())
            }
        }
    }

    /// True once a hold that begins now would confirm the pairing code.
    pub(super) fn code_shown(&self) -> bool {
        self.panel.code_shown()
    }

    /// What the LED says: the most urgent of what is going on.
    pub(super) fn front_state(&self) -> State {
        if self.stopping.is_some() {
            return State::Stopping;
        }
        // What waits for a press comes before what only tells.
        let pairing = self.pairing_shown();
        if let Some(state) = pairing.filter(|_| self.pairing_pending()) {
            return state;
        }
        if let Some(code) = self.sign_in_pending() {
            return State::SignIn([code / 10, code % 10]);
        }
        if let Some(state) = pairing {
            return state;
        }
        match &self.trouble {
            Some(DiskError::Full) => return State::DiskFull,
            Some(_) => return State::DiskFault,
            None if self.config.problem.is_some() => return State::DiskFault,
            None => {}
        }
        if self.is_locked() {
            return State::Locked;
        }
        let mut roles = self.circles.values().filter_map(|circle| circle.role()).peekable();
        if roles.peek().is_some() && roles.all(|role| role == Role::Cache) {
            return State::CacheMode;
        }
        if self.circles.values().any(|circle| !circle.mass.held().is_empty()) {
            return State::MassChange;
        }
        if self.disks.iter().any(|disk| !disk.answered) {
            return State::DiskOffered;
        }
        let mut friends = self.friends_circles().peekable();
        if friends.peek().is_none() {
            State::Unpaired
        } else if friends.any(|circle| self.peers.in_circle(&circle.id).next().is_some()) {
            match self.safety_status() {
                Some(safety) if safety.files > 0 || safety.changes => State::OnlyHere,
                _ => State::Ready,
            }
        } else {
            State::NoFriendOnline
        }
    }

    /// True while pairing has ended without a friend, and the person at the box was not told otherwise.
    fn pairing_ended(&self) -> bool {
        matches!(self.pairing_state(), Pairing::Overlap { .. } | Pairing::Failed { .. })
    }

    /// Bytes that nobody else has drawn.
    fn fresh_entropy<const N: usize>(&mut self) -> [u8; N] {
        let mut entropy = [0; N];
        for part in entropy.chunks_mut(32) {
            part.copy_from_slice(&self.fresh()[..part.len()]);
        }
        entropy
    }

    fn pairing_shown(&self) -> Option<State> {
        match self.pairing_state() {
            Pairing::Window { .. } => Some(State::Window),
            Pairing::Exchanging { .. } | Pairing::Joining { .. } => Some(State::Exchanging),
            Pairing::Code { here: true, .. } => Some(State::Confirmed),
            Pairing::Code { digits, .. } => Some(State::Code(digits)),
            Pairing::ChooseOnPage { .. } => Some(State::ChooseOnPage),
            Pairing::Paused { .. } => Some(State::PairingPaused),
            Pairing::Closed | Pairing::Overlap { .. } | Pairing::Done { .. } | Pairing::Failed { .. } => None,
        }
    }
}
