//! Off the disk and back: nothing goes that is not proven, and what comes back is what went.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use weighthouse_format::Section;
use weighthouse_format::source::MemoryFolder;

use super::super::content::Content;
use super::super::free::{Destination, Proof, free};
use super::super::record::{self, Record, Whereabouts};
use super::super::restore::restore;
use super::{found, hf_cache, noise, put};
use crate::{Error, Sha256};

/// What a hub would have: files by commit and path.
type Hub = BTreeMap<String, Vec<(String, Vec<u8>)>>;

fn to() -> Destination {
    Destination { repo: "admin/org__name".into(), hub: Whereabouts::Data("/data".into()) }
}

/// Takes a model into a hub in memory.
fn take(content: &Content) -> (Hub, BTreeMap<String, Proof>) {
    let (mut hub, mut proofs) = (Hub::new(), BTreeMap::new());
    for revision in &content.revisions {
        for file in &revision.files {
            let bytes = fs::read(&file.place).unwrap();
            let proof =
                Proof { stored: file.stored.clone(), commit: revision.branch.clone(), sha256: Sha256::of(&bytes) };
            proofs.entry(file.path.clone()).or_insert(proof);
            hub.entry(revision.branch.clone()).or_default().push((file.stored.clone(), bytes));
        }
    }
    (hub, proofs)
}

fn open(hub: &Hub, commit: &str) -> Result<MemoryFolder, Error> {
    let files = hub.get(commit).ok_or_else(|| Error::Malformed("no such commit".into()))?;
    Ok(MemoryFolder::new(files.iter().map(|(path, bytes)| Section::of_bytes(path.as_str(), bytes.clone())).collect()))
}

/// Every file and link below a folder, with its bytes or target, mode and time.
fn all(root: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u32, i64)> {
    use std::os::unix::fs::MetadataExt;
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let (path, facts) = (entry.path(), entry.metadata().unwrap());
            if facts.is_dir() {
                pending.push(path);
            } else if facts.is_symlink() {
                found.insert(path.clone(), (fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(), 0, 0));
            } else {
                found.insert(path.clone(), (fs::read(&path).unwrap(), facts.mode(), facts.mtime_nsec()));
            }
        }
    }
    found
}

fn no(_: u64) {}

#[test]
fn a_cache_comes_back_with_its_links_modes_and_times() {
    let root = tempfile::tempdir().unwrap();
    let repo = hf_cache(root.path());
    fs::set_permissions(repo.join("blobs/w1"), fs::Permissions::from_mode(0o440)).unwrap();
    let before = all(root.path());
    let content = Content::of(&found(&[root.path()]).models[0]);
    let (hub, proofs) = take(&content);
    let outcome = free(&content, &proofs, &BTreeSet::new(), &to(), 7, &no).unwrap();
    assert_eq!((outcome.files, outcome.links, outcome.freed_bytes, outcome.problems.count), (3, 4, 100_007, 0));
    let left: Vec<_> = all(root.path()).into_keys().map(|path| path.strip_prefix(&repo).unwrap().to_owned()).collect();
    assert_eq!(left, [Path::new(record::NAME), Path::new("blobs/w3.incomplete"), Path::new("refs/main")]);
    let folder = repo.canonicalize().unwrap();
    let mut record = Record::read(&folder).unwrap();
    assert!(record.restore.starts_with("wh pull --adopted ") && record.restore.ends_with(" --data /data"));
    for _ in 0..2 {
        let done = restore(&folder, &record.models[0], &mut |commit| open(&hub, commit), &no).unwrap();
        assert_eq!((done.files + done.unchanged, done.problems.count), (3, 0), "{:?}", done.problems);
    }
    record.models.clear();
    record.write(&folder).unwrap();
    assert_eq!(all(root.path()), before);
}

#[test]
fn what_changed_or_was_not_proven_stays() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "m/config.json", b"{}");
    put(root.path(), "m/a.bin", &noise(1, 9_000));
    put(root.path(), "m/b.bin", &noise(2, 9_000));
    put(root.path(), "m/c.bin", &noise(3, 9_000));
    let content = Content::of(&found(&[root.path()]).models[0]);
    let (_, mut proofs) = take(&content);
    proofs.remove("a.bin");
    proofs.get_mut("b.bin").unwrap().sha256 = Sha256::of(b"other");
    fs::write(root.path().join("m/c.bin"), noise(4, 9_000)).unwrap();
    let outcome = free(&content, &proofs, &BTreeSet::new(), &to(), 7, &no).unwrap();
    assert_eq!((outcome.files, outcome.problems.count), (1, 2), "{:?}", outcome.problems);
    assert!(["a.bin", "b.bin", "c.bin"].iter().all(|name| root.path().join("m").join(name).exists()));
    assert!(!root.path().join("m/config.json").exists());
}

