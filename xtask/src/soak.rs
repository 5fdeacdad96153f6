//! `cargo xtask soak`: the tests that are ignored by default because they take long.

use anyhow::Result;

use crate::{shell, test};

/// Runs every ignored test whose name begins with `soak`, in release.
pub fn soak() -> Result<()> {
    test::ensure_nextest()?;
    let flags = ["nextest", "run", "--workspace", "--release", "--run-ignored", "only", "-E", "test(/(^|::)soak/)"];
    shell::run(&mut shell::command("cargo", &flags))
}
