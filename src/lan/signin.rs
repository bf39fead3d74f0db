//! Signing in: a stranger's page asks, a press at the box answers, and the page that asked collects the session.
//!
//! One question at a time, each known by an id that only its page is told; tries are bounded, an answer that nobody
//! collects lapses, and a page that is gone no longer asks.

use std::collections::VecDeque;
use std::time::Duration;

use core::net::IpAddr;
use subtle::ConstantTimeEq;

use super::api::ApiError;
use crate::base::Instant;

/// 128 bits of the operating system's entropy, known to the page that asked alone.
pub type Id = [u8; 16];

/// See the module.
#[derive(Default)]
pub struct SignIns {
    current: Option<Current>,
    /// When and from where questions were asked lately.
    asked: VecDeque<(Instant, IpAddr)>,
}

struct Current {
    id: Id,
    from: IpAddr,
    /// When its page was last heard of, or when it was answered.
    heard: Instant,
    answer: Answer,
}

/// How far a question is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Nobody pressed yet.
    Waiting,
    /// Somebody pressed: the page may have a session, once.
    Allowed,
    /// It was refused: why.
    Refused(String),
}

impl SignIns {
    /// Asks a question.
    ///
    /// # Errors
    /// 409 while another is pending, 429 when there were too many.
    pub fn ask(&mut self, now: Instant, from: IpAddr, id: Id) -> Result<(), ApiError> {
        let from = super::host::host_of(from);
        while self.asked.front().is_some_and(|(at, _)| now.since(*at) >= TRIES_TIME) {
            self.asked.pop_front();
        }
        // Whoever asks anew has loaded the page again.
        let pending = |current: &Current| {
            current.answer == Answer::Waiting && now.since(current.heard) < HEARD_TIME && current.from != from
        };
        if self.current.as_ref().is_some_and(pending) {
            return Err(ApiError::new(409, "somebody else is signing in").with_remedy("try again in a minute"));
        }
        let own = self.asked.iter().filter(|(_, by)| *by == from).count();
        // Whoever has not asked yet is not kept out by those who did.
        if own >= TRIES_EACH || own > 0 && self.asked.len() >= TRIES_ALL {
            return Err(ApiError::new(429, "there were too many tries to sign in").with_remedy("wait ten minutes"));
        }
        if self.asked.len() >= TRIES_ALL * 4 {
            self.asked.pop_front();
        }
        self.asked.push_back((now, from));
        self.current = Some(Current { id, from, heard: now, answer: Answer::Waiting });
        Ok(())
    }

    /// The box answered the question of this id.
    pub fn answered(&mut self, now: Instant, id: &Id, answer: Result<(), String>) {
        let Some(current) = self.current.as_mut().filter(|current| current.is(id)) else { return };
        if current.answer == Answer::Waiting {
            current.heard = now;
            current.answer = answer.map_or_else(Answer::Refused, |()| Answer::Allowed);
        }
    }

    /// The page of this id asks how far it is. What is no longer waiting is told once; `None` when there is nothing.
    pub fn poll(&mut self, now: Instant, id: &Id) -> Option<Answer> {
        let current = self.current.as_mut().filter(|current| current.is(id))?;
        if current.answer == Answer::Waiting {
            current.heard = now;
            return Some(Answer::Waiting);
        }
        let current = self.current.take().filter(|current| now.since(current.heard) < HEARD_TIME)?;
        if current.answer == Answer::Allowed {
            // Whoever could press is no guesser.
            self.asked.retain(|(_, by)| *by != current.from);
        }
        Some(current.answer)
    }

    /// True when the question of this id waits for a page that is gone, or is no longer asked at all.
    pub fn is_abandoned(&self, now: Instant, id: &Id) -> bool {
        let own = self.current.as_ref().filter(|current| current.is(id));
        own.is_none_or(|current| current.answer == Answer::Waiting && now.since(current.heard) >= HEARD_TIME)
    }
}

impl Current {
    fn is(&self, id: &Id) -> bool {
        self.id.ct_eq(id).into()
    }
}

/// Two digits from entropy, none of them 0: each is blinked as so many flashes.
pub fn code(entropy: [u8; 2]) -> u8 {
    let digit = |byte: u8| 1 + byte % 9;
    digit(entropy[0]) * 10 + digit(entropy[1])
}

