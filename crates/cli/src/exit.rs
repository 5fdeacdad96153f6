//! How the program ends: an error on stderr, and a code that scripts can tell apart.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | a fault of ours |
//! | 2 | wrong command line |
//! | 3 | refused by findings or a policy |
//! | 4 | not found |
//! | 5 | conflict |
//! | 6 | not allowed |
//! | 7 | damaged data |
//! | 8 | try again later |
//! | 9 | bad input |
//! | 10 | what was compared differs |
//! | 130 | interrupted |

use std::process::ExitCode;

use weighthouse::{Error, ErrorKind};
use weighthouse_hub::client::ClientError;

use crate::ui;

/// Exit code for damaged data.
pub const DAMAGED: u8 = 7;

/// An error with a way out.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Hinted {
    /// What went wrong.
    pub message: String,
    /// What to do, one line each.
    pub hints: Vec<String>,
    /// Exit code.
    pub code: u8,
}

/// An answer that is all in the exit code: there is nothing to report.
#[derive(Debug, thiserror::Error)]
#[error("exit code {0}")]
pub struct Answer(pub u8);

/// Prints an error, its causes and its hints, and returns the code for it.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(Answer(code)) = error.downcast_ref() {
        return ExitCode::from(*code);
    }
    // Whoever reads our output has closed the pipe: they have what they wanted.
    let broken_pipe = |e: &(dyn std::error::Error + 'static)| {
        e.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken_pipe) {
        return ExitCode::SUCCESS;
    }
    ui::error(&error.to_string());
    for cause in error.chain().skip(1) {
        ui::detail(&cause.to_string());
    }
    let hinted = error.chain().find_map(|e| e.downcast_ref::<Hinted>());
    for hint in hinted.iter().flat_map(|hinted| &hinted.hints) {
        ui::hint(hint);
    }
    ExitCode::from(code(error))
}

fn code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(hinted) = cause.downcast_ref::<Hinted>() {
            return hinted.code;
        }
        if let Some(error) = cause.downcast_ref::<Error>() {
            return code_of(error.kind());
        }
        if let Some(error) = cause.downcast_ref::<ClientError>() {
            return code_of(error.kind());
        }
    }
    1
}

/// The code for a kind of error.
pub fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Refused => 3,
        ErrorKind::NotFound => 4,
        ErrorKind::Conflict => 5,
        ErrorKind::Denied => 6,
        ErrorKind::Corrupt => 7,
        ErrorKind::Transient | ErrorKind::Full => 8,
        ErrorKind::Malformed => 9,
        _ => 1,
    }
}
