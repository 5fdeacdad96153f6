//! `cargo xtask bench convert`: time and memory of conversions beside those of the libraries that people use today.
//!
//! Sources are read once before they are measured, so that the disk takes no part in reading. `wh` makes its result
//! durable before it gives it its name; each peer is measured as it is, and with one fsync of its file. A comparison of
//! two files stands at the end, beside `cat` of both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::figures::{Series, ratio, row, title};
use super::machine::machine;
use super::transfer::build;
use crate::{environments, shell};

const SCRIPT: &str = include_str!("convert.py");

/// Bytes of each checkpoint.
const BYTES: u64 = 1_000_000_000;
/// Bytes of the checkpoint whose conversion shows that memory is bounded.
const LARGE_BYTES: u64 = 10_000_000_000;
const RUNS: usize = 3;

/// Measures and prints everything.
///
/// # Errors
/// When something cannot be installed, built or measured.
pub fn convert() -> Result<()> {
    let wh = build()?;
    let python = environments::models()?.remove("models").context("an interpreter with torch")?;
    let folder = tempfile::Builder::new().prefix("weighthouse-bench-").tempdir()?;
    let bench = Bench { folder: folder.path().to_owned(), wh, python };
    shell::say(&format!("machine   {}", machine()));
    let version = shell::read(Command::new(&bench.wh).arg("--version"))?;
    shell::say(&format!("programs  {}, {}", version.trim(), bench.script(&["versions"])?));
    bench.versus("torch .pt to safetensors", "make_pt", "model.pt", "peer_pt", "out.safetensors", &[], (0.6, 0.1))?;
    bench.versus("DCP to safetensors", "make_dcp", "dcp", "peer_dcp", "out.safetensors", &[], (0.6, 0.1))?;
    let q8 = ["--dtype", "q8_0"];
    bench.versus(
        "Hugging Face to GGUF Q8_0",
        "make_llama",
        "llama",
        "peer_gguf",
        "out.gguf",
        &q8,
        (0.3, f64::INFINITY),
    )?;
    bench.large()?;
    super::diff::section(&bench.wh)?;
    shell::say(&format!("\nmachine   {}", machine()));
    Ok(())
}

struct Bench {
    folder: PathBuf,
    wh: PathBuf,
    python: PathBuf,
}

/// Seconds and megabytes of several runs.
#[derive(Default)]
struct Took {
    seconds: Series,
    megabytes: Series,
}

impl Took {
    fn push(&mut self, said: &str) -> Result<()> {
        let (seconds, kib) = said.trim().split_once(' ').with_context(|| said.to_owned())?;
        self.seconds.push(seconds.parse()?);
        self.megabytes.push(kib.parse::<f64>()? * 1024.0 / 1e6);
        Ok(())
    }

    fn show(&self, what: &str) {
        shell::say(&row(what, self.seconds.min(), &self.seconds, "s"));
        shell::say(&row("  most memory", self.megabytes.min(), &self.megabytes, "MB"));
    }
}

impl Bench {
    /// Runs a function of the script and returns what it prints.
    fn script(&self, arguments: &[&str]) -> Result<String> {
        let said = shell::read(Command::new(&self.python).args(["-c", SCRIPT]).args(arguments))?;
        Ok(said.trim().to_owned())
    }

    /// `wh convert` from here to there; returns its seconds and memory.
    fn convert(&self, source: &Path, target: &Path, flags: &[&str]) -> Result<String> {
        let text = |path: &Path| path.to_str().map(str::to_owned).context("a path that is not UTF-8");
        let (wh, source, target) = (text(&self.wh)?, text(source)?, text(target)?);
        let mut words = vec!["run", &wh, "convert", &source, &target];
        words.extend(flags);
        self.script(&words)
    }

    #[expect(clippy::too_many_arguments, reason = "one line of a table")]
    fn versus(
        &self,
        what: &str,
        make: &str,
        source: &str,
        peer: &str,
        target: &str,
        flags: &[&str],
        goals: (f64, f64),
    ) -> Result<()> {
        let (source, target) = (self.folder.join(source), self.folder.join(target));
        let (from, to) = (source.to_str().context("a path")?, target.to_str().context("a path")?);
        self.script(&[make, from, &BYTES.to_string()])?;
        warm(&source)?;
        let (mut ours, mut theirs, mut durable) = (Took::default(), Took::default(), Took::default());
        for _ in 0..RUNS {
            theirs.push(&self.script(&[peer, from, to, "no"])?)?;
            remove(&target)?;
            durable.push(&self.script(&[peer, from, to, "sync"])?)?;
            remove(&target)?;
            ours.push(&self.convert(&source, &target, flags)?)?;
            remove(&target)?;
        }
        remove(&source)?;
        title(&format!("{what}, {BYTES} bytes, {RUNS} runs"), "best", "median");
        theirs.show("the library, without its start");
        durable.show("the same and one fsync");
        ours.show("wh convert, from start to end");
        let share = |of: &Took| ours.seconds.median() / of.seconds.median();
        let (time, memory) = goals;
        shell::say(&ratio("wh / library, time", share(&theirs), &format!("≤ {time}"), share(&theirs) <= time));
        shell::say(&ratio(
            "wh / library with fsync, time",
            share(&durable),
            &format!("≤ {time}"),
            share(&durable) <= time,
        ));
        if memory.is_finite() {
            let share = ours.megabytes.median() / theirs.megabytes.median();
            shell::say(&ratio("wh / library, memory", share, &format!("≤ {memory}"), share <= memory));
        }
        Ok(())
    }

    /// A distributed checkpoint of eight ranks that is larger than most machines' memory.
    fn large(&self) -> Result<()> {
        let (sparse, dcp) = (self.folder.join("sparse.safetensors"), self.folder.join("large"));
        let target = self.folder.join("out.safetensors");
        self.script(&["sparse", sparse.to_str().context("a path")?, &LARGE_BYTES.to_string()])?;
        let (mut there, mut back) = (Took::default(), Took::default());
        there.push(&self.convert(&sparse, &dcp, &["--to", "dcp", "--ranks", "8"])?)?;
        back.push(&self.convert(&dcp, &target, &[])?)?;
        title(&format!("DCP of 8 ranks, {LARGE_BYTES} bytes, one run"), "best", "median");
        there.show("safetensors to DCP");
        back.show("DCP to safetensors");
        let most = back.megabytes.median();
        shell::say(&ratio("DCP to safetensors, MB", most, "< 512", most < 512.0));
        [sparse, dcp, target].iter().try_for_each(|path| remove(path))
    }
}

/// Reads everything once.
fn warm(path: &Path) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            warm(&entry?.path())?;
        }
    } else {
        std::io::copy(&mut fs::File::open(path)?, &mut std::io::sink())?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(fs::remove_dir_all(path)?);
    }
    fs::remove_file(path)?;
    let mut record = path.as_os_str().to_owned();
    record.push(".weighthouse.convert.json");
    let _ = fs::remove_file(record);
    Ok(())
}
