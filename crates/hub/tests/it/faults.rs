//! Disks that fill up, databases that do not answer, and a second server on the same folder.

use std::process::Command;

use weighthouse::{Error, Hub, HubOptions, StoreError};
use weighthouse_testkit::noise;

use crate::site::{Site, file, lfs_file, sha256};

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused() {
    let site = Site::new().await;
    let second = Hub::open(HubOptions::new(site.hub.folder())).await;
    let Err(Error::Store(StoreError::Locked { folder })) = second else { panic!("{second:?}") };
    assert_eq!(folder, site.hub.folder().display().to_string());
    site.still_works().await;
}

#[tokio::test]
async fn a_locked_database_is_a_503_and_the_hub_recovers() {
    let site = Site::new().await;
    site.repo("m", false).await;
    let database = site.hub.folder().join("catalog.sqlite");
    let script = "import sqlite3, sys, time\n\
                  db = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                  db.execute('BEGIN EXCLUSIVE'); print('locked', flush=True); time.sleep(60)";
    let mut locker = Command::new("python3")
        .args(["-c", script])
        .arg(&database)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(locker.stdout.take().unwrap()), &mut String::new())
        .unwrap();
    let answer = site.commit("m", &[file("a.txt", b"a")]).await;
    locker.kill().unwrap();
    locker.wait().unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(!answer.header("retry-after").is_empty());
    site.still_works().await;
}

/// A folder on a file system of its own, unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_a_507_and_nothing_is_lost() {
    let Some(disk) = SmallDisk::mount("24m") else {
        println!("not run: mounting a small disk needs root");
        return;
    };
    let site = Site::new().await;
    site.repo("m", false).await;
    let kept = noise(1, 4_000_000);
    // The bytes go to the small disk, as they would with a data folder on it.
    let blobs = site.hub.folder().join("blobs");
    std::fs::rename(&blobs, site.hub.folder().join("old")).unwrap();
    std::os::unix::fs::symlink(disk.0.path(), &blobs).unwrap();
    let copy = Command::new("cp").arg("-a").arg(site.hub.folder().join("old/.")).arg(disk.0.path()).status();
    assert!(copy.unwrap().success());
    let line = site.upload("m", "kept.bin", &kept).await;
    site.commit("m", &[line]).await.ok();
    let large = noise(2, 40_000_000);
    let answer = site.batch(&site.ada, "m", &sha256(&large), large.len(), &["basic"]).await;
    let href = answer["objects"][0]["actions"]["upload"]["href"].as_str().unwrap().to_owned();
    let full = site.ask("", "PUT", &href, large.clone()).await;
    assert_eq!(full.status, 507, "{full:?}");
    assert!(!full.header("x-error-message").is_empty());
    assert!(site.get("", "/ada/m/resolve/main/kept.bin").await.ok().body == kept);
    assert_eq!(site.commit("m", &[lfs_file("l.bin", &sha256(&large), large.len())]).await.status, 400);
    let grown = Command::new("mount").args(["-o", "remount,size=200m"]).arg(disk.0.path()).status();
    assert!(grown.unwrap().success());
    site.ask("", "PUT", &href, large.clone()).await.ok();
    site.commit("m", &[lfs_file("l.bin", &sha256(&large), large.len())]).await.ok();
    assert!(site.get("", "/ada/m/resolve/main/l.bin").await.ok().body == large);
}
