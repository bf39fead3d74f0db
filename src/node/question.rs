//! The question whether somebody who opened the page may sign in: one at a time, answered by a press at the box.
//!
//! The page and the LED show the same two digits, so that who presses knows whose question it is. Nothing but a press
//! allows it: it is refused when nobody pressed in time, and when something else is waiting for a press.

use super::Node;
use super::io::{Answer, OpError, Reply};
use crate::base::limits::SIGN_IN_TIME;
use crate::base::{Instant, Now, Snapshot, Ticket};

/// The question that is pending, if one is.
#[derive(Default)]
pub struct Question(Option<Pending>);

struct Pending {
    /// Of the operation.
    ticket: Ticket,
    code: u8,
    until: Instant,
}

impl Question {
    /// Asks it. `other` names what else waits for a press.
    pub fn ask(&mut self, now: Instant, ticket: Ticket, code: u8, other: Option<&str>) -> Result<(), OpError> {
        if !(11..=99).contains(&code) || code.is_multiple_of(10) {
            return Err(OpError::Invalid(format!("{code} is no code: it has two digits, and none of them is 0")));
        }
        if let Some(other) = other {
            return Err(OpError::NotPermitted(format!("{other} is waiting for the button: sign in after that")));
        }
        if self.0.is_some() {
            return Err(OpError::NotPermitted("somebody else is signing in: try again in a minute".into()));
        }
        self.0 = Some(Pending { ticket, code, until: now + SIGN_IN_TIME });
        Ok(())
    }

    /// The digits of the pending question.
    pub fn code(&self) -> Option<u8> {
        self.0.as_ref().map(|pending| pending.code)
    }

    /// Takes the pending question, to be answered now.
    pub fn take(&mut self) -> Option<Ticket> {
        self.0.take().map(|pending| pending.ticket)
    }

    /// Whoever asked no longer waits. False when it is not their question.
    pub fn withdraw(&mut self, ticket: Ticket) -> bool {
        self.0.take_if(|pending| pending.ticket == ticket).is_some()
    }

    /// Takes the question when nobody answered it in time.
    pub fn expire(&mut self, now: Instant) -> Option<Ticket> {
        self.0.take_if(|pending| pending.until <= now).map(|pending| pending.ticket)
    }

    /// When [`Question::expire`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.0.as_ref().map(|pending| pending.until)
    }
}

impl<S: Snapshot> Node<S> {
    /// The code of the sign-in that waits for a press, for the LED.
    pub fn sign_in_pending(&self) -> Option<u8> {
        self.question.code()
    }

    /// Somebody pressed the button, and no other question was pending: the sign-in is allowed. False when none was.
    pub fn sign_in_allow(&mut self, now: Now) -> bool {
        self.now = now;
        self.sign_in_end(Ok(Answer::Done))
    }

    /// Something else is to be answered by the button from now on: a press must not mean both.
    pub fn sign_in_refuse(&mut self, why: &str) -> bool {
        self.sign_in_end(Err(OpError::NotPermitted(why.into())))
    }

    /// Asks to sign in, unless something else, named by `other`, waits for a press.
    pub(super) fn sign_in(&mut self, ticket: Ticket, code: u8, other: Option<&str>) -> Option<Reply> {
        self.question.ask(self.now.instant, ticket, code, other).err().map(Err)
    }

    /// Refuses the question that nobody answered.
    pub(super) fn sign_in_due(&mut self) {
        let why = format!("nobody pressed the button within {} s: try again", SIGN_IN_TIME.as_secs());
        let late = self.question.expire(self.now.instant).map(|ticket| (ticket, OpError::NotPermitted(why)));
        let stopped = self.stopping.is_some().then(|| self.question.take()).flatten();
        for (ticket, error) in late.into_iter().chain(stopped.map(|ticket| (ticket, OpError::Stopping))) {
            self.reply(ticket, Err(error));
        }
    }

    fn sign_in_end(&mut self, reply: Reply) -> bool {
        let Some(ticket) = self.question.take() else { return false };
        self.reply(ticket, reply);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant(5_000_000);

    #[test]
    fn one_question_at_a_time() {
        let mut question = Question::default();
        assert_eq!((question.code(), question.poll_timeout(), question.take()), (None, None, None));
        assert_eq!(question.ask(START, Ticket(1), 47, None), Ok(()));
        assert_eq!((question.code(), question.poll_timeout()), (Some(47), Some(START + SIGN_IN_TIME)));
        let error = question.ask(START, Ticket(2), 48, None).expect_err("one is pending").to_string();
        assert_eq!(error, "somebody else is signing in: try again in a minute");
        assert_eq!((question.code(), question.take(), question.take()), (Some(47), Some(Ticket(1)), None));
        assert_eq!(question.ask(START, Ticket(3), 48, None), Ok(()));
    }

    #[test]
    fn a_question_waits_for_no_press_that_is_another_questions() {
        let mut question = Question::default();
        let error = question.ask(START, Ticket(1), 47, Some("pairing")).expect_err("pairing goes on").to_string();
        assert_eq!(error, "pairing is waiting for the button: sign in after that");
        assert_eq!(question.code(), None);
    }

    #[test]
    fn a_question_ends_with_its_time_or_with_who_asked() {
        let mut question = Question::default();
        question.ask(START, Ticket(1), 47, None).expect("it is asked");
        assert_eq!(question.expire(Instant(START.0 + 59_999_999)), None);
        assert!(!question.withdraw(Ticket(2)));
        assert_eq!(question.expire(START + SIGN_IN_TIME), Some(Ticket(1)));
        assert_eq!(question.expire(START + SIGN_IN_TIME), None);
        question.ask(START, Ticket(2), 47, None).expect("it is asked");
        assert!(question.withdraw(Ticket(2)));
        assert_eq!((question.code(), question.poll_timeout()), (None, None));
    }

    #[test]
    fn a_code_has_two_digits_that_can_be_blinked() {
        for code in 0..=u8::MAX {
            let good = (1..=9).contains(&(code / 10)) && code % 10 != 0;
            assert_eq!(Question::default().ask(START, Ticket(1), code, None).is_ok(), good, "{code}");
        }
    }
}
