//! The panel itself: which presses are gestures, and what covers the state on the LED.

use std::time::Duration;

use heapless::Deque;

use super::hold::Span;
use super::key::{Contact, Edge};
use super::light::{Light, Rhythm};
use super::state::State;
use super::{GESTURES, Gesture, Input, Key};
use crate::base::Instant;

/// See the module. Starts with [`State::Starting`].
#[derive(Debug)]
pub struct Panel {
    contacts: [Contact; KEYS.len()],
    /// The first of two taps that stand for a hold, and its key.
    half: Option<(Key, Instant)>,
    state: State,
    /// When the code that is shown had been shown to its end.
    code_shown: Option<Instant>,
    /// The end of a flicker.
    flicker: Option<Instant>,
    refusals: u32,
    face: Face,
    /// When the face began to play.
    face_since: Instant,
    gestures: Deque<Gesture, GESTURES>,
    light: Option<Light>,
}

/// What the LED shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Face {
    State(State),
    Held(Span),
    Refused,
}

impl Default for Panel {
    fn default() -> Self {
        Self::new()
    }
}

impl Panel {
    /// A panel that nobody touches.
    pub fn new() -> Self {
        let state = State::Starting;
        Self {
            contacts: [Contact::default(); KEYS.len()],
            half: None,
            state,
            code_shown: None,
            flicker: None,
            refusals: 0,
            face: Face::State(state),
            face_since: Instant::default(),
            gestures: Deque::new(),
            light: Some(state.light()),
        }
    }

    /// Takes a fact. `now` never goes back.
    pub fn handle(&mut self, now: Instant, input: Input) {
        // What was due is done at its own time, however late the call is.
        while let Some(due) = self.poll_timeout().filter(|due| *due <= now) {
            self.expire(due);
            self.turn(due);
        }
        match input {
            Input::Tick => {}
            Input::Key { key, down } => {
                let edge = self.contact(key).edge(now, down);
                self.edge(now, key, edge);
            }
            Input::Stroke { key } => self.stroke(now, key),
            Input::Show(state) if state == self.state => {}
            Input::Show(state) => {
                self.state = state;
                self.code_shown = None;
            }
            Input::Refused => self.refuse(now),
        }
        self.turn(now);
    }

    /// The next gesture, in the order in which they were made.
    pub fn poll_gesture(&mut self) -> Option<Gesture> {
        self.gestures.pop_front()
    }

    /// What the LED plays from now on, when it is another than before.
    pub fn poll_light(&mut self) -> Option<Light> {
        self.light.take()
    }

