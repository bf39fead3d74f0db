//! The `log` facade to standard error: seconds since the start, level, room, words. Dependencies are heard from `warn` up.

use std::io::Write;
use std::sync::OnceLock;
use std::time::Instant;

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::show::printable;

/// Starts logging at `level`. A second start in one process changes the level alone.
pub fn start(level: LevelFilter) {
    STARTED.get_or_init(Instant::now);
    if log::set_logger(&Stderr).is_err() {
        log::debug!("the logger runs already");
    }
    log::set_max_level(level);
}

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(env!("CARGO_CRATE_NAME")) || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // Where standard error is closed there is nobody to tell.
            let _ = std::io::stderr().lock().write_all(line(record).as_bytes());
        }
    }

    fn flush(&self) {}
}

/// One record is one line, whatever a peer's name in it holds.
fn line(record: &Record<'_>) -> String {
    let elapsed = STARTED.get().map(Instant::elapsed).unwrap_or_default();
    let room = record.target().trim_start_matches(concat!(env!("CARGO_CRATE_NAME"), "::"));
    let words = printable(&record.args().to_string());
    format!("{:>9.3} {:<5} {room}: {words}\n", elapsed.as_secs_f64(), record.level())
}

static STARTED: OnceLock<Instant> = OnceLock::new();

#[cfg(test)]
mod tests {
    use super::*;

    fn enabled(target: &str, level: Level) -> bool {
        Stderr.enabled(&Metadata::builder().target(target).level(level).build())
    }

    #[test]
    fn our_rooms_are_heard_and_dependencies_when_they_warn() {
        assert!(enabled("dustfs::os::net", Level::Trace));
        assert!(enabled("rustls::server", Level::Warn));
        assert!(!enabled("rustls::server", Level::Info));
    }

    #[test]
    fn a_record_is_one_line() {
        let text = line(
            &Record::builder().target("dustfs::os::net").level(Level::Info).args(format_args!("a\nb\u{1b}c")).build(),
        );
        assert!(text.ends_with(" INFO  os::net: a\u{fffd}b\u{fffd}c\n"), "{text:?}");
    }
}
