//! Requests that are taken and refused, and what answers look like.

use proptest::prelude::*;

use super::*;
use crate::node::io::{Answer, OpError};

fn status_of(result: Result<Call, ApiError>) -> u16 {
    result.expect_err("refused").status
}

#[test]
fn each_call_is_read_back_from_its_own_request() {
    let calls = [
        Call::Status,
        Call::Friends,
        Call::Transfers,
        Call::Invite { circle: None, role: Role::Cache, minutes: 5 },
        Call::Invite { circle: Some("Skiers".into()), role: Role::Keeper, minutes: INVITE_MINUTES_MAX },
        Call::Join { invite: "dust1abc".into() },
        Call::Found { name: "Skiers".into() },
        Call::Leave { circle: "Skiers".into() },
        Call::PrintSheet,
        Call::SheetWritten,
        Call::Recover { sheet: Zeroizing::new("legal winner".into()), at: vec!["example.org:1".into()] },
        Call::Recover { sheet: Zeroizing::new("dustfs-sheet1-x".into()), at: Vec::new() },
        Call::Guest { circle: None, name: "seedbox".into(), key: TransportKey([7; 32]) },
        Call::ExportTorrent { path: "Friends/a b".into(), announce: Some("[::1]:1".into()) },
        Call::Remove { circle: Some("Skiers".into()), member: "Ann's box".into() },
        Call::Remove { circle: None, member: "0badcafe".into() },
        Call::Import { from: "/mnt/photos".into(), into: None },
        Call::Import { from: "/mnt/photos".into(), into: Some("Home/a b".into()) },
        Call::Imported,
        Call::ImportDisk { path: "/run/dustfs/disks/sda1".into() },
        Call::LeaveDisk { path: "/run/dustfs/disks/sda1".into() },
        Call::Versions { path: String::new() },
        Call::Pin { path: "Friends/films".into(), pinned: false },
        Call::Free { path: "Friends/films".into() },
        Call::Password { text: None },
        Call::Password { text: Some(Zeroizing::new("correct horse".into())) },
        Call::Press { held_ms: 0 },
        Call::Press { held_ms: PRESS_MAX_MS },
        Call::Unmount,
        Call::Stop,
    ];
    for call in calls {
        let (method, path) = call.endpoint();
        let body = call.body().map(|body| body.to_string()).unwrap_or_default();
        assert_eq!(route(method, path, body.as_bytes()), Ok(call));
    }
}

#[test]
fn an_invite_has_defaults() {
    let expected = Call::Invite { circle: None, role: Role::Member, minutes: INVITE_MINUTES };
    assert_eq!(route("POST", "/v1/invite", b""), Ok(expected.clone()));
    assert_eq!(route("POST", "/v1/invite", b"{}"), Ok(expected));
}

