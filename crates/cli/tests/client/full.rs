//! A disk that fills up, for everything: bytes, catalog, staging files.

use std::path::Path;
use std::process::Command;

use weighthouse_testkit::noise;

use crate::roads;
use crate::wire::Answer;
use crate::world::World;

const MIB: usize = 1 << 20;

#[test]
fn every_road_says_507_on_a_full_disk_and_works_again_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path(), "64m") else {
        println!("not run: mounting a small disk needs root");
        return;
    };
    let world = World::inside(folder, &[], &[]);
    let hub = world.wire();
    roads::create(&hub, "admin/m");
    let kept = [
        roads::plain(&hub, "admin/m", "kept.txt", "kept").unwrap(),
        roads::lfs(&hub, "admin/m", "kept.bin", &noise(1, 3 * MIB)).unwrap(),
    ];
    let (large, part) = (noise(2, 30 * MIB), noise(3, 30 * MIB));
    let address = roads::lfs_address(&hub, "admin/m", &large).unwrap().unwrap();
    let part_address = roads::last_part_address(&hub, "admin/m", &part).unwrap();
    let cas = roads::xet_token(&hub, "admin/m").unwrap();
    let (xorb, _) = roads::cut(&large);
    let text = "long line\n".repeat(9 * MIB / 10);

    // Room for a part of an upload, but not for the whole of it.
    let ballast = world.path("data/ballast");
    std::fs::write(&ballast, vec![1; 40 * MIB]).unwrap();
    assert_full(&hub.ask("PUT", &address, &large).unwrap());
    assert_full(&hub.ask("PUT", &part_address, &part).unwrap());
    assert_full(&cas.ask("POST", &roads::xorb_address(&xorb), &xorb.body).unwrap());
    world.assert_tidy();

    // No room at all: the database cannot grow either.
    fill(&world.path("data/rest"));
    for answer in [
        roads::commit(&hub, "admin/m", &roads::plain_line("text.txt", &text)),
        hub.ask("PUT", &address, &large),
        cas.ask("POST", &roads::xorb_address(&xorb), &xorb.body),
    ] {
        assert_full(&answer.unwrap());
    }
    for file in &kept {
        file.check(&hub);
    }

    std::fs::remove_file(ballast).unwrap();
    std::fs::remove_file(world.path("data/rest")).unwrap();
    roads::xet(&hub, "admin/m", "xet.bin", &large[..8 * MIB]).unwrap().check(&hub);
    roads::lfs(&hub, "admin/m", "lfs.bin", &noise(4, 8 * MIB)).unwrap().check(&hub);
    roads::plain(&hub, "admin/m", "text.txt", &text).unwrap().check(&hub);
    for file in &kept {
        file.check(&hub);
    }
    world.kill_hub();
    world.start_hub();
    world.assert_tidy();
    for file in &kept {
        file.check(&hub);
    }
    drop(world);
    drop(disk);
}

#[track_caller]
fn assert_full(answer: &Answer) {
    assert_eq!(answer.status, 507, "{}", answer.shown());
    assert!(answer.json()["error"].as_str().unwrap().contains("no room"), "{}", answer.shown());
}

/// Writes a file until the disk is full to the last byte.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    for size in [64 << 10, 4 << 10, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

/// A file system in memory, unmounted at the end.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(folder: &Path, size: &str) -> Option<Self> {
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(folder.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