#[test]
fn without_a_record_nothing_is_removed() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "m/a.bin", &noise(1, 9_000));
    let content = Content::of(&found(&[root.path()]).models[0]);
    let (_, proofs) = take(&content);
    // The record cannot be written where a folder stands.
    fs::create_dir(root.path().join("m").join(record::NAME)).unwrap();
    assert!(free(&content, &proofs, &BTreeSet::new(), &to(), 7, &no).is_err());
    assert!(root.path().join("m/a.bin").exists());
}

#[test]
fn what_stands_in_the_way_of_a_return_stays() {
    let root = tempfile::tempdir().unwrap();
    let repo = hf_cache(root.path());
    let content = Content::of(&found(&[root.path()]).models[0]);
    let (mut hub, proofs) = take(&content);
    free(&content, &proofs, &BTreeSet::new(), &to(), 7, &no).unwrap();
    let folder = repo.canonicalize().unwrap();
    let record = Record::read(&folder).unwrap();
    put(&folder, "blobs/w2", b"mine");
    for (path, bytes) in hub.get_mut("snapshot-aaaaaaaaaaaa").unwrap() {
        if path == "model.safetensors" {
            bytes[7] ^= 1;
        }
    }
    let done = restore(&folder, &record.models[0], &mut |commit| open(&hub, commit), &no).unwrap();
    assert_eq!(fs::read(folder.join("blobs/w2")).unwrap(), b"mine");
    assert!(!folder.join("blobs/w1").exists(), "bytes with another digest are not put in place");
    let why: Vec<_> = done.problems.lines.iter().map(|line| line.message.as_str()).collect();
    assert_eq!((done.files, why.len()), (1, 2), "{why:?}");
    assert_eq!(fs::read_dir(folder.join("blobs")).unwrap().count(), 3, "no temporary file is left");
}

#[test]
fn records_that_lead_out_of_their_folder_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().canonicalize().unwrap();
    let record = |path: &str, link: &str, target: &str| {
        serde_json::json!({
            "schema": "weighthouse.adopted/1", "restore": "", "models": [{
                "repo": "a/b", "hub": { "data": "/d" }, "layout": "folder", "freed_at_ms": 0, "pull": "",
                "files": [{ "path": path, "stored": "x", "commit": "c", "sha256": "00".repeat(32), "size_bytes": 1,
                    "mode": 511, "modified_ns": 0 }],
                "links": [{ "path": link, "target": target }],
            }],
        })
        .to_string()
    };
    put(&folder, record::NAME, record("a/b", "l", "a/b").as_bytes());
    Record::read(&folder).unwrap();
    for (path, link, target) in [
        ("../x", "l", "a"),
        ("/etc/x", "l", "a"),
        ("a//b", "l", "a"),
        ("a/../../b", "l", "a"),
        ("a", "../l", "a"),
        ("a", "l", "/etc/passwd"),
        ("a", "l", "../../etc/passwd"),
        ("a", "s/l", "../../x"),
        ("a", "l", "."),
    ] {
        put(&folder, record::NAME, record(path, link, target).as_bytes());
        assert!(Record::read(&folder).is_err(), "{path} {link} {target}");
    }
    put(&folder, record::NAME, b"{\"schema\":");
    assert!(Record::read(&folder).is_err());
    // A link that was put where a folder should be is not passed through.
    let outside = tempfile::tempdir().unwrap();
    put(&folder, record::NAME, record("s/x", "l", "s").as_bytes());
    let freed = Record::read(&folder).unwrap().models.remove(0);
    symlink(outside.path(), folder.join("s")).unwrap();
    let hub: Hub = [("c".to_owned(), vec![("x".to_owned(), vec![1])])].into();
    let done = restore(&folder, &freed, &mut |commit| open(&hub, commit), &no).unwrap();
    assert_eq!((done.files, done.problems.count), (0, 1));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}
