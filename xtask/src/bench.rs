//! `cargo xtask bench TOPIC`: figures beside their peers, from one run.

use anyhow::{Result, bail};

/// Runs the benchmark named `topic`.
///
/// # Errors
/// When there is no such topic.
pub fn bench(topic: &str) -> Result<()> {
    bail!("there is no benchmark named `{topic}` yet")
}
