//! Which advisories a revision is concerned by.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Advisory, Affected, Condition};
use crate::scan::Severity;

/// Most pieces of evidence that are kept of one match.
const MAX_EVIDENCE: usize = 20;

/// A file of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFact<'a> {
    /// Path from the root.
    pub path: &'a str,
    /// SHA-256 of its bytes, 64 lower-case hexadecimal digits.
    pub sha256: &'a str,
}

/// A configuration of a revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Path from the root.
    pub path: String,
    /// What it says.
    pub document: Value,
}

/// Reads a configuration as Python does; `None` when it is no JSON.
#[must_use]
pub fn config(path: &str, bytes: &[u8]) -> Option<Config> {
    let document = crate::scan::parse_json(bytes).ok()?;
    Some(Config { path: path.to_owned(), document })
}

/// What is known of a revision.
#[derive(Clone, Debug, Default)]
pub struct Subject<'a> {
    /// Id of the repository, as in [`Affected::Repository`].
    pub repo: &'a str,
    /// Full id of the commit.
    pub commit: &'a str,
    /// Its files.
    pub files: &'a [FileFact<'a>],
    /// Those of its tensors that some advisory names: SHA-256 of the elements, and name.
    pub tensors: &'a [(String, String)],
    /// Formats that occur.
    pub formats: &'a [String],
    /// Those of its configurations that some advisory asks about.
    pub configs: &'a [Config],
}

/// Why an advisory concerns a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
#[non_exhaustive]
pub enum Evidence {
    /// A file.
    File {
        /// Path.
        path: String,
    },
    /// A tensor.
    Tensor {
        /// Name.
        name: String,
    },
    /// The repository is named.
    Repository,
    /// The commit is named.
    Commit,
    /// A format occurs.
    Format {
        /// Which.
        name: String,
    },
    /// A configuration says something.
    Config {
        /// Path of the file.
        path: String,
        /// Place in it.
        key: String,
        /// What it says there.
        value: String,
    },
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path } => write!(f, "file {path}"),
            Self::Tensor { name } => write!(f, "tensor {name}"),
            Self::Repository => f.write_str("the repository is named"),
            Self::Commit => f.write_str("the commit is named"),
            Self::Format { name } => write!(f, "format {name}"),
            Self::Config { path, key, value } => write!(f, "{path}: {key} is {value}"),
        }
    }
}

/// An advisory that concerns a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Id of the advisory.
    pub id: String,
    /// How grave it is.
    pub severity: Severity,
    /// Why, at most 20 reasons.
    pub evidence: Vec<Evidence>,
}

/// Advisories, to be asked about many revisions.
#[derive(Clone, Debug, Default)]
pub struct Index {
    advisories: Vec<Advisory>,
    files: HashMap<String, Vec<usize>>,
    tensors: HashMap<String, Vec<usize>>,
    repos: HashMap<String, Vec<usize>>,
    /// Advisories with [`Affected::Facts`].
    facts: Vec<usize>,
}

impl Index {
    /// Takes in advisories; those that were withdrawn are left out.
    #[must_use]
    pub fn new(advisories: Vec<Advisory>) -> Self {
        let advisories: Vec<Advisory> = advisories.into_iter().filter(Advisory::is_standing).collect();
        let mut index = Self::default();
        for (number, advisory) in advisories.iter().enumerate() {
            let mut asks = false;
            for affected in &advisory.affected {
                let (map, key) = match affected {
                    Affected::File { sha256 } => (&mut index.files, sha256.clone()),
                    Affected::Tensor { sha256 } => (&mut index.tensors, sha256.clone()),
                    Affected::Repository { id, .. } => (&mut index.repos, id.to_lowercase()),
                    Affected::Facts { .. } => {
                        asks = true;
                        continue;
                    }
                };
                let numbers = map.entry(key).or_default();
                if numbers.last() != Some(&number) {
                    numbers.push(number);
                }
            }
            if asks {
                index.facts.push(number);
            }
        }
        index.advisories = advisories;
        index
    }

