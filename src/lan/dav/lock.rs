//! Locks (RFC 4918, section 6 and 7): who holds which part of the tree, in memory and for a time.
//!
//! They keep WebDAV's clients of this node from each other. The mount, the page and friends know nothing of them.

use std::fmt::Write;
use std::time::Duration;

use super::super::api::ApiError;
use super::super::path::FilePath;
use super::condition::If;
use super::href;
use super::xml::{Element, escape};
use crate::base::Instant;
use crate::base::limits::{DAV_LOCK_TIME, DAV_LOCKS, DAV_OWNER_MAX};

/// All locks.
#[derive(Default)]
pub struct Locks(Vec<Lock>);

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lock {
    /// What only its holder was told, in principle: whoever lists the properties is told as well.
    pub token: String,
    /// Where it was taken.
    pub root: FilePath,
    /// It holds for all that lies below as well.
    pub deep: bool,
    /// Others may hold such a lock as well.
    pub shared: bool,
    /// What its owner says of itself, as XML.
    pub owner: String,
    /// How long it lasts without being refreshed.
    pub time: Duration,
    /// When it ends.
    pub until: Instant,
}

impl Lock {
    fn covers(&self, path: &FilePath) -> bool {
        self.root == *path || self.deep && path.is_in(&self.root)
    }

    /// Writes it as an `activelock`.
    fn write(&self, now: Instant, out: &mut String) {
        let scope = if self.shared { "shared" } else { "exclusive" };
        let depth = if self.deep { "infinity" } else { "0" };
        let left = self.until.since(now).as_secs();
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:{scope}/></D:lockscope>\
             <D:depth>{depth}</D:depth>{}<D:timeout>Second-{left}</D:timeout>\
             <D:locktoken><D:href>{}</D:href></D:locktoken><D:lockroot><D:href>",
            self.owner, self.token
        );
        escape(&href(&self.root, false), out);
        out.push_str("</D:href></D:lockroot></D:activelock>");
    }
}

/// What a `LOCK` with a body asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Others may hold such a lock as well.
    pub shared: bool,
    /// What the owner says of itself, as XML.
    pub owner: String,
}

impl Wanted {
    /// Reads a `lockinfo`.
    ///
    /// # Errors
    /// 400 or 422 with the reason.
    pub fn read(document: &Element) -> Result<Self, ApiError> {
        if document.name.as_dav() != Some("lockinfo") {
            return Err(ApiError::bad("the body is no 'lockinfo'"));
        }
        let scope = document.dav("lockscope").ok_or_else(|| ApiError::bad("the lock has no scope"))?;
        let shared = scope.dav("shared").is_some();
        if !shared && scope.dav("exclusive").is_none() {
            return Err(ApiError::new(422, "the lock's scope is unknown"));
        }
        if document.dav("locktype").and_then(|kind| kind.dav("write")).is_none() {
            return Err(ApiError::new(422, "there are locks for writing only"));
        }
        let mut owner = String::new();
        if let Some(element) = document.dav("owner") {
            element.write(&mut owner);
        }
        if owner.len() > DAV_OWNER_MAX {
            return Err(ApiError::bad(format!("the lock's owner has more than {DAV_OWNER_MAX} bytes")));
        }
        Ok(Self { shared, owner })
    }
}

/// Reads a `Timeout` header: the first that it wishes for, at most [`DAV_LOCK_TIME`].
pub fn time_of(header: Option<&str>) -> Duration {
    let first = header.and_then(|wishes| wishes.split(',').next()).map_or("", str::trim);
    let seconds = first.strip_prefix("Second-").and_then(|seconds| seconds.parse().ok());
    seconds.map_or(DAV_LOCK_TIME, |seconds: u32| Duration::from_secs(seconds.max(1).into()).min(DAV_LOCK_TIME))
}

impl Locks {
    /// Takes a lock that no other is in the way of.
    ///
    /// # Errors
    /// The root of one that is; 503 when there are too many.
    pub fn take(&mut self, now: Instant, lock: Lock) -> Result<(), Refused> {
        self.expire(now);
        let meets = |other: &&Lock| other.covers(&lock.root) || lock.deep && other.root.is_in(&lock.root);
        let in_the_way = |other: &&Lock| meets(other) && !(other.shared && lock.shared);
        if let Some(other) = self.0.iter().find(in_the_way) {
            return Err(Refused::Held(other.root.clone()));
        }
        if self.0.len() >= DAV_LOCKS {
            return Err(Refused::Full);
        }
        self.0.push(lock);
        Ok(())
    }

    /// Gives a lock its time anew; `None` when there is no such lock on this resource.
    pub fn refresh(&mut self, now: Instant, path: &FilePath, token: &str, time: Duration) -> Option<&Lock> {
        self.expire(now);
        let lock = self.0.iter_mut().find(|lock| lock.token == token && lock.covers(path))?;
        lock.time = time;
        lock.until = now + time;
        Some(lock)
    }

