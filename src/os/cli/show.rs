//! A node's answers in plain words: aligned tables, sizes, ages, progress bars. Names come from other people, so whatever
//! could steer a terminal is taken out of them.

mod check;

use std::fmt::Write;

pub use self::check::{check, check_progress};
use crate::node::status::{
    Freed, Friend, HeldChange, OwnersDisk, PairingStatus, SafetyStatus, SignInStatus, Source, State, Status, Transfer,
    Transfers, Versions,
};

/// The status as a page of words.
pub fn status(status: &Status) -> String {
    let mut text = String::new();
    let mut facts = Table::new(&[Align::Left, Align::Left]);
    let mount = status.mount.as_deref().map_or_else(|| "not mounted".into(), printable);
    facts.row(["node".into(), format!("{} ({})", printable(&status.name), short(&status.device))]);
    facts.row(["version".into(), printable(&status.version)]);
    facts.row(["state".into(), format!("{}, up {}", status.state, age(status.uptime_s))]);
    if let Some(led) = &status.led {
        facts.row(["LED".into(), printable(led)]);
    }
    facts.row(["mount".into(), mount]);
    facts.row(["listens on".into(), printable(&status.listen.join(", "))]);
    facts.row(["connections".into(), status.connections.to_string()]);
    let disk = format!("{} free of {}", size(status.disk_free), size(status.disk_total));
    facts.row(["disk".into(), disk]);
    if let Some(cache) = &status.cache {
        let quota = cache.quota_bytes.map_or_else(|| "the disk".into(), size);
        let went = cache.evicted_torrents;
        facts.row(["cache".into(), format!("{} of {quota}, {went} torrents evicted", size(cache.held_bytes))]);
    }
    if let Some(scrub) = &status.scrub {
        facts.row(["scrub".into(), self::check::scrub(scrub)]);
    }
    if let Some(room) = &status.room {
        facts.row(["quota".into(), format!("{} of {} of files", size(room.held_bytes), size(room.quota_bytes))]);
    }
    if let Some(memory) = status.memory {
        facts.row(["memory".into(), size(memory)]);
    }
    if let Some(SignInStatus { code, shown }) = &status.sign_in {
        let next = if *shown { "press if the page shows it" } else { "the LED is showing it" };
        facts.row(["sign-in".into(), format!("code {code}; {next}")]);
    }
    if status.pairing.state != "closed" {
        facts.row(["pairing".into(), pairing(&status.pairing)]);
    }
    text.push_str(&facts.draw());
    if let Some(safety) = &status.safety {
        let _ = writeln!(text, "\n{}", self::safety(safety));
    }
    if !status.circles.is_empty() {
        text.push('\n');
        text.push_str(&circles(status));
    }
    for circle in &status.circles {
        let name = printable(&circle.name);
        for fork in &circle.forks {
            let _ = writeln!(text, "\nfork in {name}: {}", printable(fork));
        }
        if circle.lacks_sheet {
            let _ = writeln!(text, "\nno recovery sheet for {name}: `dustfs sheet --print` makes one");
        }
        if circle.conflicts > 0 {
            let _ = writeln!(text, "\nconflicts in {name}: {} files show a second version", circle.conflicts);
        }
    }
    if !status.held.is_empty() {
        text.push_str("\nheld back: much was deleted or overwritten at once; see `dustfs held`\n");
    }
    for disk in &status.disks {
        text.push_str(&self::disk(disk, status));
    }
    for problem in &status.problems {
        let _ = writeln!(text, "\nproblem: {}", printable(problem));
    }
    text
}

/// A disk of its owner's, and what can be done with it.
fn disk(disk: &OwnersDisk, status: &Status) -> String {
    let (name, used) = (printable(&disk.name), size(disk.used_bytes));
    let next = match status.state {
        State::Cache => "there is no room for them here: this box needs a disk of its own".into(),
        _ if disk.used_bytes > status.disk_free => {
            format!("only {} are free here, so not all would fit", size(status.disk_free))
        }
        _ => format!("`dustfs import {}` brings them in", printable(&disk.path)),
    };
    format!("\ndisk '{name}' with {used} of files of its owner, which are never changed: {next}\n")
}

