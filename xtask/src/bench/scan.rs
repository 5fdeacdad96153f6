//! `cargo xtask bench scan`: `wh scan` beside the scanners that people use: what each detects, what each raises an alarm
//! about, and how fast each is.
//!
//! The malicious files are those of `tests/trust`: the corpus, and the evasions that were written before anyone saw what the
//! rules say of them. The benign ones are those of `tests/trust` too, and what real libraries write in `tests/formats`;
//! `$WH_FIXTURES` names a folder where those lie already. A peer that says that a malicious file is not fine has detected
//! it, and one that says so of a benign file has raised a false alarm. A peer that fails on a file, or does not read it,
//! has said nothing. Speed is by the clock and by the processor: on a busy machine the clock says little.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::figures::{Series, ratio, title};
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

/// A file of the corpus: `malicious`, `held out` or `benign`.
#[derive(Deserialize)]
struct Listed {
    path: String,
    kind: String,
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
        let ready = std::env::var_os("WH_FIXTURES").map(PathBuf::from);
        let mut folders = Vec::new();
        for (name, program, script) in [
            ("samples", "formats-tf", tests.join("trust/write.py")),
            ("tf", "formats-tf", tests.join("formats/write_tf.py")),
            ("torch", "models", tests.join("formats/write_torch.py")),
        ] {
            let there = ready.as_ref().map(|ready| ready.join(name)).filter(|there| there.exists());
            let folder = there.unwrap_or_else(|| self.folder.join(name));
            if !folder.exists() {
                let parent = script.parent().context("a script in a folder")?;
                let mut write = Command::new(self.python(program)?);
                shell::read(write.arg(&script).arg(&folder).current_dir(parent))?;
            }
            folders.push(folder.to_str().context("a path that is not UTF-8")?.to_owned());
        }
        let mut arguments = vec!["list"];
        arguments.extend(folders.iter().map(String::as_str));
        let files: Vec<Listed> = serde_json::from_str(&self.script("models", &arguments)?)?;
        let kinds = ["malicious", "held out", "benign"];
        let of = |kind: &str| files.iter().filter(|file| file.kind == kind).count();
        let heads = kinds.map(|kind| format!("of {} {kind}", of(kind)));
        shell::say(&format!("\n{:<20} {:>20} {:>20} {:>20}", "not fine", heads[0], heads[1], heads[2]));
        let show = |name: &str, fine: &[bool]| {
            let found =
                kinds.map(|kind| files.iter().zip(fine).filter(|(file, fine)| file.kind == kind && !**fine).count());
            shell::say(&format!("  {name:<18} {:>20} {:>20} {:>20}", found[0], found[1], found[2]));
        };
        let mut ours = Vec::with_capacity(files.len());
        for file in &files {
            ours.push(Command::new(&self.wh).args(["scan", "--quiet"]).arg(&file.path).output()?.status.success());
        }
        show("wh scan", &ours);
        let list = self.folder.join("files.json");
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        fs::write(&list, serde_json::to_string(&paths)?)?;
        let list = list.to_str().context("a path that is not UTF-8")?;
        for peer in PEERS {
            let fine: Vec<bool> = serde_json::from_str(&self.script(peer, &["judge", peer, list])?)?;
            show(peer, &fine);
        }
        Ok(())
    }

    /// A pickle without anything around it on one core, and a torch archive.
    fn speed(&self) -> Result<()> {
        let wh = self.wh.to_str().context("a path that is not UTF-8")?;
        for (function, name, bytes, unit) in
            [("pickled", "records.pkl", PICKLE_BYTES, "MB/s"), ("torch", "model.pt", TORCH_BYTES, "ms")]
        {
            let path = self.folder.join(name);
            let shown = path.to_str().context("a path that is not UTF-8")?;
            self.script("models", &[function, shown, &bytes.to_string()])?;
            let len = fs::metadata(&path)?.len();
            let figure = |seconds: f64| if unit == "ms" { seconds * 1e3 } else { len as f64 / seconds / 1e6 };
            let best = |series: &Series| if unit == "ms" { series.min() } else { series.max() };
            let show = |what: &str, taken: &str| -> Result<f64> {
                let taken: Vec<[f64; 2]> = serde_json::from_str(taken)?;
                let (mut clock, mut processor) = (Series::default(), Series::default());
                for [wall, used] in taken {
                    clock.push(figure(wall));
                    processor.push(figure(used));
                }
                shell::say(&format!("  {what:<44} {:>10.2} {:>10.2}  {unit}", best(&clock), best(&processor)));
                Ok(best(&processor))
            };
            title(&format!("{name}, {len} bytes, best on one core"), "clock", "processor");
            let ours =
                self.script("models", &["own", &RUNS.to_string(), "taskset", "-c", "0", wh, "scan", "--quiet", shown])?;
            let ours = show(&format!("wh scan, from start to end, {RUNS} runs"), &ours)?;
            for peer in PEERS {
                show(&format!("{peer}, once, without its start"), &self.script(peer, &["time", peer, shown])?)?;
            }
            let met = if unit == "ms" { ours < 100.0 } else { ours >= 150.0 };
            let goal = if unit == "ms" { "< 100" } else { "≥ 150" };
            shell::say(&ratio(&format!("  wh scan, {unit} by the processor"), ours, goal, met));
        }
        Ok(())
    }
}
