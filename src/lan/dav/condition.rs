//! The `If` header (RFC 4918, section 10.4): which states and versions a request names, and whether they are so.

use super::super::api::ApiError;
use super::{Target, target_of};
use crate::base::limits::DAV_CONDITIONS;

/// An `If` header; without one it is empty, and holds.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct If(Vec<List>);

/// Conditions that hold together, on one resource.
#[derive(Clone, PartialEq, Eq, Debug)]
struct List {
    /// `None` is the resource that the request is for.
    on: Option<Target>,
    conditions: Vec<Condition>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Condition {
    not: bool,
    what: What,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum What {
    /// A lock's token.
    State(String),
    /// An entity tag, with its quotes.
    Version(String),
}

/// How a resource is.
pub struct State {
    /// Tokens of the locks that it lies under.
    pub tokens: Vec<String>,
    /// Its entity tag, where it is a file.
    pub tag: Option<String>,
}

impl If {
    /// Reads the header's value. `host` is the one that the request is for.
    ///
    /// # Errors
    /// 400 with the reason.
    pub fn parse(text: &str, host: &str) -> Result<Self, ApiError> {
        let mut lists = Vec::new();
        let mut on = None;
        let mut count = 0;
        let mut rest = text.trim();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('<') {
                let (address, after) = after.split_once('>').ok_or_else(bad)?;
                on = Some(target_of(address, host).unwrap_or(Target::Elsewhere));
                rest = after.trim_start();
                if !rest.starts_with('(') {
                    return Err(bad());
                }
                continue;
            }
            let after = rest.strip_prefix('(').ok_or_else(bad)?;
            let (conditions, after) = list(after)?;
            count += conditions.len() + 1;
            if conditions.is_empty() || count > DAV_CONDITIONS {
                return Err(bad());
            }
            lists.push(List { on: on.clone(), conditions });
            rest = after.trim_start();
        }
        // Either all lists have a resource, or none has.
        let mixed = lists.iter().any(|list| list.on.is_none()) && lists.iter().any(|list| list.on.is_some());
        if lists.is_empty() || mixed { Err(bad()) } else { Ok(Self(lists)) }
    }

    /// True when one of its lists holds; `state` tells how a resource is, `None` being the one that the request is for.
    pub fn holds(&self, mut state: impl FnMut(Option<&Target>) -> State) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|list| {
                let state = state(list.on.as_ref());
                list.conditions.iter().all(|condition| condition.holds(&state))
            })
    }

    /// The token is named, in whatever place: its lock's holder sent the request.
    pub fn submits(&self, token: &str) -> bool {
        let mut conditions = self.0.iter().flat_map(|list| &list.conditions);
        conditions.any(|condition| matches!(&condition.what, What::State(known) if known == token))
    }

    /// The one token that it names, where it names one.
    pub fn token(&self) -> Option<&str> {
        let mut tokens =
            self.0.iter().flat_map(|list| &list.conditions).filter_map(|condition| match &condition.what {
                What::State(token) if !condition.not => Some(token.as_str()),
                _ => None,
            });
        tokens.next().filter(|first| tokens.all(|other| other == *first))
    }
}

impl Condition {
    fn holds(&self, state: &State) -> bool {
        let is = match &self.what {
            What::State(token) => state.tokens.contains(token),
            What::Version(tag) => state.tag.as_ref() == Some(tag),
        };
        is != self.not
    }
}

/// The conditions up to the closing bracket, and what comes after it.
fn list(text: &str) -> Result<(Vec<Condition>, &str), ApiError> {
    let mut conditions = Vec::new();
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix(')') {
            return Ok((conditions, after));
        }
        let after = rest.get(..3).filter(|word| word.eq_ignore_ascii_case("not")).map(|_| rest[3..].trim_start());
        let not = after.is_some();
        rest = after.unwrap_or(rest);
        let (what, after) = if let Some(after) = rest.strip_prefix('<') {
            let (token, after) = after.split_once('>').ok_or_else(bad)?;
            (What::State(token.to_owned()), after)
        } else if let Some(after) = rest.strip_prefix('[') {
            let (tag, after) = after.split_once(']').ok_or_else(bad)?;
            (What::Version(tag.trim().to_owned()), after)
        } else {
            return Err(bad());
        };
        conditions.push(Condition { not, what });
        rest = after.trim_start();
        if conditions.len() > DAV_CONDITIONS {
            return Err(bad());
        }
    }
}

