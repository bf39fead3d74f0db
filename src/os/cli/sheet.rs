//! The recovery sheet on the command line: printed for paper, and taken from paper.

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Read};

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::CliError;
use super::perform::{Asking, decode};
use super::show::printable;
use crate::lan::api::{Call, SHEET_MAX, SheetAnswer};
use crate::node::status::{Recovered, Status};
use crate::os::http::ClientError;
use crate::os::run;

impl Asking<'_> {
    /// The sheet is all that goes to standard output, so that it can be sent to a printer.
    pub(super) fn print_sheet(&mut self) -> Result<(), CliError> {
        let answer = self.client.ask(&Call::PrintSheet)?;
        let sheet: SheetAnswer = decode(&answer)?;
        self.print(&answer, paper)?;
        if sheet.older && !self.globals.json {
            eprintln!("the sheet printed before is valid, too: say `dustfs sheet --written` once this one is on paper");
        }
        Ok(())
    }

    /// The last sheet is on paper.
    pub(super) fn sheet_written(&mut self) -> Result<(), CliError> {
        let told = "the last recovery sheet alone is valid: destroy those that were printed before\n";
        self.show(&Call::SheetWritten, |_: &Value| told.to_string())
    }

    /// Takes the place of a sheet through the node; where none runs, without one.
    pub(super) fn recover(&mut self, at: Vec<String>) -> Result<(), CliError> {
        let sheet = ask()?;
        let answer = match self.client.ask(&Call::Recover { sheet: sheet.clone(), at: at.clone() }) {
            Err(ClientError::NoNode(_)) => json!(run::recover_offline(&self.globals.state, sheet, &at)?),
            answered => answered?,
        };
        self.print(&answer, recovered)
    }
}

/// Reads the sheet. What is typed is shown: nobody types twelve words right without seeing them.
fn ask() -> Result<Zeroizing<String>, CliError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        eprintln!("the twelve words of the recovery sheet, or the line beside its code, and Enter:");
        return read(|text| stdin.lock().take(SHEET_MAX as u64 + 1).read_line(text));
    }
    read(|text| stdin.lock().take(SHEET_MAX as u64 + 1).read_to_string(text))
}

fn read(from: impl FnOnce(&mut String) -> io::Result<usize>) -> Result<Zeroizing<String>, CliError> {
    let mut text = Zeroizing::new(String::new());
    from(&mut text).map_err(CliError::Input)?;
    if text.trim().is_empty() || text.len() > SHEET_MAX {
        let why = format!("a recovery sheet has 1 to {SHEET_MAX} bytes");
        return Err(CliError::Input(io::Error::new(io::ErrorKind::InvalidData, why)));
    }
    Ok(text)
}

