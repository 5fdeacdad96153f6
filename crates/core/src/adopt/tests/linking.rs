//! One copy of the bytes: nothing is lost, wherever it stops.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::super::link::{Way, link, link_watched, sweep};
use super::{found, noise, put};

fn folder() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, seed) in [("a/1", 1), ("b/1", 1), ("c/1", 1), ("a/2", 2), ("b/2", 2)] {
        put(root.path(), path, &noise(seed, 1_200_000));
    }
    // Two names of one copy.
    fs::hard_link(root.path().join("c/1"), root.path().join("c/also")).unwrap();
    put(root.path(), "d/other", &noise(3, 1_200_000));
    root
}

/// Every path with its bytes.
fn content(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for folder in fs::read_dir(root).unwrap().flatten() {
        for entry in fs::read_dir(folder.path()).unwrap().flatten() {
            if !entry.file_name().to_string_lossy().starts_with(".wh-adopt-") {
                all.insert(entry.path(), fs::read(entry.path()).unwrap());
            }
        }
    }
    all
}

fn inodes(root: &Path) -> usize {
    let numbers: std::collections::BTreeSet<u64> =
        content(root).keys().map(|path| path.metadata().unwrap().ino()).collect();
    numbers.len()
}

#[test]
fn hard_links_leave_one_copy_and_the_same_bytes() {
    let root = folder();
    let before = content(root.path());
    let report = found(&[root.path()]);
    assert_eq!(report.freeable.link_bytes, 3 * 1_200_000);
    let done = link(&report.duplicates, Way::HardLink, &|_, _| {});
    assert_eq!((done.files, done.freed_bytes, done.problems.count), (3, 3 * 1_200_000, 0), "{:?}", done.problems);
    assert_eq!(content(root.path()), before);
    assert_eq!(inodes(root.path()), 3);
    assert!(found(&[root.path()]).duplicates.is_empty());
}

#[test]
fn reflinks_keep_files_apart_or_change_nothing() {
    let root = folder();
    let kept = root.path().join("b/1");
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o640)).unwrap();
    let (before, times) = (content(root.path()), kept.metadata().unwrap().modified().unwrap());
    let report = found(&[root.path()]);
    let done = link(&report.duplicates, Way::Reflink, &|_, _| {});
    assert_eq!(content(root.path()), before);
    if done.unsupported {
        assert_eq!((done.files, inodes(root.path())), (0, 6));
        assert_eq!(fs::read_dir(root.path().join("b")).unwrap().count(), 2, "nothing is left behind");
        return;
    }
    assert_eq!((done.files, done.problems.count), (3, 0), "{:?}", done.problems);
    let facts = kept.metadata().unwrap();
    assert_eq!((facts.permissions().mode() & 0o777, facts.modified().unwrap()), (0o640, times));
    assert_eq!(root.path().join("c/1").metadata().unwrap().ino(), root.path().join("c/also").metadata().unwrap().ino());
    fs::write(&kept, b"edited").unwrap();
    assert_eq!(fs::read(root.path().join("a/1")).unwrap(), before[&root.path().join("a/1")]);
}

/// Stops at the n-th step of all, for every n, by an error or as a kill would.
fn stopped_everywhere(way: Way, stop: fn() -> io::Error) {
    for n in 0.. {
        let root = folder();
        let before = content(root.path());
        let report = found(&[root.path()]);
        let mut step = 0;
        let done = catch_unwind(AssertUnwindSafe(|| {
            link_watched(&report.duplicates, way, &|_, _| {}, &mut |_| {
                step += 1;
                if step == n + 1 { Err(stop()) } else { Ok(()) }
            })
        }));
        assert_eq!(content(root.path()), before, "stopped at step {n}");
        let finished = step <= n;
        assert!(!finished || done.is_ok_and(|done| done.files == 3 || done.unsupported));
        // Whatever was left behind is in nobody's way; it stays while its process runs.
        let here = found(&[root.path()]).leftovers;
        sweep(&here);
        assert!(here.iter().all(|path| path.exists()));
        let report = found(&[root.path()]);
        let done = link(&report.duplicates, way, &|_, _| {});
        assert!(done.unsupported || inodes(root.path()) == if way == Way::HardLink { 3 } else { 6 });
        assert_eq!(content(root.path()), before, "after step {n}, again");
        if finished {
            assert!(n >= 6, "there were steps to stop at");
            break;
        }
    }
}

#[test]
fn a_failure_at_any_step_loses_nothing() {
    stopped_everywhere(Way::HardLink, || io::ErrorKind::StorageFull.into());
}

#[test]
fn a_kill_at_any_step_loses_nothing() {
    stopped_everywhere(Way::HardLink, || panic!("killed"));
}

#[test]
fn files_that_changed_since_they_were_found_stay() {
    let root = folder();
    let report = found(&[root.path()]);
    let changed = root.path().join("b/1");
    let (mut bytes, times) = (noise(1, 1_200_000), changed.metadata().unwrap().modified().unwrap());
    bytes[600_000] ^= 1;
    // The same length, the same time: only the bytes tell.
    fs::write(&changed, &bytes).unwrap();
    fs::File::options().write(true).open(&changed).unwrap().set_modified(times).unwrap();
    let replaced = root.path().join("b/2");
    fs::remove_file(&replaced).unwrap();
    std::os::unix::fs::symlink("1", &replaced).unwrap();
    let before = content(root.path());
    let done = link(&report.duplicates, Way::HardLink, &|_, _| {});
    assert_eq!(content(root.path()), before);
    assert!(replaced.is_symlink());
    let why: Vec<_> = done.problems.lines.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(done.problems.count, 2, "{why:?}");
    assert!(why.contains(&"it no longer has the same bytes as its copy"), "{why:?}");
}

#[test]
fn a_file_that_changes_while_it_is_compared_stays() {
    let root = folder();
    let report = found(&[root.path()]);
    let target = report.duplicates[0].copies[1].paths[0].clone();
    let mut written = false;
    let done = link_watched(&report.duplicates[..1], Way::HardLink, &|_, _| {}, &mut |step| {
        if step == super::super::link::Step::Check && !written {
            written = true;
            fs::write(&target, b"new")?;
        }
        Ok(())
    });
    assert_eq!(fs::read(&target).unwrap(), b"new");
    assert_eq!(done.problems.count, 1, "{:?}", done.problems);
}

#[test]
fn hard_links_respect_modes_and_names_outside() {
    let root = folder();
    let outside = tempfile::tempdir_in(root.path().parent().unwrap()).unwrap();
    fs::hard_link(root.path().join("a/2"), outside.path().join("x")).unwrap();
    fs::hard_link(root.path().join("b/2"), outside.path().join("y")).unwrap();
    fs::set_permissions(root.path().join("b/1"), fs::Permissions::from_mode(0o600)).unwrap();
    let report = found(&[root.path()]);
    let done = link(&report.duplicates, Way::HardLink, &|_, _| {});
    let why: Vec<_> = done.problems.lines.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(done.files, 1, "{why:?}");
    assert!(why.iter().any(|why| why.contains("another owner or mode")), "{why:?}");
    assert!(why.iter().any(|why| why.contains("further names outside")), "{why:?}");
}

#[test]
fn what_a_killed_run_left_is_swept_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let gone = put(root.path(), ".wh-adopt-4294967295-3", b"left");
    let others = [".wh-adopt-x-1", ".wh-adopt-", "model.bin"].map(|name| put(root.path(), name, b"kept"));
    sweep(&found(&[root.path()]).leftovers);
    assert!(!gone.exists() && others.iter().all(|path| path.exists()));
}
