//! `cargo xtask bench scan`: `wh scan` beside the scanners that people use: what each detects, what each raises an alarm
//! about, and how fast each is.
//!
//! The malicious files are those of `tests/trust`, the benign ones those that real libraries write in `tests/formats`. A
//! peer that says that a malicious file is not fine has detected it, and one that says so of a benign file has raised a
//! false alarm. A peer that fails on a file, or does not read it, has said nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::figures::{Series, ratio, row, title};
use super::machine::machine;
use super::transfer::build;
use crate::environments::{self, Programs};
use crate::shell;

const SCRIPT: &str = include_str!("scan.py");

/// Bytes of the pickle: 36 MiB.
const PICKLE_BYTES: u64 = 36 << 20;
/// Bytes of the torch archive.
const TORCH_BYTES: u64 = 200_000_000;
const RUNS: usize = 5;
const PEERS: [&str; 4] = ["picklescan", "modelscan", "fickling", "modelaudit"];

/// A file of the corpus, and whether it is malicious.
#[derive(Deserialize)]
struct Listed {
    path: String,
    malicious: bool,
}

/// Measures and prints everything.
///
/// # Errors
/// When something cannot be installed, built or measured.
pub fn scan() -> Result<()> {
    let wh = build()?;
    let programs = environments::scanners()?;
    let folder = tempfile::Builder::new().prefix("weighthouse-bench-").tempdir()?;
    let bench = Bench { folder: folder.path().to_owned(), wh, programs };
    shell::say(&format!("machine   {}", machine()));
    let version = shell::read(Command::new(&bench.wh).arg("--version"))?;
    shell::say(&format!("programs  {}, {}", version.trim(), PEERS.join(", ")));
    bench.detection()?;
    bench.speed()?;
    shell::say(&format!("\nmachine   {}", machine()));
    Ok(())
}

struct Bench {
    folder: PathBuf,
    wh: PathBuf,
    programs: Programs,
}

impl Bench {
    fn python(&self, name: &str) -> Result<&Path> {
        Ok(self.programs.get(name).with_context(|| format!("no environment `{name}`"))?)
    }

    /// Runs a function of the script with an interpreter.
    fn script(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let said = shell::read(Command::new(self.python(program)?).args(["-c", SCRIPT]).args(arguments))?;
        Ok(said.trim().to_owned())
    }

    /// Writes the corpus and lets everyone scan it.
    fn detection(&self) -> Result<()> {
        let tests = environments::tests();
        for (name, program, script) in [
            ("samples", "formats-tf", tests.join("trust/write.py")),
            ("tf", "formats-tf", tests.join("formats/write_tf.py")),
            ("torch", "models", tests.join("formats/write_torch.py")),
        ] {
            let out = self.folder.join(name);
            let parent = script.parent().context("a script in a folder")?;
            shell::read(Command::new(self.python(program)?).arg(&script).arg(out).current_dir(parent))?;
        }
        let root = self.folder.to_str().context("a path that is not UTF-8")?;
        let files: Vec<Listed> = serde_json::from_str(&self.script("models", &["list", root])?)?;
        let (malicious, benign): (Vec<_>, Vec<_>) = files.iter().partition(|file| file.malicious);
        let what = format!("{} malicious, {} benign files", malicious.len(), benign.len());
        title(&what, "detected", "alarms");
        let count = |fine: &dyn Fn(&str) -> Result<bool>| -> Result<(usize, usize)> {
            let of = |files: &[&Listed]| -> Result<usize> {
                files.iter().try_fold(0, |sum, file| Ok(sum + usize::from(!fine(&file.path)?)))
            };
            Ok((of(&malicious)?, of(&benign)?))
        };
        let ours =
            count(&|path| Ok(Command::new(&self.wh).args(["scan", "--quiet"]).arg(path).output()?.status.success()))?;
        shell::say(&format!("  {:<44} {:>10} {:>10}", "wh scan", ours.0, ours.1));
        for peer in PEERS {
            let list = self.folder.join("files.json");
            let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
            fs::write(&list, serde_json::to_string(&paths)?)?;
            let list = list.to_str().context("a path that is not UTF-8")?;
            let fine: Vec<bool> = serde_json::from_str(&self.script(peer, &["judge", peer, list])?)?;
            let alarms = |wanted: bool| {
                files.iter().zip(&fine).filter(|(file, fine)| file.malicious == wanted && !**fine).count()
            };
            shell::say(&format!("  {peer:<44} {:>10} {:>10}", alarms(true), alarms(false)));
        }
        Ok(())
    }

    /// A pickle without anything around it on one core, and a torch archive.
    fn speed(&self) -> Result<()> {
        let pickle = self.folder.join("records.pkl");
        let torch = self.folder.join("model.pt");
        for (function, path, bytes) in [("pickled", &pickle, PICKLE_BYTES), ("torch", &torch, TORCH_BYTES)] {
            let path = path.to_str().context("a path that is not UTF-8")?;
            self.script("models", &[function, path, &bytes.to_string()])?;
        }
        for (path, unit) in [(&pickle, "MB/s"), (&torch, "ms")] {
            let len = fs::metadata(path)?.len();
            let shown = path.to_str().context("a path that is not UTF-8")?;
            let figure = |seconds: f64| if unit == "ms" { seconds * 1e3 } else { len as f64 / seconds / 1e6 };
            let mut ours = Series::default();
            for _ in 0..RUNS {
                let began = Instant::now();
                let mut scan = Command::new("taskset");
                shell::read(scan.args(["-c", "0"]).arg(&self.wh).args(["scan", "--quiet"]).arg(path))?;
                ours.push(figure(began.elapsed().as_secs_f64()));
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            title(&format!("{name}, {len} bytes, {RUNS} runs on one core"), "best", "median");
            let best = |series: &Series| if unit == "ms" { series.min() } else { series.max() };
            shell::say(&row("wh scan, from start to end", best(&ours), &ours, unit));
            for peer in PEERS {
                let mut theirs = Series::default();
                theirs.push(figure(self.script(peer, &["time", peer, shown])?.parse()?));
                shell::say(&row(&format!("{peer}, once, without its start"), best(&theirs), &theirs, unit));
            }
            let met = if unit == "ms" { ours.median() < 100.0 } else { ours.median() >= 150.0 };
            let goal = if unit == "ms" { "< 100" } else { "≥ 150" };
            shell::say(&ratio(&format!("  wh scan, {unit}"), ours.median(), goal, met));
        }
        Ok(())
    }
}
