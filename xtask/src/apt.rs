//! Debian packages that a test needs.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::shell;

/// Packages are installed one after another: apt refuses to run twice.
static ONE: Mutex<()> = Mutex::new(());

/// Installs `package`, as root on a Debian machine; elsewhere says what is missing.
///
/// # Errors
/// When the installation fails; `purpose` is in the message.
pub fn install(package: &str, purpose: &str) -> Result<()> {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let missing = || format!("{purpose} needs the Debian package `{package}`; install it, or run as root");
    shell::run(&mut shell::command("apt-get", &["update", "--quiet=2"])).with_context(missing)?;
    let mut install = shell::command("apt-get", &["install", "--quiet=2", "--yes", "--no-install-recommends", package]);
    shell::run(install.env("DEBIAN_FRONTEND", "noninteractive")).with_context(missing)
}