    /// Gives a lock up; false when there is no such lock on this resource.
    pub fn release(&mut self, now: Instant, path: &FilePath, token: &str) -> bool {
        self.expire(now);
        let at = self.0.iter().position(|lock| lock.token == token && lock.covers(path));
        at.map(|at| self.0.swap_remove(at)).is_some()
    }

    /// What was here is gone, and the locks that were taken on it with it.
    pub fn removed(&mut self, path: &FilePath) {
        self.0.retain(|lock| !lock.root.is_in(path));
    }

    /// Tokens of the locks that a resource lies under.
    pub fn tokens(&self, now: Instant, path: &FilePath) -> Vec<String> {
        self.on(now, path).map(|lock| lock.token.clone()).collect()
    }

    /// Writes a `lockdiscovery`'s content.
    pub fn write(&self, now: Instant, path: &FilePath, out: &mut String) {
        for lock in self.on(now, path) {
            lock.write(now, out);
        }
    }

    /// Checks that who changes `path`, and with `deep` all below it, holds what is locked of it. What is made or taken
    /// away changes its directory as well.
    ///
    /// # Errors
    /// The root of a lock whose holder it is not.
    pub fn allow(&self, now: Instant, path: &FilePath, change: Change, named: &If) -> Result<(), FilePath> {
        let mut places = vec![path.clone()];
        if change.directory {
            places.extend(path.split().map(|(directory, _)| directory));
        }
        if change.deep {
            places.extend(self.0.iter().filter(|lock| lock.root.is_in(path)).map(|lock| lock.root.clone()));
        }
        for place in places {
            let mut held = self.on(now, &place).peekable();
            let Some(first) = held.peek().map(|lock| lock.root.clone()) else { continue };
            // Of several, which are shared, one is enough.
            if !held.any(|lock| named.submits(&lock.token)) {
                return Err(first);
            }
        }
        Ok(())
    }

    fn on(&self, now: Instant, path: &FilePath) -> impl Iterator<Item = &Lock> {
        self.0.iter().filter(move |lock| lock.until > now && lock.covers(path))
    }

    fn expire(&mut self, now: Instant) {
        self.0.retain(|lock| lock.until > now);
    }
}

/// What a request changes, beside the resource itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// The directory that it is in: a name comes or goes.
    pub directory: bool,
    /// What lies below it.
    pub deep: bool,
}

