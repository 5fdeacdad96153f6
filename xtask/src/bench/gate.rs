//! `cargo xtask bench gate`: what judging a file costs its upload.
//!
//! The gate acts in two places. A commit asks the policies, in memory, before it is acknowledged; the file is judged after that,
//! in the background, and may be had when it was. So each run is timed twice: until `hf upload` ends, and until the verdict is
//! there; the first is what an upload takes without a scanner. Coding goes on in the background as on any hub.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::figures::{Series, ratio, row, title};
use super::machine::machine;
use super::store::{ARRAYS, text};
use super::transfer::hub::Hub;
use super::transfer::python::Python;
use super::transfer::{build, remove};
use crate::{environments, shell};

const BYTES: u64 = 1_000_000_000;
const RUNS: usize = 3;
/// Time after which a file is given up that has no verdict.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures and prints both kinds of files.
///
/// # Errors
/// When something cannot be installed, started or measured.
pub fn gate() -> Result<()> {
    let (wh, python) = (build()?, Python::find()?);
    let models = environments::models()?.remove("models").context("no environment with torch")?;
    let folder = tempfile::Builder::new().prefix("weighthouse-bench-").tempdir()?;
    shell::say(&format!("machine   {}", machine()));
    for name in ["model.safetensors", "pytorch_model.bin"] {
        let bench = Bench { folder: folder.path().join(name), wh: &wh, python: &python, models: &models };
        std::fs::create_dir(&bench.folder)?;
        bench.uploads(name)?;
        std::fs::remove_dir_all(&bench.folder)?;
    }
    shell::say(&format!("\nmachine   {}", machine()));
    Ok(())
}

struct Bench<'a> {
    folder: PathBuf,
    wh: &'a Path,
    python: &'a Python,
    models: &'a Path,
}

impl Bench<'_> {
    fn uploads(&self, name: &str) -> Result<()> {
        let file = self.folder.join(name);
        let mut make = std::process::Command::new(self.models);
        shell::read(make.args(["-c", ARRAYS, "large", text(&file)?, &BYTES.to_string()]))?;
        let (mut sent, mut judged) = (Series::default(), Series::default());
        for run in 0..RUNS {
            let data = self.folder.join("data");
            let home = self.folder.join("home");
            let hub = Hub::start(self.wh, &data)?;
            let repo = format!("admin/gate-{run}");
            hub.create(&repo)?;
            let began = Instant::now();
            shell::read(&mut self.python.upload(hub.url(), hub.token(), &repo, &file, &home))?;
            sent.push_time(began.elapsed());
            await_verdict(&hub, &repo, name)?;
            judged.push_time(began.elapsed());
            drop(hub);
            remove(&home)?;
            std::fs::remove_dir_all(&data)?;
        }
        title(&format!("hf upload of {name}, {BYTES} bytes, {RUNS} runs"), "best", "median");
        shell::say(&row("until it is acknowledged", sent.min(), &sent, "s"));
        shell::say(&row("until it is judged", judged.min(), &judged, "s"));
        let share = judged.median() / sent.median();
        shell::say(&ratio("judged / acknowledged", share, "≤ 1.05", share <= 1.05));
        Ok(())
    }
}

/// Asks for the report until it is there.
fn await_verdict(hub: &Hub, repo: &str, name: &str) -> Result<()> {
    let report = hub.place(&format!("/api/models/{repo}/scan/main/{name}"));
    let began = Instant::now();
    loop {
        let said = report.send("GET", 0, &b""[..])?;
        let said: serde_json::Value = serde_json::from_slice(&said)?;
        if said["status"] != "queued" {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            bail!("`{name}` was not judged in {} s", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(5));
    }
}
