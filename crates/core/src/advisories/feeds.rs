//! Where advisories come from: a file or a folder of this machine, or a repository of this hub.

use std::path::Path;

use serde_json::{Value, json};
use sha2::Digest;
use weighthouse_format::Folder;
use weighthouse_store::StoreError;
use weighthouse_store::catalog::{AdvisoryRecord, AuditEntry, FeedRecord, RepoKey};
use weighthouse_store::digest::Sha256;
use weighthouse_trust::advisory::{self, Advisory, MAX_FEED_BYTES};

use super::review;
use crate::access::Caller;
use crate::audit::Event;
use crate::browse::PathRecord;
use crate::checkpoints::task;
use crate::comparisons::SideName;
use crate::jobs::Line;
use crate::local::LocalFolder;
use crate::{Error, Hub, names};

/// What a place begins with that is a repository of this hub.
const HUB: &str = "hub:";
/// What a place begins with whose advisories were sent, by whoever follows: nothing is there to be read again.
const SENT: &str = "sent by ";
/// Most files of a feed.
const MAX_FILES: usize = 10_000;

/// What became of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Advisories that it has.
    pub advisories: u64,
    /// Whether it says something else than before.
    pub changed: bool,
}

/// Where an administrator has a feed taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedSource {
    /// A repository of this hub, `NAMESPACE/NAME[@REVISION]`, with or without `hub:` in front.
    Repository(String),
    /// The feed itself.
    Sent(Vec<u8>),
}

/// A feed that was read.
#[derive(Default)]
struct Read {
    files: Vec<(String, Vec<u8>)>,
    bytes: u64,
    repo: Option<RepoKey>,
}

impl Read {
    /// Asks for a file of a feed before it is read.
    fn admit(&mut self, place: &str, len: u64) -> Result<(), Error> {
        self.bytes = self.bytes.saturating_add(len);
        if self.files.len() >= MAX_FILES || self.bytes > MAX_FEED_BYTES {
            return Err(Error::TooLarge { what: format!("the feed `{place}`"), limit_bytes: MAX_FEED_BYTES });
        }
        Ok(())
    }