#[test]
fn a_recovery_sheet_is_bounded_and_never_shown() {
    let body = |sheet: &str, at: &[&str]| json!({ "sheet": sheet, "at": at }).to_string();
    let refused = |body: String| status_of(route("POST", "/v1/recover", body.as_bytes()));
    assert_eq!(refused(body(&"x".repeat(SHEET_MAX + 1), &[])), 400);
    assert_eq!(refused(body("x", &[""])), 400);
    assert_eq!(refused(body("x", &[&"h".repeat(HOST_MAX + 1)])), 400);
    assert_eq!(refused(body("x", &["h"; SHEET_HOSTS + 1])), 400);
    assert!(route("POST", "/v1/recover", br#"{"sheet":"x"}"#).is_ok());
    let answer = SheetAnswer {
        words: "legal winner".into(),
        text: "dustfs-sheet1-secret".into(),
        addresses: Vec::new(),
        name: "recovery sheet".into(),
        circles: Vec::new(),
        alone: Vec::new(),
        older: false,
    };
    let shown = format!("{answer:?}");
    assert!(!shown.contains("winner") && !shown.contains("secret"), "{shown}");
    let (status, body) = render(&Ok(Outcome::Sheet(Box::new(answer))));
    assert!(status == 200 && body.contains("legal winner") && body.contains("dustfs-sheet1-secret"), "{body}");
}

#[test]
fn an_invite_is_trimmed() {
    assert_eq!(route("POST", "/v1/join", br#"{"invite":" abc\n"}"#), Ok(Call::Join { invite: "abc".into() }));
}

#[test]
fn bad_requests_are_refused_with_their_status() {
    assert_eq!(status_of(route("GET", "/", b"")), 404);
    assert_eq!(status_of(route("GET", "/v2/status", b"")), 404);
    assert_eq!(status_of(route("GET", "/v1/status?x=1", b"")), 404);
    assert_eq!(status_of(route("GET", "/v1/../v1/status", b"")), 404);
    assert_eq!(status_of(route("POST", "/v1/status", b"")), 405);
    assert_eq!(status_of(route("GET", "/v1/stop", b"")), 405);
    assert_eq!(status_of(route("POST", "/v1/join", &vec![b' '; BODY_MAX + 1])), 413);
    let bad: &[(&str, &[u8])] = &[
        ("/v1/stop", b"{\"now\":true}"),
        ("/v1/stop", b"null"),
        ("/v1/join", b""),
        ("/v1/join", b"{}"),
        ("/v1/join", b"{\"invite\":\"  \"}"),
        ("/v1/join", b"{\"invite\":7}"),
        ("/v1/join", b"{\"invite\":\"a\",\"name\":\"b\"}"),
        ("/v1/join", b"{\"invite\":\"a\"} {}"),
        ("/v1/join", b"\xff\xfe"),
        ("/v1/invite", b"{\"role\":\"owner\"}"),
        ("/v1/invite", b"{\"role\":\"Member\"}"),
        ("/v1/invite", b"{\"minutes\":0}"),
        ("/v1/invite", b"{\"minutes\":10081}"),
        ("/v1/invite", b"{\"minutes\":-1}"),
        ("/v1/invite", b"{\"minutes\":99999999999}"),
        ("/v1/invite", b"{\"circle\":\"a/b\"}"),
        ("/v1/found", b"{\"name\":\"..\"}"),
        ("/v1/pin", b"{\"path\":\"a\"}"),
        ("/v1/free", b"{}"),
        ("/v1/found", b"{\"name\":\"a\\u0000b\"}"),
        ("/v1/found", b"{\"name\":\"\"}"),
        ("/v1/import", b"{}"),
        ("/v1/import", b"{\"from\":\"photos\"}"),
        ("/v1/import", b"{\"from\":\"/a\\u0000b\"}"),
        ("/v1/password", b"{}"),
        ("/v1/password", b"{\"password\":7}"),
        ("/v1/press", b"{\"held_ms\":30001}"),
        ("/v1/press", b"{\"hold\":true}"),
        ("/v1/remove", b"{\"member\":\"\"}"),
        ("/v1/remove", b"{\"circle\":\"Home\"}"),
    ];
    for (path, body) in bad {
        assert_eq!(status_of(route("POST", path, body)), 400, "{path} {}", String::from_utf8_lossy(body));
    }
    let long = json!({ "invite": "a".repeat(INVITE_MAX + 1) }).to_string();
    assert_eq!(status_of(route("POST", "/v1/join", long.as_bytes())), 400);
}

#[test]
fn a_deep_body_is_refused_and_not_recursed_into() {
    let deep = "[".repeat(BODY_MAX);
    assert_eq!(status_of(route("POST", "/v1/join", deep.as_bytes())), 400);
    let inner = format!("{{\"invite\":{}", "[".repeat(60_000));
    assert_eq!(status_of(route("POST", "/v1/join", inner.as_bytes())), 400);
}

#[test]
fn errors_carry_words_and_a_remedy() {
    let (status, body) = render(&Err(ApiError::new(409, "it is mounted").with_remedy("unmount it")));
    assert_eq!((status, body.as_str()), (409, r#"{"error":"it is mounted","remedy":"unmount it"}"#));
    let (status, body) = render(&Err(OpError::Busy.into()));
    assert_eq!((status, body.as_str()), (503, r#"{"error":"too much is waiting: try again"}"#));
}

#[test]
fn outcomes_are_json_objects() {
    assert_eq!(render(&Ok(Outcome::Done)), (200, "{}".into()));
    assert_eq!(render(&Ok(Outcome::Invite("x".into()))), (200, r#"{"invite":"x"}"#.into()));
    assert_eq!(render(&Ok(Outcome::Circle("Home".into()))), (200, r#"{"circle":"Home"}"#.into()));
    assert_eq!(outcome(Answer::Written(1)), None);
    assert_eq!(outcome(Answer::Circle("a".into())), Some(Outcome::Circle("a".into())));
}

proptest! {
    #[test]
    fn any_request_gets_an_answer(method in "\\PC{0,8}", path in "(/v1/)?\\PC{0,12}", body in any::<Vec<u8>>()) {
        if let Err(error) = route(&method, &path, &body) {
            let (status, text) = render(&Err(error));
            prop_assert!((400..600).contains(&status));
            prop_assert!(serde_json::from_str::<ErrorAnswer>(&text).is_ok());
        }
    }

    #[test]
    fn any_name_that_passes_is_a_name_of_a_directory(name in "\\PC{0,80}") {
        let body = json!({ "name": name }).to_string();
        if let Ok(Call::Found { name }) = route("POST", "/v1/found", body.as_bytes()) {
            prop_assert!(!name.is_empty() && name.len() <= 64 && !name.contains('/'));
        }
    }
}
