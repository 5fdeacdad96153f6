//! SIGKILL at random moments while files come in, are coded anew, read, and collected.
//!
//! After each round every acknowledged file is there byte for byte, and a check of everything that is stored finds nothing.

use std::io;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::Duration;

use weighthouse::Sha256;
use weighthouse_testkit::noise;

use crate::roads::{self, Acknowledged};
use crate::wire::{Answer, Wire};
use crate::world::{World, kill, text};

#[test]
fn files_outlive_kills_of_the_hub_and_of_its_upkeep() {
    storm(3);
}

#[test]
#[ignore = "takes many minutes"]
fn soak_files_outlive_two_hundred_kills_of_the_hub_and_of_its_upkeep() {
    storm(200);
}

/// A repository that keeps the last three checkpoints.
const RUN: &str = "admin/run";
/// Files of one repository, after which its predecessors go: a round reads all that there is.
const GENERATION: u64 = 30;
/// Elements of one tensor, and tensors of a file: a megabyte in all.
const ELEMENTS: usize = 128 << 10;
const TENSORS: usize = 4;

/// A file of weights: some are those of every other file, the rest a small step away from them.
fn weights(seed: u64) -> Vec<u8> {
    let header: Vec<String> = (0..TENSORS)
        .map(|i| {
            let (from, to) = (i * ELEMENTS * 2, (i + 1) * ELEMENTS * 2);
            format!(r#""layer.{i}.weight":{{"dtype":"BF16","shape":[256,512],"data_offsets":[{from},{to}]}}"#)
        })
        .collect();
    let header = format!("{{{}}}", header.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    let (base, steps) = (noise(77, TENSORS * ELEMENTS * 4), noise(seed, TENSORS * ELEMENTS));
    for (i, (bytes, step)) in base.as_chunks::<4>().0.iter().zip(steps).enumerate() {
        let value = bytes.iter().map(|byte| f32::from(*byte) - 127.5).sum::<f32>() / 4000.0;
        let bits = (value.to_bits() >> 16) as u16;
        let moved = i >= ELEMENTS && step < 100;
        file.extend_from_slice(&bits.wrapping_add(u16::from(moved) * u16::from(step % 4)).to_le_bytes());
    }
    file
}

struct Storm {
    world: World,
    hub: Wire,
    over: AtomicBool,
    quiet: RwLock<()>,
    seed: AtomicU64,
    /// Files that are there, until somebody begins to delete their repository.
    acknowledged: Mutex<Vec<Acknowledged>>,
    /// Checkpoints of a repository of which rules keep the last three.
    checkpoints: Mutex<Vec<Acknowledged>>,
    collected: AtomicU64,
    read: AtomicU64,
}

impl Storm {
    fn new() -> Self {
        let world = World::with(&["--repack", "full", "--repack-cpu-percent", "100"], &[]);
        let hub = world.wire();
        let (over, quiet) = (AtomicBool::new(false), RwLock::new(()));
        let (seed, collected, read) = (AtomicU64::new(1), AtomicU64::new(0), AtomicU64::new(0));
        let (acknowledged, checkpoints) = (Mutex::default(), Mutex::default());
        Self { world, hub, over, quiet, seed, acknowledged, checkpoints, collected, read }
    }

    /// The repository that keeps little, and its rules.
    fn begin(&self) {
        roads::create(&self.hub, RUN);
        let data = self.world.path("data");
        let mut set = self.world.program(&["admin", "retention", "set", RUN, "--as", "admin", "--keep-last", "3"]);
        let set = set.arg("--data").arg(data).output().unwrap();
        assert!(set.status.success(), "{}", text(&set.stderr));
    }

    fn until_over(&self, turn: impl Fn() -> io::Result<()>) {
        while !self.over.load(Ordering::SeqCst) {
            let loud = self.quiet.read().unwrap();
            let broken = turn().is_err();
            drop(loud);
            if broken {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Uploads a file that stays, and now and then a repository that does not.
    fn upload(&self, actor: usize) -> io::Result<()> {
        let seed = self.seed.fetch_add(1, Ordering::SeqCst);
        let generation = seed / GENERATION;
        let repo = format!("kept-{actor}-{generation}");
        self.create(&repo)?;
        let kept = self.put(&format!("admin/{repo}"), &format!("{seed}.safetensors"), &weights(seed))?;
        self.acknowledged.lock().unwrap().push(kept);
        if seed.is_multiple_of(3) {
            let repo = format!("gone-{seed}");
            self.create(&repo)?;
            self.put(&format!("admin/{repo}"), "model.safetensors", &weights(1_000_000 + seed))?;
            self.delete(&repo)?;
        }
        if actor == 0 {
            let path = format!("checkpoint-{seed}/model.safetensors");
            let kept = self.put(RUN, &path, &weights(2_000_000 + seed))?;
            self.checkpoints.lock().unwrap().push(kept);
        }
        if let Some(old) = generation.checked_sub(2) {
            let old = format!("kept-{actor}-{old}");
            self.acknowledged.lock().unwrap().retain(|file| file.repo != format!("admin/{old}"));
            self.delete(&old)?;
        }
        Ok(())
    }

    fn create(&self, name: &str) -> io::Result<()> {
        let answer = self.hub.post("/api/repos/create", &serde_json::json!({ "name": name }))?;
        if answer.status == 409 { Ok(()) } else { taken(answer).map(drop) }
    }

    /// Deletes a repository, unless a killed hub did.
    fn delete(&self, name: &str) -> io::Result<()> {
        let body = serde_json::json!({ "name": name }).to_string();
        let answer = self.hub.ask("DELETE", "/api/repos/delete", body.as_bytes())?;
        if answer.status == 404 { Ok(()) } else { taken(answer).map(drop) }
    }

    fn put(&self, repo: &str, path: &str, data: &[u8]) -> io::Result<Acknowledged> {
        let batch = taken(roads::batch(&self.hub, repo, &Sha256::of(data), data.len(), "basic")?)?.json();
        if let Some(href) = batch["objects"][0]["actions"]["upload"]["href"].as_str() {
            taken(self.hub.ask("PUT", href, data)?)?;
        }
        let answer = taken(roads::commit(&self.hub, repo, &roads::lfs_line(path, data))?)?;
        let commit = answer.json()["commitOid"].as_str().unwrap().to_owned();
        let sha256 = Sha256::of(data);
        Ok(Acknowledged { repo: repo.to_owned(), commit, path: path.to_owned(), sha256 })
    }

    /// Reads one of the files that are there.
    fn read(&self) -> io::Result<()> {
        let file = {
            let files = self.acknowledged.lock().unwrap();
            let number = self.read.load(Ordering::SeqCst) as usize * 7_919;
            files.get(number % files.len().max(1)).cloned()
        };
        let Some(file) = file else { return Err(io::ErrorKind::NotFound.into()) };
        let answer = self.hub.get(&format!("/{}/resolve/main/{}", file.repo, file.path))?;
        if answer.status == 404 && !self.acknowledged.lock().unwrap().iter().any(|kept| kept.repo == file.repo) {
            return Ok(());
        }
        let answer = taken(answer)?;
        assert_eq!(Sha256::of(&answer.body), file.sha256, "{file:?}");
        self.read.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Collects garbage, applies rules, or has everything coded anew, in a process that is sometimes killed in the middle.
    fn keep_up(&self) -> io::Result<()> {
        let turn = self.collected.fetch_add(1, Ordering::SeqCst);
        let data = self.world.path("data");
        // Each of them is killed in some turns and ends in others.
        let order: &[&str] = match turn % 5 {
            1 => &["retention", "apply", RUN, "--as", "admin"],
            3 => &["repack", "--all", "--again"],
            _ => &["gc", "--execute", "--grace", "0"],
        };
        let mut command = self.world.program(&["admin"]);
        command.args(order).arg("--data").arg(&data).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        thread::sleep(Duration::from_millis(turn * 37 % 400));
        if turn % 2 == 1 {
            kill(child);
        } else {
            child.wait()?;
        }
        Ok(())
    }

    fn round(&self, number: u64) {
        thread::sleep(Duration::from_millis(200 + number * 7_919 % 1_300));
        self.world.kill_hub();
        self.world.start_hub();
        let _quiet = self.quiet.write().unwrap();
        assert!(!self.over.load(Ordering::SeqCst), "somebody gave up");
        let files = self.acknowledged.lock().unwrap().clone();
        let newest = files.len().saturating_sub(6);
        let old = files[..newest].iter().skip(number as usize % 5).step_by(5);
        files[newest..].iter().chain(old).for_each(|file| file.check(&self.hub));
        // One more may have been committed without an answer.
        self.checkpoints.lock().unwrap().iter().rev().take(2).for_each(|file| file.check(&self.hub));
        let check =
            self.world.program(&["admin", "fsck", "--deep", "--json", "--data"]).arg(self.world.path("data")).output();
        let check = check.unwrap();
        assert!(check.status.success(), "{}{}", text(&check.stdout), text(&check.stderr));
    }
}

/// An answer that says yes; a line that broke, and a hub that asks to come again, are errors.
fn taken(answer: Answer) -> io::Result<Answer> {
    match answer.status {
        200..300 => Ok(answer),
        409 | 412 | 500.. => Err(io::Error::other(answer.shown())),
        // Without a grace, a file that no commit names yet may be collected: it must come again.
        400 if text(&answer.body).contains("pointed to a file that does not exist") => {
            Err(io::Error::other(answer.shown()))
        }
        _ => panic!("{}", answer.shown()),
    }
}

fn storm(rounds: u64) {
    let storm = Storm::new();
    storm.begin();
    /// Ends the storm also when its thread panics.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    thread::scope(|scope| {
        let storm = &storm;
        for actor in 0..2 {
            scope.spawn(move || {
                let _over = Over(&storm.over);
                storm.until_over(|| storm.upload(actor));
            });
        }
        scope.spawn(move || {
            let _over = Over(&storm.over);
            storm.until_over(|| storm.read());
        });
        scope.spawn(move || {
            let _over = Over(&storm.over);
            storm.until_over(|| storm.keep_up());
        });
        let _over = Over(&storm.over);
        for number in 0..rounds {
            storm.round(number);
            if (number + 1) % 20 == 0 {
                println!("{} of {rounds} kills, {} uploads", number + 1, storm.seed.load(Ordering::SeqCst));
            }
        }
    });
    let files = storm.acknowledged.lock().unwrap();
    files.iter().for_each(|file| file.check(&storm.hub));
    let coded = storm.world.count_rows("xorbs WHERE form = 1");
    println!(
        "{rounds} kills: {} uploads, {} files at the end, {} reads, {} orders of upkeep, {coded} coded xorbs",
        storm.seed.load(Ordering::SeqCst),
        files.len(),
        storm.read.load(Ordering::SeqCst),
        storm.collected.load(Ordering::SeqCst),
    );
    assert!(coded > 0, "nothing was coded");
}