/// What would be lost with the box, in one line.
fn safety(safety: &SafetyStatus) -> String {
    match safety {
        SafetyStatus { files: 0, changes: false, .. } => "Everything is safe elsewhere, too.".into(),
        SafetyStatus { files: 0, .. } => "The last changes are only on this box yet.".into(),
        SafetyStatus { files: 1, bytes, .. } => format!("1 file ({}) is only on this box.", size(*bytes)),
        SafetyStatus { files, bytes, .. } => format!("{files} files ({}) are only on this box.", size(*bytes)),
    }
}

/// How pairing stands, in one line.
fn pairing(pairing: &PairingStatus) -> String {
    let friend = pairing.friend.as_deref().map_or_else(|| "the other box".into(), printable);
    let left = pairing.seconds_left.unwrap_or(0);
    match &pairing.state[..] {
        "window" => format!("open for {left} s: press the other box"),
        "overlap" => format!("several boxes were pressed: wait {left} s, then press two only"),
        "exchanging" => "another box was found".into(),
        "code" => {
            let code = printable(pairing.code.as_deref().unwrap_or_default());
            let next = match (pairing.confirmed_here, pairing.confirmed_there) {
                (false, false) => "hold both boxes where both show it",
                (false, true) => "confirmed there: hold this box where both show it",
                (true, _) => "confirmed here: hold the other box",
            };
            format!("{friend}, code {code}, {left} s left; {next}")
        }
        "joining" => format!("joining with {friend}"),
        "done" => {
            let circle = pairing.circle.as_deref().map_or_else(|| "a circle".into(), printable);
            format!("done: {friend} is in {circle}")
        }
        "failed" => format!("failed: {}", printable(pairing.why.as_deref().unwrap_or_default())),
        "paused" => format!("paused for {left} s after failures"),
        "choose" => format!("{friend} and this box are in circles: invite to the one that is meant"),
        other => printable(other),
    }
}

fn circles(status: &Status) -> String {
    use Align::{Left, Right};
    let mut table = Table::new(&[Left, Left, Right, Right, Right, Right, Right]);
    table.row(["CIRCLE", "ROLE", "ONLINE", "OBJECTS", "SIZE", "HERE", "EPOCH"].map(String::from));
    for circle in &status.circles {
        let torrents = circle.held_torrents.saturating_add(circle.wanted_torrents);
        let epoch = if circle.epoch_number == 0 { "none".into() } else { circle.epoch_number.to_string() };
        table.row([
            printable(&circle.name),
            if circle.left { "left".into() } else { circle.role.word().into() },
            format!("{} of {}", circle.online, circle.members),
            circle.objects.to_string(),
            size(circle.bytes),
            format!("{} of {torrents}", circle.held_torrents),
            epoch,
        ]);
    }
    table.draw()
}

/// The friends as a table.
pub fn friends(friends: &[Friend]) -> String {
    use Align::{Left, Right};
    if friends.is_empty() {
        return "no friends yet: `dustfs invite` opens an invite to give to one\n".into();
    }
    let mut table = Table::new(&[Left, Left, Left, Left, Left, Right, Right, Right, Left]);
    table.row(["CIRCLE", "NAME", "DEVICE", "ROLE", "STATE", "SENT", "RECEIVED", "SEEN", "ADDRESS"].map(String::from));
    for friend in friends {
        let state = match (friend.removed, friend.online) {
            (true, _) => "removed",
            _ if friend.sheet => "on paper",
            (false, true) => "online",
            (false, false) => "offline",
        };
        let seen = friend.last_seen_s.map_or_else(|| "-".into(), |seconds| format!("{} ago", age(seconds)));
        table.row([
            printable(&friend.circle),
            printable(&friend.name),
            short(&friend.device),
            friend.role.word().into(),
            state.into(),
            size(friend.uploaded),
            size(friend.downloaded),
            seen,
            friend.address.as_deref().map_or_else(|| "-".into(), printable),
        ]);
    }
    table.draw()
}

/// A number of files.
pub fn files(count: u64) -> String {
    if count == 1 { "1 file".into() } else { format!("{count} files") }
}

