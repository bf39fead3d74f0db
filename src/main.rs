//! Arguments to `os::cli`; prints the chain of errors, and exits with its code.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match dustfs::os::cli::run(std::env::args_os().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Where standard error is closed, the exit code alone must tell.
            let _ = std::io::stderr().write_all(failure.told().as_bytes());
            ExitCode::from(failure.error.exit_code())
        }
    }
}