    /// The advisories, and a digest over the files that they stand in.
    fn parsed(mut self, place: &str) -> Result<(Vec<Advisory>, Sha256), Error> {
        self.files.sort();
        let mut hasher = sha2::Sha256::new();
        let mut all: Vec<Advisory> = Vec::new();
        let mut ids = std::collections::HashSet::new();
        for (path, bytes) in &self.files {
            for part in [path.as_bytes(), bytes] {
                hasher.update((part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
            let found = advisory::parse(bytes).map_err(|error| Error::Malformed(format!("`{path}`: {error}")))?;
            for advisory in found {
                if !ids.insert(advisory.id.clone()) {
                    return Err(Error::Malformed(format!("`{path}`: `{}` stands in another file too", advisory.id)));
                }
                all.push(advisory);
            }
        }
        if self.files.is_empty() {
            return Err(Error::Malformed(format!("`{place}` has no file whose name ends with `.json`")));
        }
        Ok((all, Sha256(hasher.finalize().into())))
    }
}

impl Hub {
    /// Reads a feed and takes it in, in the place of what it said before. `place` is a file or a folder of this machine, or
    /// `hub:NAMESPACE/NAME[@REVISION]`. For orders given on the machine itself.
    ///
    /// # Errors
    /// [`Error::Malformed`] when anything in it is wrong, and nothing is changed then; [`Error::Exists`] when another feed
    /// has an advisory of the same id.
    pub async fn import_feed(&self, name: &str, place: &str) -> Result<Imported, Error> {
        let read = match place.strip_prefix(HUB) {
            Some(named) => self.read_repo(named).await?,
            None => {
                let path = place.to_owned();
                tokio::task::spawn_blocking(move || read_local(Path::new(&path))).await.map_err(task)??
            }
        };
        self.take_in(name, place, read, |event| self.audited_here(event)).await
    }

    /// Takes a feed in for an administrator, as [`Hub::import_feed`] does. Files of this machine are not theirs to name.
    ///
    /// # Errors
    /// Those of [`Hub::import_feed`], and [`Error::Denied`] for everybody else.
    pub async fn put_feed(&self, caller: &Caller, name: &str, source: FeedSource) -> Result<Imported, Error> {
        self.require_advisories(caller)?;
        names::check_segment(name)?;
        let (place, read) = match source {
            FeedSource::Repository(named) => {
                let named = named.strip_prefix(HUB).unwrap_or(&named);
                (format!("{HUB}{named}"), self.read_repo(named).await?)
            }
            FeedSource::Sent(document) => {
                let mut read = Read::default();
                read.admit(name, document.len() as u64)?;
                read.files.push((format!("{name}.json"), document));
                (format!("{SENT}{}", caller.account().map_or("", |account| &account.name)), read)
            }
        };
        self.take_in(name, &place, read, |event| self.audited(caller, event)).await
    }

    async fn take_in(
        &self,
        name: &str,
        place: &str,
        read: Read,
        entry: impl FnOnce(Event) -> AuditEntry,
    ) -> Result<Imported, Error> {
        let repo = read.repo.clone();
        let shown = place.to_owned();
        // A feed of 64 MiB takes a while, and this thread has others to serve.
        let parsed = tokio::task::spawn_blocking(move || read.parsed(&shown)).await.map_err(task)?;
        let (advisories, digest) = parsed?;
        let mut records = Vec::with_capacity(advisories.len());
        for advisory in &advisories {
            let document = serde_json::to_string(advisory).map_err(|error| Error::Malformed(error.to_string()))?;
            records.push(AdvisoryRecord { id: advisory.id.clone(), feed: name.to_owned(), document });
        }
        let feed = FeedRecord {
            name: name.to_owned(),
            place: place.to_owned(),
            repo,
            digest,
            advisories: records.len() as u64,
            imported_at_ms: self.now_ms(),
        };
        let detail = json!({ "place": place, "digest": digest.to_string(), "advisories": feed.advisories });
        let entry = entry(event("feed.update", name, detail));
        let changed = match self.catalog().advisories().put_feed(&feed, &records, Some(entry)).await {
            Err(StoreError::Exists { what }) => return Err(Error::Exists { what: format!("{what} exists already") }),
            changed => changed?,
        };
        self.work_waits(Line::Reading).notify_one();
        Ok(Imported { advisories: feed.advisories, changed })
    }

    /// Removes a feed with its advisories and what they concern. For orders given on the machine itself.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none of this name.
    pub async fn remove_feed(&self, name: &str) -> Result<(), Error> {
        self.give_up(name, self.audited_here(event("feed.remove", name, json!({})))).await
    }

    /// Removes a feed for an administrator, as [`Hub::remove_feed`] does.
    ///
    /// # Errors
    /// Those of [`Hub::remove_feed`], and [`Error::Denied`] for everybody else.
    pub async fn delete_feed(&self, caller: &Caller, name: &str) -> Result<(), Error> {
        self.require_advisories(caller)?;
        self.give_up(name, self.audited(caller, event("feed.remove", name, json!({})))).await
    }

    async fn give_up(&self, name: &str, entry: AuditEntry) -> Result<(), Error> {
        if !self.catalog().advisories().remove_feed(name, self.now_ms(), Some(entry)).await? {
            return Err(Error::NotFound { what: "feed", name: names::shorten(name) });
        }
        self.work_waits(Line::Reading).notify_one();
        Ok(())
    }

    async fn read_repo(&self, named: &str) -> Result<Read, Error> {
        let name: SideName = named.parse()?;
        let record = self.catalog().repos().find(name.kind, &name.id).await?;
        let record = record.ok_or_else(|| Error::RepoNotFound { kind: name.kind, id: name.id.clone() })?;
        // The order is given by an administrator, who may read everything.
        let repo = crate::access::Repo { record, role: crate::Role::Read };
        let revision = self.revision(&repo, &name.revision).await?;
        let mut read = Read { repo: Some(repo.record.key.clone()), ..Read::default() };
        for entry in self.list(&revision, &name.revision, name.path.trim_matches('/'), true).await? {
            let PathRecord::File(file) = entry else { continue };
            if !file.path.ends_with(".json") {
                continue;
            }
            read.admit(named, file.size_bytes)?;
            let bytes = self.read_small(&file, MAX_FEED_BYTES).await?.unwrap_or_default();
            read.files.push((file.path, bytes));
        }
        Ok(read)
    }

    /// Reads the feeds that lie in a repository again, when it has changed.
    pub(super) async fn refresh_feeds(&self, key: &RepoKey) -> Result<(), Error> {
        for feed in self.feeds().await?.into_iter().filter(|feed| feed.repo.as_ref() == Some(key)) {
            match self.import_feed(&feed.name, &feed.place).await {
                Ok(imported) if imported.changed => {
                    tracing::info!(feed.name, advisories = imported.advisories, "the feed `{}` has changed", feed.name);
                }
                Ok(_) => {}
                // What it said before stands.
                Err(error) if error.kind() == crate::ErrorKind::Transient => return Err(error),
                Err(error) => tracing::warn!(feed.name, %error, "the feed `{}` cannot be taken in", feed.name),
            }
        }
        Ok(())
    }

    /// Reads all feeds again, and matches everything that is stored at once. Returns what each feed is, or why it was not
    /// taken in, and how many commits were looked at.
    pub async fn check_advisories(&self) -> Result<(Vec<(String, Result<Imported, Error>)>, u64), Error> {
        let mut feeds = Vec::new();
        for feed in self.feeds().await? {
            let imported = if feed.place.starts_with(SENT) {
                Ok(Imported { advisories: feed.advisories, changed: false })
            } else {
                self.import_feed(&feed.name, &feed.place).await
            };
            feeds.push((feed.name, imported));
        }
        let looked = review::everything(self).await?;
        Ok((feeds, looked))
    }
}

fn event(name: &'static str, feed: &str, detail: Value) -> Event {
    let subject = names::shorten(feed);
    Event { name, org: String::new(), repo: String::new(), subject, outcome: "done", detail }
}

/// Reads a file, or all files of a folder whose names end with `.json`.
fn read_local(path: &Path) -> Result<Read, Error> {
    let mut read = Read::default();
    let (folder, only) = match path.is_dir() {
        true => (LocalFolder::open(path)?, None),
        false => {
            let (folder, name) = LocalFolder::of_file(path)?;
            (folder, Some(name))
        }
    };
    for file in folder.files() {
        let wanted = match &only {
            Some(name) => *file.path == **name,
            None => file.path.ends_with(".json"),
        };
        if !wanted {
            continue;
        }
        read.admit(&path.display().to_string(), file.size_bytes)?;
        let section = folder.open(&file.path).map_err(|error| Error::Malformed(error.to_string()))?;
        let bytes = section.read("a feed", 0, section.len().min(MAX_FEED_BYTES));
        read.files.push((file.path.to_string(), bytes.map_err(|error| Error::Malformed(error.to_string()))?));
    }
    Ok(read)
}
