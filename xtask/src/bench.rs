//! `cargo xtask bench TOPIC`: figures beside their peers, from one run.
//!
//! Machines are shared and noisy, so each figure is taken several times in turns with its peer, and shown with its
//! best and its median; what counts is the ratio. Nothing is written into the repository.

mod convert;
mod diff;
mod figures;
mod gate;
mod machine;
mod read;
mod scan;
mod store;
mod transfer;

use anyhow::{Result, bail};

/// Names of the topics.
pub const TOPICS: [&str; 7] = ["convert", "diff", "gate", "read", "scan", "store", "transfer"];

/// Runs the benchmark named `topic`.
///
/// # Errors
/// When there is no such topic, or something could not be measured.
pub fn bench(topic: &str, flags: &[&str]) -> Result<()> {
    if !flags.is_empty() && topic != "store" {
        bail!("`bench {topic}` has no flags");
    }
    match topic {
        "convert" => convert::convert(),
        "diff" => diff::diff(),
        "gate" => gate::gate(),
        "read" => read::read(),
        "scan" => scan::scan(),
        "store" => store::store(flags),
        "transfer" => transfer::transfer(),
        _ => bail!("there is no benchmark named `{topic}`; there are: {}", TOPICS.join(", ")),
    }
}
