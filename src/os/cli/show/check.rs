//! What checks and the scrub of the vault found, for people.

use std::fmt::Write;

use super::{Align, Table, age, printable, size};
use crate::node::status::{CheckStatus, Damaged, ScrubStatus};

/// Less is what is just on its way.
const UNNAMED_TOLD: u64 = 16 << 20;

/// How the scrub stands, in one line.
pub(super) fn scrub(scrub: &ScrubStatus) -> String {
    let found = |damaged: u64| match damaged {
        0 => "nothing damaged".into(),
        1 => "1 damaged piece".into(),
        more => format!("{more} damaged pieces"),
    };
    let now = match (scrub.done_bytes, scrub.total_bytes) {
        (0, 0) => "waits".into(),
        (done, total) => format!("{} of {}, {} so far", size(done), size(total), found(scrub.damaged)),
    };
    let last = scrub.last_s.map_or_else(
        || "no round ended yet".into(),
        |last| format!("last round {} ago: {}, {}", age(last), size(scrub.last_bytes), found(scrub.last_damaged)),
    );
    format!("{now}; {last}")
}

/// How far a check is, in one line.
pub fn check_progress(check: &CheckStatus) -> String {
    let percent = (u128::from(check.done_bytes) * 100).checked_div(u128::from(check.total_bytes)).unwrap_or(100);
    let damaged = check.damaged.iter().map(|damage| damage.pieces).sum::<u64>();
    format!("{percent:>3}%  {} of {}, {damaged} damaged", size(check.done_bytes), size(check.total_bytes))
}

/// What a check found, and what to do.
pub fn check(check: &CheckStatus) -> String {
    let mut text = String::new();
    if !check.damaged.is_empty() {
        let mut table = Table::new(&[Align::Right, Align::Left, Align::Left]);
        table.row(["PIECES", "NOW", "DAMAGED"].map(String::from));
        for damage in &check.damaged {
            let now = match damage.now {
                Damaged::Repaired => "repaired",
                Damaged::Fetching => "fetching",
                Damaged::Lost => "lost",
            };
            table.row([damage.pieces.to_string(), now.into(), printable(&damage.name)]);
        }
        text += &table.draw();
    }
    for note in &check.notes {
        let _ = writeln!(text, "found: {}", printable(note));
    }
    let hashed = if check.full { format!(", {} hashed", size(check.done_bytes)) } else { String::new() };
    let _ = match (check.damaged.is_empty(), check.notes.is_empty()) {
        (true, true) if check.full => writeln!(text, "all is well: {} torrents{hashed}", check.torrents),
        (true, true) => writeln!(
            text,
            "all is well: {} torrents lie where the ledger says; `dustfs check --full` reads them all",
            check.torrents
        ),
        _ => writeln!(text, "{} torrents looked at{hashed}", check.torrents),
    };
    if check.damaged.iter().any(|damage| damage.now == Damaged::Fetching) {
        text.push_str("what is fetched again comes from friends: `dustfs transfers --watch` shows it\n");
    }
    if check.damaged.iter().any(|damage| damage.now == Damaged::Lost) {
        text.push_str("what is lost comes again as soon as a friend who has it is online; a backup of it helps, too\n");
    }
    if !check.damaged.is_empty() {
        text.push_str("a disk that damages what it holds may be dying: look at it, and see `dustfs help check`\n");
    }
    if !check.notes.is_empty() && !check.full {
        text.push_str("`dustfs check --full` reads everything\n");
    }
    if check.unnamed_bytes > UNNAMED_TOLD {
        let unnamed = size(check.unnamed_bytes);
        let _ = writeln!(text, "{unnamed} that nothing names come free when the node is started anew");
    }
    text
}
