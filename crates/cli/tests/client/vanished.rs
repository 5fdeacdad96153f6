//! Clients that go away in the middle, and a second hub on the same folder.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

use weighthouse_testkit::noise;

use crate::roads;
use crate::world::{World, code, count, text, wait_until};

const MIB: usize = 1 << 20;

#[test]
fn uploads_whose_client_vanishes_leave_nothing() {
    let world = World::new();
    let hub = world.wire();
    roads::create(&hub, "admin/m");
    let kept = roads::lfs(&hub, "admin/m", "kept.bin", &noise(1, MIB)).unwrap();
    let data = noise(2, 20 * MIB);
    let cas = roads::xet_token(&hub, "admin/m").unwrap();
    let (xorb, _) = roads::cut(&data);
    let commit = ("POST", "/api/models/admin/m/commit/main".to_owned());
    let lfs = ("PUT", roads::lfs_address(&hub, "admin/m", &data).unwrap().unwrap());
    let part = ("PUT", roads::last_part_address(&hub, "admin/m", &data).unwrap());
    let files = || count(&world.path("data/blobs"), "");
    let (files_before, open_before) = (files(), open_sockets(&world));
    for (hub, (method, path)) in
        [(&hub, lfs), (&hub, part), (&cas, ("POST", roads::xorb_address(&xorb))), (&hub, commit)]
    {
        let mut half = hub.begin(method, &path, data.len() as u64).unwrap();
        half.write_all(if path.contains("xorbs") { &xorb.body[..12 * MIB] } else { &data[..12 * MIB] }).unwrap();
        if !path.contains("/commit/") {
            wait_until("bytes arrive", || files() > files_before);
        }
        drop(half);
        wait_until("nothing is left", || files() == files_before);
        wait_until("no pack is unfinished", || world.count_rows("packs WHERE sealed = 0") == 0);
    }
    world.assert_tidy();
    wait_until("no connection is left", || open_sockets(&world) <= open_before);
    kept.check(&hub);
}

#[test]
fn an_upload_whose_client_leaves_before_the_answer_is_there_or_leaves_nothing() {
    let world = World::new();
    let hub = world.wire();
    roads::create(&hub, "admin/m");
    let packs = || world.count_rows("packs");
    for seed in 1..=12 {
        let data = noise(seed, 3 * MIB);
        let (address, before) = (roads::lfs_address(&hub, "admin/m", &data).unwrap().unwrap(), packs());
        let mut upload = hub.begin("PUT", &address, data.len() as u64).unwrap();
        upload.write_all(&data).unwrap();
        // The hub has taken in some of it, all of it, or is about to answer.
        std::thread::sleep(Duration::from_millis(seed * 7));
        drop(upload);
        let settled = || {
            let there = roads::lfs_address(&hub, "admin/m", &data).unwrap().is_none();
            world.count_rows("packs WHERE sealed = 0") == 0 && (packs() == before + u64::from(there))
        };
        wait_until("the upload is there or has left nothing", settled);
    }
    world.assert_tidy();
}

#[test]
fn downloads_whose_client_vanishes_leave_nothing() {
    let world = World::new();
    let hub = world.wire();
    roads::create(&hub, "admin/m");
    let kept = roads::lfs(&hub, "admin/m", "kept.bin", &noise(1, 30 * MIB)).unwrap();
    kept.check(&hub);
    let open_before = open_sockets(&world);
    for _ in 0..20 {
        let mut half = hub.begin("GET", "/admin/m/resolve/main/kept.bin", 0).unwrap();
        half.read_exact(&mut vec![0; MIB]).unwrap();
    }
    wait_until("no connection is left", || open_sockets(&world) <= open_before);
    kept.check(&hub);
}

#[test]
fn a_second_hub_on_the_same_folder_is_refused_with_a_way_out() {
    let world = World::new();
    let second = world
        .program(&["serve", "--listen", "127.0.0.1:0", "--data", world.path("data").to_str().unwrap()])
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    let said = text(&second.stderr);
    assert_eq!(code(&second), 1, "{said}");
    assert!(said.contains("in use by another process") && said.contains("hint: stop the other `wh serve`"), "{said}");
    let hub = world.wire();
    roads::create(&hub, "admin/m");
    roads::plain(&hub, "admin/m", "a.txt", "a").unwrap().check(&hub);
}

/// Sockets that the hub has open: its database may keep files open that it opened meanwhile.
fn open_sockets(world: &World) -> usize {
    let open =
        std::fs::read_dir(world.proc("fd")).unwrap().filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    open.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}