    /// When [`Input::Tick`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let contacts = self.contacts.iter().filter_map(Contact::timeout);
        contacts.chain(self.threshold()).chain(self.flicker).chain(self.code_end()).min()
    }

    /// The state that is shown, or that shows when the key is let go.
    pub fn state(&self) -> State {
        self.state
    }

    /// How often the LED has flickered because a gesture could not be taken.
    pub fn refusals(&self) -> u32 {
        self.refusals
    }

    /// True when the code was shown to its end, so that a hold confirms pairing, or a press allows the sign-in.
    pub fn code_shown(&self) -> bool {
        self.code_shown.is_some()
    }

    fn contact(&mut self, key: Key) -> &mut Contact {
        &mut self.contacts[index(key)]
    }

    fn expire(&mut self, due: Instant) {
        if self.code_end().is_some_and(|end| end <= due) {
            self.code_shown = Some(due);
        }
        if self.flicker.is_some_and(|end| end <= due) {
            self.flicker = None;
        }
        for key in KEYS {
            if self.contact(key).timeout().is_some_and(|end| end <= due) {
                let edge = self.contact(key).expire(due);
                self.edge(due, key, edge);
            }
        }
        // Nobody came back for the second tap.
        if self.half.is_some_and(|(key, since)| last_span(key).end().is_none_or(|end| since + end <= due)) {
            self.half = None;
        }
    }

    fn edge(&mut self, now: Instant, key: Key, edge: Option<Edge>) {
        match edge {
            None => {}
            Some(Edge::Down) if key == Key::Power => self.gesture(now, Gesture::Shutdown),
            Some(Edge::Down) => {}
            Some(_) if key == Key::Power => {}
            Some(Edge::Up { since, until }) => self.held(now, key, since, until.since(since)),
            Some(Edge::Tap { since }) => self.tap(now, key, since),
        }
    }

    /// A key was let go after `length`.
    fn held(&mut self, now: Instant, key: Key, since: Instant, length: Duration) {
        match (Span::of(length), key) {
            // Nobody lets in whom they have not seen ask.
            (Span::Short, Key::Button) if self.signs_in() && !self.code_shown_before(since) => self.refuse(now),
            (Span::Short, Key::Button) => self.gesture(now, Gesture::Press),
            (Span::Confirm, Key::Button) if self.pairs() && self.code_shown_before(since) => {
                self.gesture(now, Gesture::Confirm);
            }
            (Span::Reset, _) => self.gesture(now, Gesture::ResetPassword),
            (Span::Leave, _) => self.gesture(now, Gesture::LeaveCircle),
            _ => self.refuse(now),
        }
    }

    /// See 'A panel that tells no release'.
    fn stroke(&mut self, now: Instant, key: Key) {
        let edge = self.contact(key).stroke(now);
        match self.half.filter(|(first, _)| *first == key && edge.is_some()) {
            Some((_, since)) => {
                self.half = None;
                self.contact(key).spend();
                self.second_tap(now, key, since);
            }
            None => self.edge(now, key, edge),
        }
    }

    /// A press of unknown length: the whole press, or the first edge of a hold where a hold may be meant.
    fn tap(&mut self, now: Instant, key: Key, since: Instant) {
        if key == Key::Reset || self.pairs() && self.code_shown_before(since) {
            self.half = Some((key, since));
        } else {
            self.held(now, key, since, Duration::ZERO);
        }
    }

    fn second_tap(&mut self, now: Instant, key: Key, since: Instant) {
        let length = now.since(since);
        if Span::of(length) == Span::Short {
            self.code_shown = None;
            self.refuse(now);
        } else {
            self.held(now, key, since, length);
        }
    }

    /// True while a pairing code is shown.
    fn pairs(&self) -> bool {
        matches!(self.state, State::Code(_))
    }

    /// True while the code of a sign-in is shown.
    fn signs_in(&self) -> bool {
        matches!(self.state, State::SignIn(_))
    }

    fn code_shown_before(&self, since: Instant) -> bool {
        self.code_shown.is_some_and(|shown| shown <= since)
    }

    fn gesture(&mut self, now: Instant, gesture: Gesture) {
        if self.gestures.push_back(gesture).is_err() {
            self.refuse(now);
        }
    }

    fn refuse(&mut self, now: Instant) {
        self.refusals = self.refusals.wrapping_add(1);
        self.flicker = Some(now + Rhythm::refused().duration());
    }

    /// Puts on the face that is due.
    fn turn(&mut self, now: Instant) {
        let face = match (self.hold_since(), self.flicker) {
            (Some(since), _) => Face::Held(Span::of(now.since(since))),
            (None, Some(_)) => Face::Refused,
            (None, None) => Face::State(self.state),
        };
        if face != self.face {
            self.face = face;
            self.face_since = now;
            self.light = Some(match face {
                Face::State(state) => state.light(),
                Face::Held(span) => span.light(),
                Face::Refused => Rhythm::refused(),
            });
        }
    }

    /// Since when the key is held whose hold the LED shows.
    fn hold_since(&self) -> Option<Instant> {
        let held = HELD.into_iter().filter_map(|key| self.contacts[index(key)].since());
        held.chain(self.half.map(|(_, since)| since)).min()
    }

    /// When the hold enters its next span.
    fn threshold(&self) -> Option<Instant> {
        let since = self.hold_since()?;
        let Face::Held(span) = self.face else { return Some(since) };
        Some(since + span.end()?)
    }

    /// When the code will have been shown to its end.
    fn code_end(&self) -> Option<Instant> {
        match self.face {
            Face::State(state @ (State::Code(_) | State::SignIn(_))) if self.code_shown.is_none() => {
                let light = state.light();
                let dark_after = light.steps().last().map_or(0, |step| step.ms);
                Some(self.face_since + (light.duration() - Duration::from_millis(u64::from(dark_after))))
            }
            _ => None,
        }
    }
}

fn index(key: Key) -> usize {
    match key {
        Key::Button => 0,
        Key::Power => 1,
        Key::Reset => 2,
    }
}

/// The last span that a second tap of the key can mean something in.
fn last_span(key: Key) -> Span {
    if key == Key::Button { Span::Confirm } else { Span::Leave }
}

const KEYS: [Key; 3] = [Key::Button, Key::Power, Key::Reset];
/// The keys whose length of hold matters.
const HELD: [Key; 2] = [Key::Button, Key::Reset];