/// The mass changes that are held back.
pub fn held(held: &[HeldChange]) -> String {
    if held.is_empty() {
        return "nothing is held back\n".into();
    }
    let mut table = Table::new(&[Align::Left, Align::Left, Align::Left, Align::Right, Align::Left]);
    table.row(["CHANGE", "DATE (UTC)", "BY", "FILES", "CIRCLE"].map(String::from));
    for held in held {
        let (id, author, circle) = (printable(&held.id), printable(&held.author), printable(&held.circle));
        table.row([id, date(&held.date), author, held.files.to_string(), circle]);
    }
    let next = match held.iter().any(|held| held.mine_to_settle) {
        true => {
            "Each deleted or overwrote that many files within a minute. Was it meant?\n\
                 Yes: `dustfs held CHANGE --accept`. No: `dustfs held CHANGE --undo`.\n"
        }
        false => {
            "Each deleted or overwrote that many files within a minute. Ask a keeper of the\n\
                  circle whether it was meant: what was replaced is kept until one has said.\n"
        }
    };
    format!("{}\n{next}", table.draw())
}

/// The older versions of a file, the newest first, and what was deleted below a directory.
pub fn versions(path: &str, versions: &Versions) -> String {
    use Align::{Left, Right};
    let mut text = String::new();
    if !versions.versions.is_empty() {
        let mut table = Table::new(&[Right, Left, Left, Right, Left]);
        table.row(["VERSION", "WRITTEN (UTC)", "BY", "SIZE", "WHERE"].map(String::from));
        for version in &versions.versions {
            let (date, author) = (date(&version.date), printable(&version.author));
            table.row([version.number.to_string(), date, author, size(version.size), version.place.to_string()]);
        }
        text += &table.draw();
    }
    if !versions.deleted.is_empty() {
        let mut table = Table::new(&[Left, Left, Right, Right, Left, Left]);
        table.row(["DELETED (UTC)", "BY", "SIZE", "VERSIONS", "WHERE", "PATH"].map(String::from));
        for file in &versions.deleted {
            let (date, author, path) = (date(&file.date), printable(&file.author), printable(&file.path));
            table.row([date, author, size(file.size), file.versions.to_string(), file.place.to_string(), path]);
        }
        text += &table.draw();
    }
    if versions.more {
        text.push_str("more was deleted than is listed: name a directory\n");
    }
    if text.is_empty() {
        let what = if path.is_empty() { "the tree".into() } else { printable(path) };
        text = format!("{what} has no older versions, and nothing was deleted in it\n");
    }
    text
}

/// What was let go at a path, and what stays.
pub fn freed(path: &str, freed: &Freed) -> String {
    let files = |count: u64| if count == 1 { "1 file".into() } else { format!("{count} files") };
    let mut text = match freed.files {
        0 => format!("nothing of {} is here\n", printable(path)),
        count => format!("let go of {}, {}; friends hold them\n", files(count), size(freed.bytes)),
    };
    for staying in &freed.stay {
        let _ = writeln!(text, "{} stay here: {}", files(staying.files), printable(&staying.why));
    }
    text
}

/// A moment as people read it.
fn date(text: &str) -> String {
    printable(text).replace('T', " ").trim_end_matches('Z').to_owned()
}

/// The transfers, one in a line and its sources below; with bars where a terminal of `width` columns shows them.
pub fn transfers(transfers: &Transfers, bars: Option<usize>) -> String {
    let mut text = String::new();
    if transfers.transfers.is_empty() {
        text.push_str("nothing is being fetched\n");
    }
    for transfer in &transfers.transfers {
        let line = match bars {
            Some(width) => bar_line(transfer, width),
            None => plain_line(transfer),
        };
        let _ = writeln!(text, "{line}");
        if !transfer.sources.is_empty() {
            let line = sources(&transfer.sources);
            let _ = writeln!(text, "  {}", bars.map_or(line.clone(), |width| clip(&line, width.saturating_sub(2))));
        }
    }
    let busy: Vec<_> = transfers.traffic.iter().filter(|peer| peer.uploaded > 0 || peer.downloaded > 0).collect();
    if !busy.is_empty() {
        use Align::{Left, Right};
        let mut table = Table::new(&[Left, Right, Right, Right, Right]);
        table.row(["PEER", "SENT", "RECEIVED", "UP", "DOWN"].map(String::from));
        for peer in busy {
            let sizes = [size(peer.uploaded), size(peer.downloaded), rate(peer.rate_up), rate(peer.rate_down)];
            let [sent, received, up, down] = sizes;
            table.row([printable(&peer.name), sent, received, up, down]);
        }
        for line in table.draw().lines() {
            let _ = writeln!(text, "{}", bars.map_or(line.to_owned(), |width| clip(line, width)));
        }
    }
    text
}