    /// Whether there is nothing to match.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.advisories.is_empty()
    }

    /// Digests of files that are named.
    pub fn file_digests(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Digests of tensors that are named.
    pub fn tensor_digests(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether a repository is named.
    #[must_use]
    pub fn names_repo(&self, id: &str) -> bool {
        self.repos.contains_key(&id.to_lowercase())
    }

    /// Whether some advisory asks what a file of this path says.
    #[must_use]
    pub fn asks_about(&self, path: &str) -> bool {
        let conditions = |advisory: &Advisory| {
            advisory.affected.iter().any(|affected| match affected {
                Affected::Facts { config, .. } => config.iter().any(|condition| condition.concerns(path)),
                _ => false,
            })
        };
        self.facts.iter().filter_map(|number| self.advisories.get(*number)).any(conditions)
    }

    /// The advisories that concern a revision, the gravest first.
    #[must_use]
    pub fn matches(&self, subject: &Subject<'_>) -> Vec<Match> {
        let mut found: BTreeMap<usize, Vec<Evidence>> = BTreeMap::new();
        let mut note = |number: usize, evidence: Evidence| {
            let list = found.entry(number).or_default();
            if list.len() < MAX_EVIDENCE && !list.contains(&evidence) {
                list.push(evidence);
            }
        };
        for file in subject.files {
            for &number in self.files.get(file.sha256).into_iter().flatten() {
                note(number, Evidence::File { path: file.path.to_owned() });
            }
        }
        for (hash, name) in subject.tensors {
            for &number in self.tensors.get(hash).into_iter().flatten() {
                note(number, Evidence::Tensor { name: name.clone() });
            }
        }
        for &number in self.repos.get(&subject.repo.to_lowercase()).into_iter().flatten() {
            let affected = self.advisories.get(number).map(|advisory| &advisory.affected);
            for affected in affected.into_iter().flatten() {
                if let Affected::Repository { id, commits } = affected
                    && id.to_lowercase() == subject.repo.to_lowercase()
                {
                    match commits.as_slice() {
                        [] => note(number, Evidence::Repository),
                        commits if commits.iter().any(|commit| commit == subject.commit) => {
                            note(number, Evidence::Commit)
                        }
                        _ => {}
                    }
                }
            }
        }
        for &number in &self.facts {
            let affected = self.advisories.get(number).map(|advisory| &advisory.affected);
            for affected in affected.into_iter().flatten() {
                if let Affected::Facts { formats, config } = affected {
                    facts(formats, config, subject).into_iter().flatten().for_each(|evidence| note(number, evidence));
                }
            }
        }
        let mut matches: Vec<Match> = found
            .into_iter()
            .filter_map(|(number, evidence)| {
                let advisory = self.advisories.get(number)?;
                Some(Match { id: advisory.id.clone(), severity: advisory.severity, evidence })
            })
            .collect();
        matches.sort_by(|one, other| other.severity.cmp(&one.severity).then_with(|| one.id.cmp(&other.id)));
        matches
    }
}

/// Evidence when everything fits, `None` otherwise. Conditions on files of one name must all be answered by the same file.
fn facts(formats: &[String], config: &[Condition], subject: &Subject<'_>) -> Option<Vec<Evidence>> {
    let mut evidence = Vec::new();
    if !formats.is_empty() {
        let found =
            subject.formats.iter().find(|format| formats.iter().any(|wanted| wanted.eq_ignore_ascii_case(format)))?;
        evidence.push(Evidence::Format { name: found.clone() });
    }
    let names: BTreeSet<&str> = config.iter().map(|condition| condition.file.as_str()).collect();
    for name in names {
        let asked: Vec<&Condition> = config.iter().filter(|condition| condition.file == name).collect();
        let answer = subject.configs.iter().find_map(|config| {
            let all: Option<Vec<Evidence>> = asked
                .iter()
                .map(|condition| {
                    let value =
                        condition.concerns(&config.path).then(|| condition.holds(&config.document)).flatten()?;
                    Some(Evidence::Config { path: config.path.clone(), key: condition.key.clone(), value })
                })
                .collect();
            all
        });
        evidence.extend(answer?);
    }
    Some(evidence)
}
