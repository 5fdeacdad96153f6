//! The pages: the same use cases as the API, for readers.
//!
//! ```text
//!   request ─ visit ──────────► use cases ─► page struct ─ template ─► HTML
//!              who, where from, query            │
//!                                      markdown  card ─► safe HTML
//! ```
//! - Pages are rendered here and work without script; the only asset is one stylesheet and one icon, addressed by
//!   their content.
//! - Every page of a repository has a JSON twin, named in its head and at its foot.
//! - Text from repositories passes through the templates' escaping, or through [`markdown`]; never around them.
//!
//! | address | page |
//! |---|---|
//! | `/`, `/models`, `/datasets` | lists, with `search`, `filter`, `author`, `sort`, `p` |
//! | `/{id}` | card, facts, how to use it |
//! | `/{id}/tree/{rev}[/{path}]` | a folder |
//! | `/{id}/blob/{rev}/{path}` | a file |
//! | `/{id}/commits/{rev}`, `/{id}/commit/{sha}` | history |
//! | `/{id}/tensors/{rev}[/{path}]` | tensors of the whole, a folder or a file; `module`, `search`, `part`, `fold`, `p` |
//! | `…?name=` | one tensor; `row`, `column`, `stat` |
//! | `/{id}/npy/{rev}[/{path}]?name=` | its elements |
//! | `/{id}/architecture/{rev}[/{path}]` | blocks of the model |
//! | `/{id}/convert/{rev}[/{path}]` | the checkpoint in other forms |
//! | `/{id}/scan/{rev}[/{path}]` | what the scanner found, with the program around it; `as=sarif` in the JSON |
//! | `/compare?a=&b=` | what changed between any two revisions; `search`, `show`, `p`, `as=csv` |
//! | `/settings/policies`, `/settings/quarantine`, `/settings/audit` | for those who administrate; `of` |
//! | `/settings/advisories` | feeds and what they concern, for those who administrate the hub |
//! | `/{id}/settings/advisories` | takes note of an advisory |
//! | `/{id}/settings/storage`, `/settings/storage` | what a repository and the hub take on the disk, and what the former keeps |
//! | `/login`, `/logout`, `/settings/tokens` | who am I |
//!
//! Addresses of repositories arrive rewritten by [`crate::server::address`].

mod account;
mod address;
mod advisories;
mod architecture;
mod assets;
mod blob;
mod commits;
mod compare;
mod convert;
mod error;
mod format;
mod home;
mod inside;
mod list;
pub mod markdown;
mod policies;
mod quarantine;
mod retention;
mod scan;
mod shell;
mod storage;
mod tensor;
mod tensors;
#[cfg(test)]
mod tests;
mod tree;
mod usage;
mod visit;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use weighthouse::Hub;

/// Largest form, in bytes: a token and where to go next, or a choice.
const MAX_FORM_BYTES: usize = 16 << 10;

/// What the pages need.
#[derive(Clone, Debug)]
pub struct WebState {
    /// The use cases.
    pub hub: Hub,
    /// Address that clients use, without a trailing slash; taken from each request if absent.
    pub public_url: Option<String>,
}

/// All routes of the pages, to be merged into the server's and put behind its layers.
pub fn routes(state: WebState) -> Router {
    Router::new()
        .route("/", get(list::front))
        .route("/models", get(list::models))
        .route("/datasets", get(list::datasets))
        .route("/~page/home", get(home::show))
        .route("/~page/tree/{revision}", get(tree::root))
        .route("/~page/tree/{revision}/{*path}", get(tree::folder))
        .route("/~page/blob/{revision}/{*path}", get(blob::show))
        .route("/~page/commits/{revision}", get(commits::list))
        .route("/~page/commits/{revision}/{*path}", get(commits::list_of_path))
        .route("/~page/commit/{revision}", get(commits::show))
        .route("/~page/tensors/{revision}", get(tensors::root))
        .route("/~page/tensors/{revision}/{*path}", get(tensors::below))
        .route("/~page/npy/{revision}", get(tensor::npy_of_root))
        .route("/~page/npy/{revision}/{*path}", get(tensor::npy_below))
        .route("/~page/architecture/{revision}", get(architecture::root))
        .route("/~page/architecture/{revision}/{*path}", get(architecture::below))
        .route("/~page/convert/{revision}", get(convert::root).post(convert::ask_root))
        .route("/~page/convert/{revision}/{*path}", get(convert::below).post(convert::ask_below))
        .route("/~page/scan/{revision}", get(scan::root))
        .route("/~page/scan/{revision}/{*path}", get(scan::below))
        .route("/~page/{*rest}", get(error::unknown))
        .route("/compare", get(compare::show).post(compare::ask))
        .route("/login", get(account::login_form).post(account::login))
        .route("/logout", post(account::logout))
        .route("/settings/tokens", get(account::tokens))
        .route("/settings/storage", get(storage::hub))
        .route("/~page/settings/storage", get(storage::show).post(retention::change))
        .route("/~page/settings/advisories", post(advisories::take_note))
        .route("/assets/{name}", get(assets::serve))
        .route("/settings/quarantine", get(quarantine::quarantine).post(quarantine::release))
        .route("/settings/audit", get(policies::audit))
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
        .route(
            "/settings/policies",
            get(policies::policies)
                .post(policies::change_policies)
                .layer(DefaultBodyLimit::max(policies::MAX_FORM_BYTES)),
        )
        .route(
            "/settings/advisories",
            get(advisories::show).post(advisories::change).layer(DefaultBodyLimit::max(advisories::MAX_FORM_BYTES)),
        )
        .with_state(state)
}
