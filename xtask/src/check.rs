//! `cargo xtask check`: everything that can be said without running the product.

use anyhow::Result;

use crate::{licenses, shell, walls};

/// Formatting, clippy, walls, licenses, documentation; stops at the first that fails.
pub fn check() -> Result<()> {
    shell::run(&mut shell::command("cargo", &["fmt", "--all", "--check"]))?;
    walls::walls()?;
    licenses::licenses()?;
    shell::run(&mut shell::command("cargo", &["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    let mut docs = shell::command("cargo", &["doc", "--workspace", "--no-deps", "--document-private-items"]);
    shell::run(docs.env("RUSTDOCFLAGS", "--deny warnings"))
}
