//! What `cargo metadata` says about the workspace.

use std::path::PathBuf;

use anyhow::Result;
use serde::Deserialize;

use crate::shell;

/// The packages of a dependency graph.
#[derive(Deserialize)]
pub struct Metadata {
    /// Members of the workspace and, unless left out, everything they depend on.
    pub packages: Vec<Package>,
    /// Where cargo builds.
    pub target_directory: PathBuf,
}

/// One package with the names that its manifest says.
#[derive(Deserialize)]
pub struct Package {
    /// Name in the registry.
    pub name: String,
    /// Version in the lock file.
    pub version: String,
    /// SPDX expression, if the manifest has one.
    pub license: Option<String>,
    /// Where it came from; absent for members of the workspace.
    pub source: Option<String>,
    /// Direct dependencies of every kind.
    pub dependencies: Vec<Dependency>,
}

/// One line of a manifest's dependency tables.
#[derive(Deserialize)]
pub struct Dependency {
    /// Name in the registry.
    pub name: String,
    /// `dev`, `build`, or absent for an ordinary dependency.
    pub kind: Option<String>,
}

impl Dependency {
    /// Whether the product itself contains it.
    pub fn ships(&self) -> bool {
        self.kind.as_deref() != Some("dev")
    }
}

/// Asks cargo, with `flags` added.
pub fn read(flags: &[&str]) -> Result<Metadata> {
    let mut arguments = vec!["metadata", "--format-version", "1", "--locked"];
    arguments.extend(flags);
    Ok(serde_json::from_str(&shell::read(&mut shell::command("cargo", &arguments))?)?)
}
