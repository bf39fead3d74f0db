//! `dustfs import`: the node is told what to bring in, and its progress is shown until it has ended.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::perform::{Asking, bars, decode, pause};
use super::show::{age, printable, size};
use super::{CliError, show};
use crate::lan::api::Call;
use crate::lan::import::ImportStatus;

impl Asking<'_> {
    /// Brings a directory into the tree.
    pub(super) fn import(&mut self, from: &Path, into: Option<String>) -> Result<(), CliError> {
        let unusable = |why: String| CliError::File(from.to_owned(), why);
        let absolute = from.canonicalize().map_err(|why| unusable(why.to_string()))?;
        let from = absolute.to_str().ok_or_else(|| unusable("its name is no text".into()))?.to_owned();
        let into = into.map(|into| self.in_tree(into)).transpose()?;
        let mut answer = self.client.ask(&Call::Import { from, into })?;
        let mut told = Instant::now();
        let mut drawn = false;
        let mut look_after = LOOK_FIRST;
        loop {
            let status: ImportStatus = decode(&answer)?;
            let width = bars().filter(|_| !self.globals.json);
            if let Some(width) = width {
                // To the line's begin, then clear to its end (ECMA-48 EL).
                let line = line(&status, Some(width));
                write!(self.out, "\r\x1b[K{line}{}", if status.ended { "\n" } else { "" })?;
                self.out.flush()?;
                drawn = !status.ended;
            } else if !self.globals.json && !status.ended && told.elapsed() >= TELL_EVERY {
                writeln!(self.out, "{}", line(&status, None))?;
                self.out.flush()?;
                told = Instant::now();
            }
            if status.ended {
                return self.imported(&answer, &status);
            }
            pause(look_after);
            look_after = (look_after * 2).min(LOOK_EVERY);
            answer = match self.client.ask(&Call::Imported) {
                Ok(answer) => answer,
                Err(error) => {
                    if drawn {
                        writeln!(self.out)?;
                    }
                    return Err(error.into());
                }
            };
        }
    }

    fn imported(&mut self, answer: &Value, status: &ImportStatus) -> Result<(), CliError> {
        self.print(answer, |_: &Value| summary(status))?;
        if !self.globals.json {
            for failure in &status.failures {
                // Where standard error is closed there is nobody to tell.
                let _ = writeln!(io::stderr(), "{}: {}", printable(&failure.path), printable(&failure.why));
            }
            let more = status.failed.saturating_sub(status.failures.len() as u64);
            if more > 0 {
                let _ = writeln!(io::stderr(), "and {more} more");
            }
        }
        match (&status.stopped, status.failed) {
            (Some(why), _) => Err(CliError::ImportStopped(why.clone())),
            (None, 0) => Ok(()),
            (None, failed) => Err(CliError::Import(failed)),
        }
    }
}

/// How it gets on, in one line of at most this many columns with a bar.
fn line(status: &ImportStatus, width: Option<usize>) -> String {
    let more = if status.counted { "" } else { "+" };
    let rate = status.bytes.saturating_mul(1_000).checked_div(status.time_ms).unwrap_or(0);
    let mut numbers = format!(
        "{} of {}{more}, {} of {}{more}, {}/s",
        status.done,
        status.total,
        size(status.done_bytes),
        size(status.total_bytes),
        size(rate)
    );
    if let (Some(left), true, false) = (left(status), status.counted, status.ended) {
        numbers.push_str(&format!(", {} left", age(left)));
    }
    let Some(width) = width else { return format!("{:>3} %, {numbers}", percent(status)) };
    let room = width.saturating_sub(numbers.chars().count() + 10);
    let bar = match room {
        0..5 => String::new(),
        room => {
            let room = room.min(40);
            let filled = (room * usize::try_from(percent(status)).unwrap_or(0) / 100).min(room);
            format!("[{:room$}] ", "=".repeat(filled))
        }
    };
    show::clip(&format!("{bar}{:>3} %, {numbers}", percent(status)), width)
}

/// Of bytes and files, each of which costs something.
fn percent(status: &ImportStatus) -> u64 {
    if status.ended && status.stopped.is_none() {
        return 100;
    }
    let part = |done: u64, total: u64| u128::from(done.min(total)) * 100 / u128::from(total.max(1));
    let both = part(status.done_bytes, status.total_bytes) + part(status.done, status.total);
    u64::try_from(both / 2).unwrap_or(0).min(99)
}

/// Seconds to go, as far as what is done foretells it.
fn left(status: &ImportStatus) -> Option<u64> {
    let done = percent(status);
    (done > 0).then(|| (status.time_ms / 1_000).saturating_mul(100 - done) / done)
}

fn summary(status: &ImportStatus) -> String {
    let mut told = format!(
        "imported {} files ({}), {} directories and links to {} in {:.1} s",
        status.files,
        size(status.bytes),
        status.others,
        printable(&status.into),
        status.time_ms as f64 / 1e3
    );
    if status.there > 0 {
        told.push_str(&format!("; {} were there already", status.there));
    }
    if status.newer > 0 {
        told.push_str(&format!("; {} are newer there, and stay", status.newer));
    }
    told + "\n"
}

const LOOK_FIRST: Duration = Duration::from_millis(10);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often a line is told where no terminal shows a bar.
const TELL_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> ImportStatus {
        ImportStatus {
            into: "Home/photos".into(),
            counted: true,
            total: 200,
            total_bytes: 200 << 20,
            done: 50,
            done_bytes: 100 << 20,
            files: 49,
            bytes: 100 << 20,
            others: 1,
            time_ms: 10_000,
            ..ImportStatus::default()
        }
    }

    #[test]
    fn a_line_fits_its_terminal() {
        assert_eq!(line(&status(), None), " 37 %, 50 of 200, 100.0 MiB of 200.0 MiB, 10.0 MiB/s, 17 s left");
        let growing = ImportStatus { counted: false, ..status() };
        assert_eq!(line(&growing, None), " 37 %, 50 of 200+, 100.0 MiB of 200.0 MiB+, 10.0 MiB/s");
        assert!(line(&status(), Some(80)).starts_with("[=====         ]  37 %"), "{}", line(&status(), Some(80)));
        for width in 20..200 {
            assert!(line(&status(), Some(width)).chars().count() <= width);
        }
        assert_eq!(
            percent(&ImportStatus { done: 200, done_bytes: 200 << 20, ..status() }),
            99,
            "it is not durable yet"
        );
        assert_eq!(percent(&ImportStatus { ended: true, ..status() }), 100);
        assert_eq!(percent(&ImportStatus::default()), 0);
    }

    #[test]
    fn the_end_is_told_in_words() {
        assert_eq!(
            summary(&status()),
            "imported 49 files (100.0 MiB), 1 directories and links to Home/photos in 10.0 s\n"
        );
        let again = summary(&ImportStatus { there: 3, newer: 1, ..status() });
        assert!(again.ends_with("; 3 were there already; 1 are newer there, and stay\n"), "{again}");
    }
}
