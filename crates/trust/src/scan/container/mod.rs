//! Archives: what their two descriptions say, what hides between members, and every member as a file of its own.

mod dcp;
mod layout;
mod tar;
mod torchscript;
mod zip;

pub(super) use dcp::judge as dcp;
pub(super) use tar::judge as tar;
pub(super) use torchscript::source as script_source;
pub(super) use zip::{begin as zip_begin, judge as zip};

use super::report::Finding;
use super::rules;
use super::session::{Item, Session};
use super::verdict::Verdict;

/// An archive of a kind that is not opened here, nor by any loader.
pub(super) fn sealed(session: &mut Session<'_>, item: &Item, kind: &str) {
    let detail = format!("it is a {kind} archive, which is not opened: what lies in it stays unknown");
    session.add(item, Finding::of(rules::ARCHIVE_KIND, Verdict::Error, detail));
}