/// The sheet, for paper.
fn paper(sheet: &SheetAnswer) -> String {
    let mut text = format!("DustFS: {}\nfor {}\n\n", printable(&sheet.name), named(&sheet.circles));
    let words: Vec<&str> = sheet.words.split(' ').collect();
    for (row, three) in words.chunks(3).enumerate() {
        for (column, word) in three.iter().enumerate() {
            let _ = write!(text, "{:>4}. {:<12}", row * 3 + column + 1, printable(word));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&code(&sheet.text));
    let _ = writeln!(text, "{}\n", printable(&sheet.text));
    let _ = writeln!(
        text,
        "If the box is gone: `dustfs recover` on a new one, or its page, takes the words or the line above."
    );
    if sheet.addresses.is_empty() {
        text.push_str(
            "With the words say where a friend's box or a cache of the circle is; nobody's address is known now.\n",
        );
    } else {
        let _ = writeln!(
            text,
            "With the words say where somebody of the circle is. Now: {}",
            printable(&sheet.addresses.join(", "))
        );
    }
    if !sheet.alone.is_empty() {
        let alone = named(&sheet.alone);
        let _ = writeln!(text, "It does not bring back {alone}: nobody else has it.");
    }
    text.push_str(
        "Whoever has this sheet can read everything. It is used once, and valid until another is on paper.\n",
    );
    text
}

/// Names, one after the other.
fn named(names: &[String]) -> String {
    names.iter().map(|name| printable(name)).collect::<Vec<_>>().join(", ")
}

/// The line as a QR code, in half blocks, dark on light.
#[cfg(feature = "lan")]
fn code(line: &str) -> String {
    let Some(rows) = crate::lan::qr::rows(line) else { return String::new() };
    let dark = |x: usize, y: usize| rows.get(y).is_some_and(|row| row.as_bytes().get(x) == Some(&b'#'));
    let mut text = String::new();
    for y in (0..rows.len()).step_by(2) {
        text.push_str("    ");
        for x in 0..rows.len() {
            text.push(match (dark(x, y), dark(x, y + 1)) {
                (true, true) => '\u{2588}',
                (true, false) => '\u{2580}',
                (false, true) => '\u{2584}',
                (false, false) => ' ',
            });
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text.push('\n');
    text
}

#[cfg(not(feature = "lan"))]
fn code(_: &str) -> String {
    String::new()
}

/// What became of it, and what to do next.
fn recovered(recovered: &Recovered) -> String {
    let mut text = String::new();
    for circle in &recovered.circles {
        let name = printable(&circle.name);
        let _ = writeln!(text, "this node is a keeper of {name}: what its friends have is there again");
        if let Some(gone) = &circle.printed_by {
            let gone = printable(gone);
            let _ =
                writeln!(text, "  the box that is gone is a member still: `dustfs remove '{gone}' --circle '{name}'`");
        }
    }
    if recovered.missing > 0 {
        let missing = recovered.missing;
        let _ = writeln!(
            text,
            "{missing} more circles of the sheet are with nobody who was asked: keep it, and recover again with --at HOST"
        );
    } else {
        text.push_str("the sheet is used up: destroy it, and print another with `dustfs sheet --print`\n");
    }
    text
}

/// Whether there is a sheet, circle by circle.
pub(super) fn standing(status: &Status) -> String {
    let mut text = String::new();
    for circle in &status.circles {
        let name = printable(&circle.name);
        let _ = match &circle.sheet {
            Some(sheet) if circle.older_sheets > 0 => writeln!(
                text,
                "{name}: {}\n  {} printed before can be used, too, until `dustfs sheet --written` says that this one is on paper",
                printable(sheet),
                circle.older_sheets
            ),
            Some(sheet) => writeln!(text, "{name}: {}", printable(sheet)),
            None if circle.lacks_sheet => writeln!(text, "{name}: no recovery sheet; `dustfs sheet --print` makes one"),
            None => writeln!(text, "{name}: none, and none can be: this node keeps it alone, or is no keeper of it"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::status::RecoveredCircle;

    fn sheet() -> SheetAnswer {
        SheetAnswer {
            words: "legal winner thank year wave sausage worth useful legal winner thank yellow".into(),
            text: "dustfs-sheet1-abc".into(),
            addresses: vec!["192.0.2.7:47470".into()],
            name: "recovery sheet 2026-11-23 of A".into(),
            circles: vec!["Friends".into(), "Fr\u{1b}iends".into()],
            alone: vec!["Home".into()],
            older: false,
        }
    }

    #[test]
    fn a_sheet_fits_paper() {
        let text = paper(&sheet());
        assert!(text.starts_with("DustFS: recovery sheet 2026-11-23 of A\nfor Friends, Fr\u{fffd}iends\n"), "{text}");
        assert!(text.contains("\n  10. winner        11. thank         12. yellow\n"), "{text}");
        assert!(text.contains("\ndustfs-sheet1-abc\n") && text.contains("Now: 192.0.2.7:47470\n"), "{text}");
        assert!(text.contains("does not bring back Home"), "{text}");
        assert_eq!(text.contains('\u{2588}'), cfg!(feature = "lan"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
    }

    #[test]
    fn what_to_do_next_is_said() {
        let circle = RecoveredCircle { name: "Friends".into(), printed_by: Some("A".into()) };
        let text = recovered(&Recovered { circles: vec![circle.clone()], missing: 0 });
        assert!(text.contains("`dustfs remove 'A' --circle 'Friends'`"), "{text}");
        assert!(text.ends_with("`dustfs sheet --print`\n"), "{text}");
        // What is not back yet comes back by this sheet alone.
        let text = recovered(&Recovered { circles: vec![circle], missing: 1 });
        assert!(text.contains("1 more circles") && !text.contains("destroy"), "{text}");
    }

    #[test]
    fn input_is_bounded() {
        assert!(read(|text| io::repeat(b'a').take(SHEET_MAX as u64 + 1).read_to_string(text)).is_err());
        assert!(read(|text| (&b" \n"[..]).read_to_string(text)).is_err());
        assert_eq!(*read(|text| (&b"one two\n"[..]).read_line(text)).unwrap(), "one two\n");
    }
}