/// True when everything that is listed is here.
pub fn complete(transfers: &Transfers) -> bool {
    transfers.transfers.iter().all(|transfer| transfer.have_bytes >= transfer.total_bytes)
}

fn title(transfer: &Transfer) -> String {
    let name = transfer.name.as_deref().map_or_else(|| short(&transfer.info_hash), printable);
    format!("{}/{name}", printable(&transfer.circle))
}

fn numbers(transfer: &Transfer) -> String {
    let eta = eta(transfer).map_or_else(|| "eta -".into(), |left| format!("eta {left}"));
    let tail = if transfer.have_bytes >= transfer.total_bytes { "done".into() } else { eta };
    format!(
        "{:>3}%  {:>9}  {:>11}  {tail:<10}",
        percent(transfer),
        size(transfer.total_bytes),
        rate(transfer.rate_down)
    )
}

fn plain_line(transfer: &Transfer) -> String {
    format!("{}  {}", title(transfer), numbers(transfer).trim_start()).trim_end().to_owned()
}

fn bar_line(transfer: &Transfer, width: usize) -> String {
    let numbers = numbers(transfer);
    let rest = width.saturating_sub(numbers.chars().count() + 6);
    let bar_width = rest * 2 / 5;
    let name = clip(&title(transfer), rest - bar_width);
    let pad = (rest - bar_width).saturating_sub(name.chars().count());
    let line = format!("{name}{:pad$}  [{}]  {numbers}", "", bar(transfer, bar_width));
    clip(line.trim_end(), width)
}

fn bar(transfer: &Transfer, width: usize) -> String {
    let filled = usize::try_from(part(transfer, width as u64)).unwrap_or(width).min(width);
    let head = if filled < width { ">" } else { "" };
    format!("{:width$}", format!("{}{head}", "=".repeat(filled)))
}

/// How much of `whole` is to the whole as what is here is to all.
fn part(transfer: &Transfer, whole: u64) -> u64 {
    if transfer.have_bytes >= transfer.total_bytes {
        return whole;
    }
    let part = u128::from(transfer.have_bytes) * u128::from(whole) / u128::from(transfer.total_bytes);
    u64::try_from(part).unwrap_or(whole)
}

fn percent(transfer: &Transfer) -> u64 {
    part(transfer, 100)
}

fn eta(transfer: &Transfer) -> Option<String> {
    let left = transfer.total_bytes.saturating_sub(transfer.have_bytes);
    Some(age(left.checked_div(transfer.rate_down)?))
}

fn sources(sources: &[Source]) -> String {
    let told: Vec<String> =
        sources.iter().map(|source| format!("{} {}", printable(&source.name), size(source.bytes))).collect();
    format!("from {}", told.join(", "))
}

/// Bytes as people say them: `512 B`, `1.5 KiB`, `3.0 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

fn rate(bytes_per_s: u64) -> String {
    format!("{}/s", size(bytes_per_s))
}

/// A span of seconds as people say it: `40 s`, `5 min`, `3 h`, `12 d`.
pub fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The start of an id in hex, as `dustfs remove` takes it.
fn short(hex: &str) -> String {
    printable(hex).chars().take(12).collect()
}

/// The text without what steers a terminal or turns its direction: control characters, and the Unicode marks that
/// reorder or hide text.
pub fn printable(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// At most `width` characters, the last an ellipsis where some were cut.
pub fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut clipped: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        clipped.push('\u{2026}');
    }
    clipped
}

/// To which side of its column a cell goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

