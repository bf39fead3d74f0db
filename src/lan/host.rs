//! Under which names the page answers, and from which pages requests may come.
//!
//! A page of the attacker's whose name is made to lead to this box (DNS rebinding) has its own name in `Host`; a page of
//! another origin that sends a form or a script's request here is told by `Origin` or `Sec-Fetch-Site`. Both are refused.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Names of this box beside its addresses and `localhost`; lower case, without a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Names(Vec<String>);

impl Names {
    /// Those that were configured, and `NAME.local` for each of the labels.
    pub fn new(configured: &[String], labels: &[&str]) -> Self {
        let local = labels.iter().map(|label| format!("{}.local", host_label(label)));
        Self(configured.iter().map(|name| name.to_ascii_lowercase()).chain(local).collect())
    }

    /// True when a request that came in at `local` may say that it is for `host`.
    pub fn knows(&self, host: &str, local: IpAddr) -> bool {
        let Some(name) = without_port(host) else { return false };
        if let Some(address) = address(name) {
            return address.to_canonical() == local.to_canonical() || address.is_loopback();
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        name == "localhost" || self.0.contains(&name)
    }
}

/// A name for people as a host's label (RFC 1123): letters, digits and hyphens, at most 63, `box` where nothing is left.
pub fn host_label(name: &str) -> String {
    let mut label = String::new();
    for character in name.chars() {
        match character.to_ascii_lowercase() {
            letter @ ('a'..='z' | '0'..='9') => label.push(letter),
            _ if label.ends_with('-') || label.is_empty() => {}
            _ => label.push('-'),
        }
    }
    label.truncate(LABEL_MAX);
    let label = label.trim_end_matches('-');
    if label.is_empty() { "box".into() } else { label.into() }
}

/// Where a request that changes something comes from, by its headers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Source<'a> {
    /// `Origin` (RFC 6454).
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site` (Fetch Metadata).
    pub fetch_site: Option<&'a str>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
}

impl Source<'_> {
    /// True when the request comes from the page of `host` itself, or from no page at all.
    ///
    /// What tells neither `Origin` nor `Sec-Fetch-Site` is a program, or a browser that is older than they are. Such a
    /// browser sends no PUT or DELETE of another origin, and no JSON, without asking first (CORS), and is refused then.
    pub fn is_own(&self, method: &str, host: &str) -> bool {
        if let Some(origin) = self.origin {
            return origin.strip_prefix("http://").is_some_and(|name| name.eq_ignore_ascii_case(host));
        }
        match self.fetch_site {
            Some(site) => site == "same-origin",
            None if method == "POST" => {
                let media = self.content_type.unwrap_or_default().split(';').next().unwrap_or_default();
                media.trim().eq_ignore_ascii_case("application/json")
            }
            None => true,
        }
    }
}

impl Source<'_> {
    /// True when another page sent the request, whatever it asks for: for clients that prove who they are with each
    /// request, which a browser does by itself once it was told. What a person types in is from no page.
    pub fn is_foreign(&self, host: &str) -> bool {
        if let Some(origin) = self.origin {
            return !origin.strip_prefix("http://").is_some_and(|name| name.eq_ignore_ascii_case(host));
        }
        self.fetch_site.is_some_and(|site| !matches!(site, "same-origin" | "none"))
    }
}

/// The host of `HOST[:PORT]` (RFC 9110, section 7.2), an IPv6 address without its brackets.
fn without_port(host: &str) -> Option<&str> {
    let (name, rest) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').filter(|(name, _)| name.parse::<Ipv6Addr>().is_ok())?,
        None => host.find(':').map_or((host, ""), |at| host.split_at(at)),
    };
    let port_is_good = match rest.strip_prefix(':') {
        Some(port) => port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()),
        None => rest.is_empty(),
    };
    (port_is_good && !name.is_empty()).then_some(name)
}

fn address(name: &str) -> Option<IpAddr> {
    name.parse::<Ipv4Addr>().map(IpAddr::V4).or_else(|_| name.parse::<Ipv6Addr>().map(IpAddr::V6)).ok()
}

const LABEL_MAX: usize = 63;

/// Whom connections are counted for: an address, or a network of IPv6, in which a host takes any address it likes.
pub fn host_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> Names {
        Names::new(&["Attic.Example".into()], &["Anna's Attic"])
    }

    fn local() -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 168, 1, 5))
    }

    #[test]
    fn the_box_knows_itself() {
        for host in [
            "192.168.1.5",
            "192.168.1.5:8080",
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:4711",
            "[::1]:80",
            "[::ffff:192.168.1.5]",
            "anna-s-attic.local",
            "Anna-s-Attic.local.:80",
            "attic.example",
        ] {
            assert!(names().knows(host, local()), "{host}");
        }
        let six: IpAddr = "fe80::1".parse().expect("an address");
        assert!(names().knows("[fe80::1]:80", six));
        let mapped: IpAddr = "::ffff:192.168.1.5".parse().expect("an address");
        assert!(names().knows("192.168.1.5", mapped));
    }

    #[test]
    fn other_names_are_refused() {
        for host in [
            "",
            ":80",
            "evil.example",
            "192.168.1.6",
            "192.168.1.5.evil.example",
            "localhost.evil.example",
            "attic.example.evil.example",
            "xattic.example",
            "attic.example@evil.example",
            "evil.example#attic.example",
            "192.168.1.5:80:80",
            "192.168.1.5:x",
            "192.168.1.5:123456",
            "[192.168.1.5]",
            "[::2]",
            "[::1",
            "::1",
            "[::1]x",
            "3232235781",
            "0xc0a80105",
            "192.168.261",
            " localhost",
        ] {
            assert!(!names().knows(host, local()), "{host}");
        }
    }

    #[test]
    fn a_name_becomes_a_label() {
        for (name, label) in [
            ("attic", "attic"),
            ("Anna's Attic", "anna-s-attic"),
            ("  Skiläufer -- Hütte ", "skil-ufer-h-tte"),
            ("\u{5c71}", "box"),
            ("", "box"),
            ("-", "box"),
        ] {
            assert_eq!(host_label(name), label);
        }
        assert_eq!(host_label(&"a".repeat(99)).len(), 63);
    }

    fn source<'a>(origin: Option<&'a str>, fetch_site: Option<&'a str>, content_type: Option<&'a str>) -> Source<'a> {
        Source { origin, fetch_site, content_type }
    }

    #[test]
    fn only_the_own_page_changes_something() {
        let host = "192.168.1.5:8080";
        for (method, from, own) in [
            ("PUT", source(Some("http://192.168.1.5:8080"), None, None), true),
            ("POST", source(Some("http://192.168.1.5:8080"), Some("same-origin"), None), true),
            ("POST", source(Some("http://192.168.1.5"), None, None), false),
            ("POST", source(Some("https://192.168.1.5:8080"), None, None), false),
            ("POST", source(Some("http://evil.example"), Some("same-origin"), Some("application/json")), false),
            ("POST", source(Some("null"), None, Some("application/json")), false),
            ("DELETE", source(Some(""), None, None), false),
            ("POST", source(None, Some("same-origin"), None), true),
            ("POST", source(None, Some("same-site"), Some("application/json")), false),
            ("PUT", source(None, Some("cross-site"), None), false),
            ("PUT", source(None, Some("none"), None), false),
            ("PUT", source(None, None, None), true),
            ("DELETE", source(None, None, None), true),
            ("POST", source(None, None, Some("application/json; charset=utf-8")), true),
            ("POST", source(None, None, Some("text/plain; application/json")), false),
            ("POST", source(None, None, Some("application/x-www-form-urlencoded")), false),
            ("POST", source(None, None, None), false),
        ] {
            assert_eq!(from.is_own(method, host), own, "{method} {from:?}");
        }
    }

    #[test]
    fn other_pages_are_told_from_programs() {
        let host = "192.168.1.5:8080";
        for (from, foreign) in [
            (source(None, None, None), false),
            (source(None, Some("none"), None), false),
            (source(None, Some("same-origin"), None), false),
            (source(Some("http://192.168.1.5:8080"), Some("same-origin"), None), false),
            (source(None, Some("cross-site"), None), true),
            (source(None, Some("same-site"), None), true),
            (source(None, Some("?"), None), true),
            (source(Some("http://192.168.1.5"), None, None), true),
            (source(Some("null"), Some("none"), None), true),
            (source(Some(""), None, None), true),
        ] {
            assert_eq!(from.is_foreign(host), foreign, "{from:?}");
        }
    }

    proptest! {
        #[test]
        fn no_host_breaks_it(host in ".{0,80}") {
            let known = names().knows(&host, local());
            prop_assert!(!known || host.is_ascii());
        }

        #[test]
        fn a_label_is_a_label(name in ".{0,80}") {
            let label = host_label(&name);
            prop_assert!((1..=63).contains(&label.len()));
            prop_assert!(label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'));
            prop_assert!(!label.starts_with('-') && !label.ends_with('-'));
            prop_assert_eq!(host_label(&label), label);
        }
    }

    #[test]
    fn hosts_are_told_apart_by_network_in_ipv6() {
        let host = |text: &str| host_of(text.parse().expect("an address"));
        assert_eq!(host("2001:db8::1"), host("2001:db8::ffff:1"));
        assert_ne!(host("2001:db8::1"), host("2001:db8:0:1::1"));
        assert_eq!(host("::ffff:10.0.0.1"), host("10.0.0.1"));
        assert_ne!(host("10.0.0.1"), host("10.0.0.2"));
    }
}
