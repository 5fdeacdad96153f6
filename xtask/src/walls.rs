//! Who may import whom: the table of `ARCHITECTURE.md`, compared with the manifests.

use anyhow::{Result, bail};

use crate::metadata::{self, Package};
use crate::shell;

/// One crate of the workspace, what it may import of ours, and what may be imported nowhere else.
struct Room {
    package: &'static str,
    may_import: &'static [&'static str],
    markers: &'static [&'static str],
}

const ROOMS: &[Room] = &[
    Room {
        package: "weighthouse-format",
        may_import: &[],
        markers: &["flate2", "zip", "miniz_oxide", "flatbuffers", "prost", "gearhash", "lz4_flex"],
    },
    Room {
        package: "weighthouse-store",
        may_import: &["weighthouse-format"],
        markers: &["object_store", "sqlx", "zstd"],
    },
    Room { package: "weighthouse-trust", may_import: &["weighthouse-format"], markers: &[] },
    Room {
        package: "weighthouse",
        may_import: &["weighthouse-format", "weighthouse-store", "weighthouse-trust"],
        markers: &["memmap2"],
    },
    Room { package: "weighthouse-hub", may_import: &["weighthouse"], markers: &["axum", "askama", "reqwest"] },
    Room {
        package: "weighthouse-cli",
        may_import: &["weighthouse", "weighthouse-hub"],
        markers: &["clap", "indicatif", "tracing-subscriber"],
    },
    Room {
        package: "weighthouse-testkit",
        may_import: &["weighthouse-format", "weighthouse-store", "weighthouse", "weighthouse-hub"],
        markers: &[],
    },
    Room { package: "xtask", may_import: &[], markers: &[] },
];

/// Dependencies that a room names only to choose features of what it uses indirectly, and never calls.
const FEATURES_ONLY: &[(&str, &str)] = &[("weighthouse-store", "reqwest")];

/// Compares the manifests with the table.
///
/// # Errors
/// One line for each import that goes through a wall.
pub fn walls() -> Result<()> {
    let packages = metadata::read(&["--no-deps"])?.packages;
    let breaches = breaches(&packages);
    if !breaches.is_empty() {
        bail!("walls are broken:\n  {}", breaches.join("\n  "));
    }
    shell::say(&format!("walls: {} rooms stand", packages.len()));
    Ok(())
}

fn breaches(packages: &[Package]) -> Vec<String> {
    let mut breaches = Vec::new();
    for package in packages {
        let Some(room) = ROOMS.iter().find(|room| room.package == package.name) else {
            breaches.push(format!("`{}` is not in the table of xtask/src/walls.rs", package.name));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| dependency.ships()) {
            let name = dependency.name.as_str();
            if ROOMS.iter().any(|other| other.package == name) && !room.may_import.contains(&name) {
                breaches.push(format!("`{}` may not import `{name}`", package.name));
            }
            if let Some(home) = ROOMS.iter().find(|other| other.markers.contains(&name))
                && home.package != package.name
                && !FEATURES_ONLY.contains(&(package.name.as_str(), name))
            {
                breaches.push(format!("`{}` uses `{name}`, which lives in `{}` only", package.name, home.package));
            }
            if name == "anyhow" && !["weighthouse-cli", "xtask"].contains(&package.name.as_str()) {
                breaches.push(format!("`{}` uses `anyhow`; libraries have an error enum", package.name));
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Dependency;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let dependency =
            |&(name, kind): &(&str, Option<&str>)| Dependency { name: name.to_owned(), kind: kind.map(str::to_owned) };
        Package {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            license: None,
            source: None,
            dependencies: dependencies.iter().map(dependency).collect(),
        }
    }

    #[test]
    fn the_table_lets_pass_what_it_names() {
        let store =
            package("weighthouse-store", &[("weighthouse-format", None), ("sqlx", None), ("axum", Some("dev"))]);
        assert!(breaches(&[store]).is_empty());
    }

    #[test]
    fn each_breach_is_named() {
        let found = breaches(&[
            package("weighthouse-format", &[("weighthouse-store", None), ("sqlx", None), ("anyhow", Some("build"))]),
            package("weighthouse-cellar", &[]),
        ]);
        assert_eq!(
            found,
            [
                "`weighthouse-format` may not import `weighthouse-store`",
                "`weighthouse-format` uses `sqlx`, which lives in `weighthouse-store` only",
                "`weighthouse-format` uses `anyhow`; libraries have an error enum",
                "`weighthouse-cellar` is not in the table of xtask/src/walls.rs",
            ]
        );
    }
}
