//! Files far larger than the memory that a hub may take.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::process::Command;

use serde_json::json;
use weighthouse::Sha256;
use weighthouse_testkit::noise;

use crate::roads;
use crate::world::{World, text};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Most memory that one upload and one download may take, above what the program takes when idle.
const MEMORY_BYTES: u64 = 200 * MIB;

#[test]
fn a_large_sparse_file_takes_little_memory() {
    sparse(600 * MIB);
}

#[test]
#[ignore = "takes minutes"]
fn soak_a_sparse_file_of_twenty_gigabytes_takes_little_memory() {
    sparse(20 * GIB);
}

/// Sends a file of zeros with noise at three places by Git LFS, and reads it back.
fn sparse(size: u64) {
    let world = World::new();
    let hub = world.wire();
    roads::create(&hub, "admin/m");
    let path = world.path("sparse.bin");
    let mut file = File::create_new(&path).unwrap();
    file.set_len(size).unwrap();
    let islands = [1_000_000, size / 2 + 77, size - 3 * MIB];
    for (seed, &at) in (1..).zip(&islands) {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&noise(seed, 2_500_000)).unwrap();
    }
    drop(file);
    let sum = text(&Command::new("sha256sum").arg(&path).output().unwrap().stdout);
    let oid: Sha256 = sum.split(' ').next().unwrap().parse().unwrap();

    let idle = world.peak_memory_bytes();
    let answer = roads::batch(&hub, "admin/m", &oid, usize::try_from(size).unwrap(), "basic").unwrap().ok().json();
    let href = answer["objects"][0]["actions"]["upload"]["href"].as_str().unwrap().to_owned();
    hub.stream("PUT", &href, size, File::open(&path).unwrap()).unwrap().ok();
    let line = json!({ "key": "lfsFile", "value": { "path": "w.bin", "oid": oid.to_string(), "size": size } });
    roads::commit(&hub, "admin/m", &line).unwrap().ok();
    let uploaded = world.peak_memory_bytes();

    let mut answer = hub.begin("GET", "/admin/m/resolve/main/w.bin", 0).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        answer.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.0 200"), "{}", text(&head));
    assert_eq!(first_difference(answer, File::open(&path).unwrap()).unwrap(), None);
    let downloaded = world.peak_memory_bytes();
    let mib = |bytes: u64| bytes / MIB;
    println!(
        "VmHWM: {} MiB idle, {} MiB after the upload, {} MiB after the download",
        mib(idle),
        mib(uploaded),
        mib(downloaded)
    );
    assert!(downloaded - idle < MEMORY_BYTES, "{} MiB", mib(downloaded - idle));
    assert!(world.count_rows("packs") < 5 && sizes_below(&world) < 20 * MIB, "zeros are stored once");
}

fn sizes_below(world: &World) -> u64 {
    crate::world::sizes(&world.path("data/blobs")).iter().map(|(_, size)| size).sum()
}

/// Where two streams begin to differ, in bytes.
fn first_difference(mut one: impl Read, mut other: impl Read) -> io::Result<Option<u64>> {
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    loop {
        let len = other.read(&mut right)?;
        if len == 0 {
            return Ok((one.read(&mut left)? > 0).then_some(at));
        }
        if one.read_exact(&mut left[..len]).is_err() || left[..len] != right[..len] {
            return Ok(Some(at));
        }
        at += len as u64;
    }
}
