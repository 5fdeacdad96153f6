//! `cargo xtask bench diff`: what `wh diff` takes for two large files, beside `cat` of both.
//!
//! The files are the same, differ in a few tensors, or everywhere; in F32 and BF16. Everything is read once before it is
//! measured, so that the disk takes no part.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::figures::{Series, ratio, row, title};
use super::machine::machine;
use super::transfer::build;
use crate::{environments, shell};

const SCRIPT: &str = include_str!("diff.py");

/// Bytes of each file.
const LARGE_BYTES: u64 = 1_000_000_000;
const RUNS: usize = 5;
/// Exit code of `wh diff` for weights that differ.
const DIFFERENT: i32 = 10;
/// What memory may be at most, in MB.
const MOST_MB: f64 = 200.0;

/// Measures and prints everything.
///
/// # Errors
/// When something cannot be installed, built or measured.
pub fn diff() -> Result<()> {
    let wh = build()?;
    shell::say(&format!("machine   {}", machine()));
    section(&wh)?;
    shell::say(&format!("\nmachine   {}", machine()));
    Ok(())
}

/// The figures alone, for a longer list of them.
///
/// # Errors
/// When something cannot be installed or measured.
pub fn section(wh: &Path) -> Result<()> {
    let python = environments::readers()?;
    let folder = tempfile::Builder::new().prefix("weighthouse-bench-").tempdir()?;
    for dtype in ["F32", "BF16"] {
        for (what, share) in [("the same", "0"), ("a tenth of the tensors differs", "0.1"), ("all tensors differ", "1")]
        {
            let (a, b) = (folder.path().join("a.safetensors"), folder.path().join("b.safetensors"));
            let mut make = Command::new(&python);
            make.args(["-c", SCRIPT]).args([&a, &b]).args([dtype, share, &LARGE_BYTES.to_string()]);
            shell::read(&mut make)?;
            title(&format!("diff of two files of {LARGE_BYTES} bytes, {dtype}, {what}"), "best", "median");
            measure(wh, &a, &b)?;
        }
    }
    Ok(())
}

fn measure(wh: &Path, a: &Path, b: &Path) -> Result<()> {
    let (mut cat_s, mut wh_s, mut peak_mb) = (Series::default(), Series::default(), Series::default());
    cat(a, b)?;
    for _ in 0..RUNS {
        cat_s.push_time(cat(a, b)?);
        let (took, megabytes) = watched(wh, a, b)?;
        wh_s.push_time(took);
        peak_mb.push(megabytes);
    }
    shell::say(&row("cat of both", cat_s.min(), &cat_s, "s"));
    shell::say(&row("wh diff, from start to end", wh_s.min(), &wh_s, "s"));
    shell::say(&row("  most memory", peak_mb.min(), &peak_mb, "MB"));
    let share = wh_s.median() / cat_s.median();
    shell::say(&ratio("wh diff / cat", share, "≤ 2.0", share <= 2.0));
    shell::say(&ratio("most memory, MB", peak_mb.max(), "< 200", peak_mb.max() < MOST_MB));
    Ok(())
}

fn cat(a: &Path, b: &Path) -> Result<Duration> {
    let began = Instant::now();
    if !Command::new("cat").arg(a).arg(b).stdout(Stdio::null()).status()?.success() {
        bail!("cat failed");
    }
    Ok(began.elapsed())
}

/// Runs `wh diff`; its time, and its peak of memory in megabytes.
fn watched(wh: &Path, a: &Path, b: &Path) -> Result<(Duration, f64)> {
    let note = tempfile::NamedTempFile::new()?;
    let script = environments::tests().join("harness/watched.py");
    let began = Instant::now();
    let mut run = Command::new("python3");
    run.args(["-I", "-S"]).arg(script).arg(note.path()).arg(wh).arg("diff").arg(a).arg(b);
    let status = run.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    let took = began.elapsed();
    let said = std::fs::read_to_string(note.path())?;
    let (code, kib) = said.trim().split_once(' ').with_context(|| said.clone())?;
    if !status.success() || ![0, DIFFERENT].contains(&code.parse()?) {
        bail!("wh diff ended with {code}");
    }
    Ok((took, kib.parse::<f64>()? * 1024.0 / 1e6))
}