/// A page that was not heard of for so long is gone; an answer that was not collected by then lapses.
pub const HEARD_TIME: Duration = Duration::from_secs(15);
const TRIES_TIME: Duration = Duration::from_secs(600);
/// Questions in [`TRIES_TIME`] from one address, and from all.
const TRIES_EACH: usize = 6;
const TRIES_ALL: usize = 24;

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    const START: Instant = Instant(1);

    fn from(host: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, host))
    }

    fn later(seconds: u64) -> Instant {
        START + Duration::from_secs(seconds)
    }

    #[test]
    fn a_press_gives_one_session_to_the_page_that_asked() {
        let mut signins = SignIns::default();
        signins.ask(START, from(1), [1; 16]).expect("asked");
        assert_eq!(signins.poll(later(1), &[1; 16]), Some(Answer::Waiting));
        assert_eq!(signins.poll(later(1), &[2; 16]), None);
        signins.answered(later(2), &[2; 16], Ok(()));
        assert_eq!(signins.poll(later(2), &[1; 16]), Some(Answer::Waiting));
        signins.answered(later(3), &[1; 16], Ok(()));
        signins.answered(later(3), &[1; 16], Err("late".into()));
        assert_eq!(signins.poll(later(3), &[2; 16]), None);
        assert_eq!(signins.poll(later(4), &[1; 16]), Some(Answer::Allowed));
        assert_eq!(signins.poll(later(4), &[1; 16]), None);
    }

    #[test]
    fn a_refusal_is_told_with_its_words() {
        let mut signins = SignIns::default();
        signins.ask(START, from(1), [1; 16]).expect("asked");
        signins.answered(later(1), &[1; 16], Err("nobody pressed".into()));
        assert_eq!(signins.poll(later(2), &[1; 16]), Some(Answer::Refused("nobody pressed".into())));
        assert_eq!(signins.poll(later(2), &[1; 16]), None);
    }

    #[test]
    fn one_question_at_a_time_until_its_page_is_gone() {
        let mut signins = SignIns::default();
        signins.ask(START, from(1), [1; 16]).expect("asked");
        assert_eq!(signins.ask(later(1), from(2), [2; 16]).expect_err("one is pending").status, 409);
        assert_eq!(signins.poll(later(10), &[1; 16]), Some(Answer::Waiting));
        assert!(!signins.is_abandoned(later(24), &[1; 16]));
        assert!(signins.is_abandoned(later(25), &[1; 16]));
        signins.ask(later(25), from(2), [2; 16]).expect("the first is gone");
        assert!(signins.is_abandoned(later(25), &[1; 16]));
        signins.answered(later(26), &[1; 16], Ok(()));
        assert_eq!(signins.poll(later(26), &[1; 16]), None);
        assert_eq!(signins.poll(later(26), &[2; 16]), Some(Answer::Waiting));
    }

    #[test]
    fn an_answer_that_nobody_collects_lapses() {
        let mut signins = SignIns::default();
        signins.ask(START, from(1), [1; 16]).expect("asked");
        signins.answered(later(1), &[1; 16], Ok(()));
        assert_eq!(signins.poll(later(16), &[1; 16]), None);
        signins.ask(later(17), from(1), [2; 16]).expect("asked");
    }

    #[test]
    fn tries_are_bounded_and_forgotten() {
        let mut signins = SignIns::default();
        let refuse = |signins: &mut SignIns, at, host, number: u8| {
            let asked = signins.ask(at, from(host), [number; 16]);
            signins.answered(at, &[number; 16], Err("no".into()));
            asked.map_err(|error| error.status)
        };
        for number in 0..TRIES_EACH as u8 {
            assert_eq!(refuse(&mut signins, later(u64::from(number)), 1, number), Ok(()));
        }
        assert_eq!(refuse(&mut signins, later(10), 1, 99), Err(429));
        let others = (TRIES_ALL - TRIES_EACH) as u8;
        for number in 0..others {
            assert_eq!(refuse(&mut signins, later(10), 2 + number, number), Ok(()));
        }
        assert_eq!(refuse(&mut signins, later(10), 2, 99), Err(429), "there were too many of all");
        assert_eq!(refuse(&mut signins, later(10), 200, 99), Ok(()), "who has not asked yet is not kept out");
        assert_eq!(refuse(&mut signins, later(610), 1, 100), Ok(()));
    }

    #[test]
    fn a_code_has_two_digits_from_1_to_9() {
        for first in 0..=u8::MAX {
            let code = code([first, first.wrapping_mul(7)]);
            assert!((11..=99).contains(&code) && !code.is_multiple_of(10), "{code}");
        }
        assert_eq!((code([0, 0]), code([8, 8]), code([3, 6])), (11, 99, 47));
    }
}