/// Columns as wide as their widest cell.
struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(aligns: &[Align]) -> Self {
        Self { aligns: aligns.to_vec(), rows: Vec::new() }
    }

    fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.aligns.len());
        self.rows.push(cells.into());
    }

    fn draw(&self) -> String {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.aligns.len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).zip(&self.aligns).map(|((cell, &width), align)| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::status::{CacheStatus, CircleStatus, RoomStatus, ScrubStatus, State, Traffic};
    use crate::wire::statement::Role;

    fn transfer(have_bytes: u64, total_bytes: u64, rate_down: u64) -> Transfer {
        Transfer {
            info_hash: "00112233445566778899aabbccddeeff00112233".into(),
            circle: "Friends".into(),
            name: Some("film.mkv".into()),
            have_bytes,
            total_bytes,
            rate_down,
            sources: vec![Source { name: "bob".into(), bytes: 1 << 20 }, Source { name: "eve".into(), bytes: 0 }],
        }
    }

    fn listed(transfer: Transfer) -> Transfers {
        Transfers { transfers: vec![transfer], traffic: Vec::new() }
    }

    #[test]
    fn sizes_and_ages_are_plain() {
        let sizes = [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB")];
        for (bytes, expected) in sizes {
            assert_eq!(size(bytes), expected);
        }
        assert_eq!(size((1 << 30) - 1), "1023.9 MiB");
        assert_eq!(size(u64::MAX), "15.9 EiB");
        for (seconds, expected) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (259_200, "3 d")] {
            assert_eq!(age(seconds), expected);
        }
    }

    #[test]
    fn a_transfer_is_one_plain_line_and_its_sources() {
        let text = transfers(&listed(transfer(1 << 20, 4 << 20, 1 << 19)), None);
        assert_eq!(text, "Friends/film.mkv  25%    4.0 MiB  512.0 KiB/s  eta 6 s\n  from bob 1.0 MiB, eve 0 B\n");
        let stalled = transfers(&listed(transfer(0, 4 << 20, 0)), None);
        assert!(stalled.starts_with("Friends/film.mkv  0%    4.0 MiB        0 B/s  eta -\n"), "{stalled}");
        let done = transfers(&listed(transfer(4 << 20, 4 << 20, 0)), None);
        assert!(done.starts_with("Friends/film.mkv  100%    4.0 MiB        0 B/s  done\n"), "{done}");
        assert_eq!(transfers(&Transfers::default(), None), "nothing is being fetched\n");
    }

    #[test]
    fn bars_fit_their_terminal() {
        let half = listed(transfer(2 << 20, 4 << 20, 1 << 19));
        let text = transfers(&half, Some(80));
        let first = text.lines().next().unwrap();
        assert!(first.contains("[======>      ]"), "{first}");
        assert!(first.starts_with("Friends/film.mkv "), "{first}");
        for width in [0, 1, 10, 40, 79, 80, 200] {
            for sample in [&half, &listed(transfer(0, 0, 0)), &listed(transfer(u64::MAX, u64::MAX, u64::MAX))] {
                let text = transfers(sample, Some(width));
                let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
                assert!(widest <= width.max(2), "{width}: {text}");
            }
        }
    }

    #[test]
    fn done_is_when_all_is_here() {
        assert!(complete(&Transfers::default()));
        assert!(complete(&listed(transfer(5, 5, 0))));
        assert!(!complete(&listed(transfer(4, 5, 0))));
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        let mut evil = transfer(1, 2, 0);
        evil.name = Some("a\u{1b}[2J\nroot \u{202e}gpj.exe\u{9b}".into());
        evil.sources[0].name = "\u{1b}]0;x\u{7}".into();
        for text in [transfers(&listed(evil.clone()), None), transfers(&listed(evil), Some(80))] {
            assert!(!text.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')), "{text:?}");
            assert_eq!(text.lines().count(), 2);
        }
    }

    #[test]
    fn traffic_is_a_table() {
        let peer = |name: &str, uploaded, downloaded| Traffic {
            name: name.into(),
            device: "00".into(),
            uploaded,
            downloaded,
            rate_up: 0,
            rate_down: 2048,
        };
        let transfers_of =
            Transfers { transfers: Vec::new(), traffic: vec![peer("bob", 1, 3 << 20), peer("eve", 0, 0)] };
        let text = transfers(&transfers_of, None);
        assert_eq!(
            text,
            "nothing is being fetched\nPEER  SENT  RECEIVED     UP       DOWN\nbob    1 B   3.0 MiB  0 B/s  2.0 KiB/s\n"
        );
    }

    #[test]
    fn friends_are_a_table() {
        assert!(friends(&[]).starts_with("no friends yet"));
        let friend = Friend {
            circle: "Friends".into(),
            name: "bob\t".into(),
            device: "4be1c0".repeat(10),
            role: Role::Keeper,
            online: true,
            address: None,
            uploaded: 0,
            downloaded: 1 << 20,
            last_seen_s: Some(3),
            removed: false,
            sheet: false,
            holds_torrents: Some(1),
            all_torrents: 2,
        };
        let text = friends(&[friend.clone(), Friend { removed: true, ..friend }]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "CIRCLE   NAME  DEVICE        ROLE    STATE    SENT  RECEIVED     SEEN  ADDRESS");
        assert_eq!(lines[1], "Friends  bob\u{fffd}  4be1c04be1c0  keeper  online    0 B   1.0 MiB  3 s ago  -");
        assert!(lines[2].contains("removed"));
    }

    #[test]
    fn a_status_tells_what_is_wrong() {
        let circle = CircleStatus {
            name: "Home".into(),
            id: "00".into(),
            role: Role::Keeper,
            left: false,
            members: 2,
            online: 1,
            objects: 10,
            bytes: 1 << 30,
            unpublished: 0,
            wanted_torrents: 1,
            held_torrents: 3,
            epoch_number: 2,
            forks: vec!["bob signed two commits 7".into()],
            conflicts: 4,
            sheet: None,
            older_sheets: 0,
            lacks_sheet: true,
        };
        let text = status(&Status {
            name: "attic".into(),
            device: "4be1c0".repeat(10),
            version: "0.1.0".into(),
            state: State::Full,
            led: Some("ready".into()),
            mount: Some("/srv/dust".into()),
            listen: vec!["[::]:47470".into()],
            circles: vec![circle],
            connections: 1,
            uptime_s: 61,
            disk_total: 1 << 40,
            disk_free: 1 << 39,
            passphrase: Some(false),
            cache: Some(CacheStatus {
                held_bytes: 3 << 30,
                quota_bytes: Some(20 << 30),
                evicted_torrents: 7,
                evictions: 9,
            }),
            scrub: Some(ScrubStatus {
                done_bytes: 1 << 30,
                total_bytes: 8 << 30,
                damaged: 1,
                last_s: Some(7_200),
                last_bytes: 7 << 30,
                last_damaged: 0,
            }),
            room: Some(RoomStatus { held_bytes: 5 << 30, quota_bytes: 6 << 30 }),
            safety: Some(SafetyStatus { files: 2, bytes: 3 << 20, changes: true }),
            memory: Some(20 << 20),
            pairing: PairingStatus::default(),
            sign_in: Some(SignInStatus { code: 47, shown: true }),
            problems: vec!["the disk is nearly full: free some space".into()],
            held: Vec::new(),
            disks: vec![OwnersDisk {
                path: "/run/dustfs/disks/sda1".into(),
                name: "CAMERA\u{7}".into(),
                kind: "vfat".into(),
                used_bytes: 12 << 30,
                answered: false,
            }],
        });
        for part in [
            "node         attic (4be1c04be1c0)\n",
            "state        full, up 61 s\n",
            "disk         512.0 GiB free of 1.0 TiB\n",
            "cache        3.0 GiB of 20.0 GiB, 7 torrents evicted\n",
            "quota        5.0 GiB of 6.0 GiB of files\n",
            "\n2 files (3.0 MiB) are only on this box.\n",
            "Home    keeper  1 of 2       10  1.0 GiB  3 of 4      2\n",
            "\nfork in Home: bob signed two commits 7\n",
            "\nconflicts in Home: 4 files show a second version\n",
            "\ndisk 'CAMERA\u{fffd}' with 12.0 GiB of files of its owner, which are never changed: `dustfs import /run/",
            "\nproblem: the disk is nearly full: free some space\n",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
    }
}
