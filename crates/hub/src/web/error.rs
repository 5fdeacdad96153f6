//! Pages for what did not work.

use askama::Template;
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use weighthouse::{Error, ErrorKind};

use super::shell::{Shell, page};
use super::visit::Visit;

/// Why there is no page.
#[derive(Debug)]
pub(super) enum PageError {
    /// It is at another address.
    Elsewhere(String),
    /// Something to read.
    Page(Box<ErrorPage>),
}

/// A page that says what is wrong and what to do.
#[derive(Debug, Template)]
#[template(path = "error.html")]
pub(super) struct ErrorPage {
    shell: Shell,
    status: StatusCode,
    heading: &'static str,
    message: String,
    /// Whether logging in may help.
    login: bool,
}

impl PageError {
    /// The page for an error; failures of the hub itself are logged here.
    pub fn of(error: &Error, shell: Shell) -> Self {
        let message = sentence(&error.to_string());
        let known = shell.account.is_some();
        let (status, heading, message) = match error {
            Error::RepoNotFound { .. } => (StatusCode::NOT_FOUND, "No such repository", message),
            Error::RevisionNotFound { revision } => {
                (StatusCode::NOT_FOUND, "No such revision", format!("There is no branch, tag or commit “{revision}”."))
            }
            Error::EntryNotFound { .. } => (StatusCode::NOT_FOUND, "No such file", message),
            Error::InvalidToken => {
                (StatusCode::UNAUTHORIZED, "Token not accepted", "The token is unknown or has expired.".to_owned())
            }
            Error::Unauthenticated { .. } => (StatusCode::UNAUTHORIZED, "Log in first", message),
            Error::Denied { .. } => (StatusCode::FORBIDDEN, "Not allowed", message),
            Error::Blocked { .. } => (StatusCode::FORBIDDEN, "Blocked by a policy", message),
            Error::Retired { .. } => (StatusCode::GONE, "Not kept", message),
            Error::Busy { .. } => (StatusCode::SERVICE_UNAVAILABLE, "Not now", message),
            _ => match error.kind() {
                ErrorKind::NotFound => (StatusCode::NOT_FOUND, "Not found", message),
                ErrorKind::Malformed => (StatusCode::BAD_REQUEST, "That did not make sense", message),
                ErrorKind::Conflict => (StatusCode::CONFLICT, "Changed meanwhile", message),
                ErrorKind::Denied => (StatusCode::FORBIDDEN, "Not allowed", message),
                ErrorKind::Transient => {
                    tracing::warn!(%error, "storage or database did not answer");
                    let message = "The storage or the database does not answer. Try again in a moment.";
                    (StatusCode::SERVICE_UNAVAILABLE, "Not now", message.to_owned())
                }
                _ => {
                    tracing::error!(%error, "a page failed");
                    let message = "This is not your fault. The log of the hub says more.";
                    (StatusCode::INTERNAL_SERVER_ERROR, "Something broke", message.to_owned())
                }
            },
        };
        let login =
            !known && matches!(status, StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let shell = Shell { title: heading.to_owned(), twin: None, ..shell };
        Self::Page(Box::new(ErrorPage { shell, status, heading, message, login }))
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        match self {
            Self::Elsewhere(address) => Redirect::temporary(&address).into_response(),
            Self::Page(shown) => page(shown.status, &*shown),
        }
    }
}

/// An error as a sentence for readers.
fn sentence(error: &str) -> String {
    let mut quotes = ['“', '”'].into_iter().cycle();
    let quoted: String =
        error.trim_end_matches('.').chars().map(|c| if c == '`' { quotes.next().unwrap_or(c) } else { c }).collect();
    let mut letters = quoted.chars();
    letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}

/// Pages of the Hub that this hub has none of.
pub(super) async fn unknown(visit: Visit) -> PageError {
    visit.refuse(Error::NotFound { what: "page", name: visit.here.clone() })
}