/// Why a lock is not given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Somebody has one there.
    Held(FilePath),
    /// There are [`DAV_LOCKS`].
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant(1);

    fn path(text: &str) -> FilePath {
        FilePath::parse(text).expect("a path")
    }

    fn lock(root: &str, deep: bool, shared: bool) -> Lock {
        let time = Duration::from_secs(10);
        Lock {
            token: format!("urn:{root}"),
            root: path(root),
            deep,
            shared,
            owner: String::new(),
            time,
            until: NOW + time,
        }
    }

    fn holding(locks: &[Lock]) -> Locks {
        let mut held = Locks::default();
        for lock in locks {
            held.take(NOW, lock.clone()).expect("free");
        }
        held
    }

    #[test]
    fn exclusive_ones_exclude() {
        for (first, second, free) in [
            (lock("a", false, false), lock("a", false, false), false),
            (lock("a", false, true), lock("a", false, false), false),
            (lock("a", false, false), lock("a", false, true), false),
            (lock("a", false, true), lock("a", false, true), true),
            (lock("a", false, false), lock("b", false, false), true),
            (lock("a", false, false), lock("a/b", false, false), true),
            (lock("a", true, false), lock("a/b", false, false), false),
            (lock("a/b", false, false), lock("a", true, false), false),
            (lock("a/b", false, false), lock("a", false, false), true),
            (lock("", true, false), lock("a", false, false), false),
            (lock("a", true, false), lock("ab", true, false), true),
        ] {
            let mut held = holding(std::slice::from_ref(&first));
            assert_eq!(held.take(NOW, second.clone()).is_ok(), free, "{first:?} {second:?}");
            assert_eq!(held.take(NOW + first.time, second), Ok(()), "its time is over");
        }
        let mut held = Locks::default();
        for number in 0..DAV_LOCKS {
            held.take(NOW, lock(&number.to_string(), false, false)).expect("free");
        }
        assert_eq!(held.take(NOW, lock("x", false, false)), Err(Refused::Full));
    }

    #[test]
    fn who_holds_it_may() {
        let held = holding(&[lock("d", true, false), lock("e", false, false), lock("f/g", false, true)]);
        let named = |text: &str| If::parse(text, "box").unwrap_or_default();
        let (alone, name, tree) = (
            Change { directory: false, deep: false },
            Change { directory: true, deep: false },
            Change { directory: true, deep: true },
        );
        for (at, change, header, refused) in [
            ("d", alone, "", Some("d")),
            ("d/x", alone, "", Some("d")),
            ("d/x", alone, "(<urn:d>)", None),
            ("d/x", tree, "(<urn:d>)", None),
            ("e", alone, "", Some("e")),
            ("e/x", alone, "", None),
            ("e/x", name, "", Some("e")),
            ("e/x", name, "(<urn:e>)", None),
            ("e/x", name, "(<urn:d>)", Some("e")),
            ("f", alone, "", None),
            ("f", tree, "", Some("f/g")),
            ("f", tree, "(<urn:f/g>)", None),
            ("", tree, "(<urn:d>)", Some("e")),
            ("x", tree, "", None),
        ] {
            assert_eq!(
                held.allow(NOW, &path(at), change, &named(header)),
                refused.map_or(Ok(()), |at| Err(path(at))),
                "{at}"
            );
            assert_eq!(held.allow(NOW + Duration::from_secs(10), &path(at), change, &If::default()), Ok(()));
        }
        let mut shared = holding(&[lock("s", false, true)]);
        shared.take(NOW, Lock { token: "urn:t".into(), ..lock("s", false, true) }).expect("shared");
        assert_eq!(shared.allow(NOW, &path("s"), alone, &named("(<urn:t>)")), Ok(()), "one of them is enough");
    }

    #[test]
    fn they_are_refreshed_released_and_go_with_what_they_are_on() {
        let mut held = holding(&[lock("d", true, false)]);
        let later = NOW + Duration::from_secs(9);
        assert!(held.refresh(later, &path("d/x"), "urn:d", Duration::from_secs(10)).is_some());
        assert!(held.refresh(later, &path("e"), "urn:d", Duration::from_secs(10)).is_none());
        assert_eq!(held.tokens(later + Duration::from_secs(9), &path("d/x")), ["urn:d"]);
        assert!(!held.release(later, &path("e"), "urn:d"));
        assert!(held.release(later, &path("d/x"), "urn:d"));
        assert!(held.tokens(later, &path("d")).is_empty());
        let mut held = holding(&[lock("d/e", false, false), lock("f", false, false)]);
        held.removed(&path("d"));
        assert!(held.tokens(NOW, &path("d/e")).is_empty());
        assert_eq!(held.tokens(NOW, &path("f")), ["urn:f"]);
    }

    #[test]
    fn requests_are_read() {
        let read = |body: &str| Wanted::read(&Element::parse(body.as_bytes()).expect("XML"));
        let body = |inner: &str| format!("<lockinfo xmlns='DAV:'>{inner}</lockinfo>");
        let (write, scope) = ("<locktype><write/></locktype>", "<lockscope><shared/></lockscope>");
        let wanted = read(&body(&format!("{write}{scope}<owner><href>me</href></owner>"))).expect("wanted");
        assert_eq!(wanted, Wanted { shared: true, owner: "<owner xmlns=\"DAV:\"><href>me</href></owner>".into() });
        for (inner, status) in [
            (String::new(), 400),
            (scope.into(), 422),
            (write.into(), 400),
            (format!("{write}<lockscope/>"), 422),
            (format!("{write}{scope}<owner>{}</owner>", "x".repeat(DAV_OWNER_MAX)), 400),
        ] {
            assert_eq!(read(&body(&inner)).expect_err(&inner).status, status, "{inner}");
        }
        assert_eq!(read("<lockinfo/>").expect_err("another namespace").status, 400);
        for (header, seconds) in [
            (Some("Second-10"), 10),
            (Some("Second-10, Infinite"), 10),
            (Some("Infinite, Second-4100000000"), 3_600),
            (Some("Second-4100000000"), 3_600),
            (Some("Second-0"), 1),
            (Some("Second--1"), 3_600),
            (None, 3_600),
        ] {
            assert_eq!(time_of(header).as_secs(), seconds, "{header:?}");
        }
    }

    #[test]
    fn they_are_told() {
        let held = holding(&[Lock { owner: "<owner xmlns=\"DAV:\">me</owner>".into(), ..lock("d e", true, false) }]);
        let mut told = String::new();
        held.write(NOW, &path("d%20e/x"), &mut told);
        let read = Element::parse(format!("<x xmlns:D='DAV:'>{told}</x>").as_bytes()).expect("XML");
        let lock = read.dav("activelock").expect("a lock");
        assert_eq!(lock.dav("timeout").map(Element::text).as_deref(), Some("Second-10"));
        assert_eq!(lock.dav("owner").map(Element::text).as_deref(), Some("me"));
        assert_eq!(
            lock.dav("lockroot").and_then(|root| root.dav("href")).map(Element::text).as_deref(),
            Some("/dav/d%20e")
        );
    }
}
