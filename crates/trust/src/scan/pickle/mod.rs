//! Pickles: every name that is looked up and every use of it, against what is known to build data.
//!
//! [`weighthouse_format::pickle`] runs the program without importing anything. Here its names, calls and states are
//! judged, and what follows the pickle is looked at, since loaders go on where it stops.

mod danger;
mod examine;
mod names;
mod persistent;
mod show;
mod stream;
mod uses;

pub(super) use danger::danger;
pub(super) use persistent::Storages;
pub(super) use show::plain;
pub(super) use stream::judge;