fn bad() -> ApiError {
    ApiError::bad("the header 'If' cannot be read")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::path::FilePath;
    use super::*;

    fn parse(text: &str) -> If {
        If::parse(text, "box").unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn holds(text: &str) -> bool {
        parse(text).holds(|on| match on {
            None => State { tokens: vec!["urn:a".into(), "urn:b".into()], tag: Some("\"1\"".into()) },
            Some(Target::Here(path)) if *path == FilePath::parse("x y").expect("a path") => {
                State { tokens: vec!["urn:x".into()], tag: None }
            }
            Some(_) => State { tokens: Vec::new(), tag: None },
        })
    }

    #[test]
    fn lists_hold_when_all_in_them_does() {
        for (text, so) in [
            ("(<urn:a>)", true),
            ("(<urn:c>)", false),
            ("(<urn:c>) (<urn:a>)", true),
            ("(<urn:a> <urn:b> [\"1\"])", true),
            ("(<urn:a> [\"2\"])", false),
            ("(<urn:a> Not [\"2\"])", true),
            ("(Not <urn:a>)(not <DAV:no-lock>)", true),
            ("(<DAV:no-lock>)", false),
            ("(<urn:c>) (Not <DAV:no-lock>)", true),
            ("</dav/x%20y> (<urn:x>)", true),
            ("<http://box/dav/x%20y/> (<urn:a>) (<urn:x>)", true),
            ("<http://other/dav/x%20y> (<urn:x>)", false),
            ("</dav/z> (Not <urn:x>)", true),
            ("</dav/z> (<urn:x>) </dav/x%20y> (<urn:x>)", true),
            ("(  [\"1\"]  )", true),
        ] {
            assert_eq!(holds(text), so, "{text}");
        }
        assert!(If::default().holds(|_| unreachable!("there is nothing to look at")));
    }

    #[test]
    fn tokens_are_submitted_wherever_they_stand() {
        let named = parse("</dav/a> (Not <urn:a> [\"x\"]) (<urn:b>)");
        assert!(named.submits("urn:a") && named.submits("urn:b") && !named.submits("\"x\"") && !named.submits("urn:c"));
        assert_eq!(named.token(), Some("urn:b"));
        assert_eq!(parse("(<urn:a>) (<urn:b>)").token(), None);
        assert_eq!(If::default().token(), None);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for text in [
            "",
            "x",
            "(",
            ")",
            "()",
            "(<a>",
            "(<a",
            "([a)",
            "(a)",
            "<a>",
            "<a",
            "<a> <b> (<c>)",
            "(<a>) </dav/x> (<b>)",
            "(Not)",
            "(Not Not <a>)",
            "(<a>) x",
            "(\u{e4}\u{e4}<a>)",
        ] {
            assert_eq!(If::parse(text, "box").expect_err(text).status, 400, "{text}");
        }
        assert!(If::parse(&"(<a>)".repeat(DAV_CONDITIONS / 2), "box").is_ok());
        assert!(If::parse(&"(<a>)".repeat(DAV_CONDITIONS), "box").is_err());
        assert!(If::parse(&format!("({})", "<a>".repeat(DAV_CONDITIONS)), "box").is_err());
    }

    proptest! {
        #[test]
        fn no_header_breaks_it(text in "[()<>\\[\\]Not \"a/]{0,40}") {
            if let Ok(named) = If::parse(&text, "box") {
                named.holds(|_| State { tokens: Vec::new(), tag: None });
            }
        }
    }
}
