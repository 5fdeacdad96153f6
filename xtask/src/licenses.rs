//! Licenses and bans of `deny.toml`, over everything that the lock files name.
//!
//! cargo-deny would take longer to compile than the whole workspace; its two checks that matter here fit on this page.

use std::collections::HashSet;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::metadata::{self, Package};
use crate::shell;

#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: HashSet<String>,
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: HashSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    name: String,
}

/// Workspaces of the tests, each with a lock file of its own.
const TESTS: [&str; 2] = ["tests/hf-hub/Cargo.toml", "tests/xet-peer/Cargo.toml"];

/// Checks every package of the lock files.
///
/// # Errors
/// One line for each package that is banned, or whose license is not allowed.
pub fn licenses() -> Result<()> {
    let deny: Deny = toml::from_str(&std::fs::read_to_string(shell::root().join("deny.toml"))?)?;
    let mut packages = metadata::read(&[])?.packages;
    for manifest in TESTS {
        packages.extend(metadata::read(&["--manifest-path", manifest])?.packages);
    }
    let findings: Vec<String> = packages.iter().filter_map(|package| finding(package, &deny)).collect();
    if !findings.is_empty() {
        bail!("deny.toml refuses:\n  {}", findings.join("\n  "));
    }
    shell::say(&format!("licenses: {} packages are allowed", packages.len()));
    Ok(())
}

fn finding(package: &Package, deny: &Deny) -> Option<String> {
    let named = format!("{} {}", package.name, package.version);
    if deny.bans.deny.iter().any(|ban| ban.name == package.name) {
        return Some(format!("{named} is banned"));
    }
    let exceptions = deny.licenses.exceptions.iter().filter(|exception| exception.name == package.name);
    let allow = exceptions.flat_map(|exception| &exception.allow).chain(&deny.licenses.allow).cloned().collect();
    match package.license.as_deref().map(|license| allowed(license, &allow)) {
        Some(Ok(true)) => None,
        None if package.source.is_none() => None,
        Some(Ok(false)) => Some(format!("{named}: {}", package.license.as_deref().unwrap_or_default())),
        Some(Err(error)) => Some(format!("{named}: {error:#}")),
        None => Some(format!("{named} states no license")),
    }
}

/// Whether an SPDX expression can be satisfied with the licenses of `allow`.
fn allowed(expression: &str, allow: &HashSet<String>) -> Result<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let verdict = any(&mut words, allow)?;
    if let Some(rest) = words.pop() {
        bail!("`{rest}` is out of place in `{expression}`");
    }
    Ok(verdict)
}

fn any(words: &mut Vec<&str>, allow: &HashSet<String>) -> Result<bool> {
    let mut verdict = all(words, allow)?;
    while words.pop_if(|word| *word == "OR").is_some() {
        verdict |= all(words, allow)?;
    }
    Ok(verdict)
}

fn all(words: &mut Vec<&str>, allow: &HashSet<String>) -> Result<bool> {
    let mut verdict = one(words, allow)?;
    while words.pop_if(|word| *word == "AND").is_some() {
        verdict &= one(words, allow)?;
    }
    Ok(verdict)
}

fn one(words: &mut Vec<&str>, allow: &HashSet<String>) -> Result<bool> {
    let word = words.pop().context("the expression ends early")?;
    if word == "(" {
        let verdict = any(words, allow)?;
        words.pop_if(|word| *word == ")").context("a parenthesis stays open")?;
        return Ok(verdict);
    }
    if words.pop_if(|word| *word == "WITH").is_some() {
        let exception = words.pop().context("`WITH` names nothing")?;
        return Ok(allow.contains(word) || allow.contains(&format!("{word} WITH {exception}")));
    }
    Ok(allow.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_satisfied_as_spdx_says() {
        let allow = HashSet::from(["MIT".to_owned(), "Apache-2.0".to_owned()]);
        for (expression, verdict) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0-only OR MIT", true),
            ("MIT AND GPL-3.0-only", false),
            ("(MIT OR GPL-3.0-only) AND Apache-2.0 WITH LLVM-exception", true),
            ("MIT OR Apache-2.0 AND GPL-3.0-only", true),
        ] {
            assert_eq!(allowed(expression, &allow).unwrap(), verdict, "{expression}");
        }
    }

    #[test]
    fn a_broken_expression_is_an_error() {
        for expression in ["", "(MIT", "MIT Apache-2.0", "MIT WITH"] {
            assert!(allowed(expression, &HashSet::new()).is_err(), "{expression}");
        }
    }
}
