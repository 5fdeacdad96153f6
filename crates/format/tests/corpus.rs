//! The fuzz targets over their committed corpus, as it is and a little changed.

#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

#[path = "../../../fuzz/memory.rs"]
mod memory;
#[path = "../../../fuzz/targets/mod.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use targets::{TARGETS, Target};

#[global_allocator]
static MEMORY: memory::Bounded = memory::Bounded;

/// Changed inputs of each target.
const CHANGED: u64 = 5_000;
/// What one input may take, on a machine that is busy with other things.
const TIME: Duration = Duration::from_secs(10);

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(corpus().join(target)).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn run(target: &Target, data: &[u8], what: &str) {
    let began = Instant::now();
    (target.run)(data);
    assert!(began.elapsed() < TIME, "`{}` takes {:?} for {what}", target.name, began.elapsed());
}

/// A sequence that looks like chance and is the same in every run (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }

    /// Changes, removes or doubles some bytes.
    fn change(&mut self, data: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(data.len());
            let end = (at + 1 + self.below(8)).min(data.len());
            match self.below(5) {
                0 => data.truncate(at),
                1 => drop(data.drain(at..end)),
                2 => data.splice(at..at, data[at..end].to_vec()).for_each(drop),
                3 => data[at..end].fill([0, 0x7f, 0x80, 0xff][self.below(4)]),
                _ => data[at..end].iter_mut().for_each(|byte| *byte ^= 1 << self.below(8)),
            }
        }
    }
}

#[test]
fn every_target_returns_from_its_corpus() {
    for target in TARGETS {
        for (path, data) in seeds(target.name) {
            run(target, &data, &path.display().to_string());
        }
    }
}

#[test]
fn every_target_returns_from_a_changed_corpus() {
    for target in TARGETS {
        let seeds = seeds(target.name);
        for number in 0..CHANGED {
            let mut chance = Chance(number);
            let mut data = seeds[chance.below(seeds.len())].1.clone();
            chance.change(&mut data);
            run(target, &data, &format!("change {number}"));
        }
    }
}

#[test]
fn every_target_has_a_corpus_and_nothing_else_does() {
    let mut names: Vec<String> =
        fs::read_dir(corpus()).unwrap().map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, TARGETS.iter().map(|target| target.name).collect::<Vec<_>>());
    for target in TARGETS {
        let seeds = seeds(target.name);
        assert!(!seeds.is_empty(), "`{}` has no seeds", target.name);
        assert!(seeds.iter().all(|(_, data)| data.len() < 16 << 10), "`{}` has a large seed", target.name);
    }
}
