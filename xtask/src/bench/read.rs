//! `cargo xtask bench read`: what `wh inspect` takes for headers, for statistics, and for pickles, beside its peers.
//!
//! The files are sparse where only headers are read, and random where all of it is. Everything is read once before it is
//! measured, so that the disk takes no part.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::figures::{Series, ratio, row, title};
use super::machine::machine;
use super::transfer::build;
use crate::{apt, environments, shell};

const SCRIPT: &str = include_str!("read.py");

/// Bytes of each large file.
const LARGE_BYTES: u64 = 2_000_000_000;
/// Bytes of the pickle: 36 MiB.
const PICKLE_BYTES: u64 = 36 << 20;
const HEADER_RUNS: usize = 15;
const STATS_RUNS: usize = 5;
const PICKLE_RUNS: usize = 3;

/// Measures and prints everything.
///
/// # Errors
/// When something cannot be installed, built or measured.
pub fn read() -> Result<()> {
    let wh = build()?;
    let python = environments::readers()?;
    if !Path::new("/usr/bin/strace").exists() {
        apt::install("strace", "counting the bytes that are read")?;
    }
    let folder = tempfile::Builder::new().prefix("weighthouse-bench-").tempdir()?;
    let bench = Bench { folder: folder.path().to_owned(), wh, python };
    shell::say(&format!("machine   {}", machine()));
    let version = shell::read(Command::new(&bench.wh).arg("--version"))?;
    shell::say(&format!("programs  {}, {}", version.trim(), bench.script(&["versions"])?));
    bench.headers()?;
    bench.statistics("F32")?;
    bench.statistics("BF16")?;
    bench.pickles()?;
    shell::say(&format!("\nmachine   {}", machine()));
    Ok(())
}

struct Bench {
    folder: PathBuf,
    wh: PathBuf,
    python: PathBuf,
}

impl Bench {
    /// Runs a function of the script and returns what it prints.
    fn script(&self, arguments: &[&str]) -> Result<String> {
        let said = shell::read(Command::new(&self.python).args(["-c", SCRIPT]).args(arguments))?;
        Ok(said.trim().to_owned())
    }

    /// Runs a function of the script that writes a file of `bytes`.
    fn make(&self, name: &str, function: &[&str], bytes: u64) -> Result<PathBuf> {
        let path = self.folder.join(name);
        let shown = path.to_str().context("a path that is not UTF-8")?;
        let mut arguments = vec![function[0], shown];
        arguments.extend(&function[1..]);
        let bytes = bytes.to_string();
        arguments.push(&bytes);
        self.script(&arguments)?;
        Ok(path)
    }

    /// `wh inspect` of files of which only the headers are read.
    fn headers(&self) -> Result<()> {
        let files = [
            self.make("model.pt", &["sparse_pt"], LARGE_BYTES)?,
            self.make("model.safetensors", &["sparse_safetensors"], LARGE_BYTES)?,
            self.make("model.gguf", &["sparse_gguf"], LARGE_BYTES)?,
        ];
        let (mut start_s, mut took_s) = (Series::default(), vec![Series::default(); files.len()]);
        for _ in 0..HEADER_RUNS {
            start_s.push_time(time(Command::new(&self.wh).arg("--version"))?);
            for (file, took_s) in files.iter().zip(&mut took_s) {
                took_s.push_time(time(Command::new(&self.wh).arg("inspect").arg(file))?);
            }
        }
        title(&format!("wh inspect of {LARGE_BYTES} bytes, {HEADER_RUNS} runs"), "best", "median");
        shell::say(&row("wh --version, for its start", start_s.min() * 1e3, &start_s.scaled(1e3), "ms"));
        for (file, took_s) in files.iter().zip(&took_s) {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let (len, took_ms) = (fs::metadata(file)?.len(), took_s.scaled(1e3));
            let read = self.bytes_read(file)?;
            shell::say(&row(&format!("{name}, {len} bytes"), took_ms.min(), &took_ms, "ms"));
            let share = read as f64 / len as f64 * 100.0;
            shell::say(&format!("  {:<44} {read:>21}  bytes, {share:.4} % of the file", "  read of it"));
            shell::say(&ratio("  median, ms", took_ms.median(), "< 50", took_ms.median() < 50.0));
        }
        files.iter().try_for_each(fs::remove_file)?;
        Ok(())
    }

    /// Bytes that `wh inspect` reads of a file, by the system calls that name it.
    fn bytes_read(&self, file: &Path) -> Result<u64> {
        let log = self.folder.join("strace.txt");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-qq", "-e", "trace=read,pread64,readv,preadv,mmap", "-o"]).arg(&log);
        shell::read(strace.arg(&self.wh).arg("inspect").arg(file))?;
        read_of(&fs::read_to_string(&log)?, &format!("<{}>", file.display()))
    }

    /// `wh inspect --stats` of random weights beside numpy.
    fn statistics(&self, dtype: &str) -> Result<()> {
        let file = self.make("model.safetensors", &["weights", dtype], LARGE_BYTES)?;
        let shown = file.to_str().context("a path that is not UTF-8")?;
        let (mut numpy_s, mut wh_s) = (Series::default(), Series::default());
        std::io::copy(&mut fs::File::open(&file)?, &mut std::io::sink())?;
        for _ in 0..STATS_RUNS {
            numpy_s.push(self.script(&["numpy_stats", shown])?.parse()?);
            wh_s.push_time(time(Command::new(&self.wh).args(["inspect", "--stats"]).arg(&file))?);
        }
        title(&format!("statistics of {LARGE_BYTES} bytes of {dtype}, {STATS_RUNS} runs"), "best", "median");
        shell::say(&row("numpy over a memory map", numpy_s.min(), &numpy_s, "s"));
        shell::say(&row("wh inspect --stats, from start to end", wh_s.min(), &wh_s, "s"));
        let share = wh_s.median() / numpy_s.median();
        shell::say(&ratio("wh / numpy", share, "≤ 0.5 on 2 cores", share <= 0.5));
        fs::remove_file(&file)?;
        Ok(())
    }

    /// The pickle machine alone on one core, beside picklescan, `pickletools` and the loading itself.
    fn pickles(&self) -> Result<()> {
        let file = self.make("records.pkl", &["pickled"], PICKLE_BYTES)?;
        let shown = file.to_str().context("a path that is not UTF-8")?;
        let len = fs::metadata(&file)?.len();
        let flags = ["test", "--release", "--quiet", "--package", "weighthouse-format", "--test", "throughput"];
        let mut machine = shell::command("cargo", &flags);
        machine
            .args(["pickles_are_read", "--", "--ignored", "--nocapture", "--test-threads=1"])
            .env("WH_PICKLE", &file);
        // Once for the build.
        shell::read(&mut machine)?;
        let mut peers = [const { Series::new() }; 3];
        let (mut ours, mut whole) = (Series::default(), Series::default());
        for _ in 0..PICKLE_RUNS {
            for (peer, seconds) in peers.iter_mut().zip(self.script(&["scan", shown])?.split(' ')) {
                peer.push(len as f64 / seconds.parse::<f64>()? / 1e6);
            }
            ours.push(machine_rate(&shell::read(&mut machine)?)?);
            let took = time(Command::new(&self.wh).arg("inspect").arg(&file))?;
            whole.push(len as f64 / took.as_secs_f64() / 1e6);
        }
        title(&format!("{len} bytes of pickle, {PICKLE_RUNS} runs"), "best", "median");
        for (what, rate) in ["picklescan", "pickletools.genops", "pickle.loads, which runs it"].iter().zip(&peers) {
            shell::say(&row(what, rate.max(), rate, "MB/s"));
        }
        shell::say(&row("wh inspect, from start to end", whole.max(), &whole, "MB/s"));
        shell::say(&row("pickle machine, on one core", ours.max(), &ours, "MB/s"));
        shell::say(&ratio("pickle machine, MB/s", ours.median(), "≥ 150", ours.median() >= 150.0));
        shell::say(&format!("  {:<44} {:>21.1}", "pickle machine / picklescan", ours.median() / peers[0].median()));
        Ok(())
    }
}

/// How long a command takes that prints nothing of interest.
fn time(command: &mut Command) -> Result<std::time::Duration> {
    let began = Instant::now();
    shell::read(command)?;
    Ok(began.elapsed())
}

/// Bytes that the calls of a log of strace read of what is named `<PATH>`.
fn read_of(log: &str, name: &str) -> Result<u64> {
    let mut total = 0;
    for line in log.lines().filter(|line| line.contains(name)) {
        if line.contains("mmap(") {
            bail!("the file is mapped, which hides what is read: {line}");
        }
        let result = line.rsplit_once(" = ").and_then(|(_, result)| result.split(' ').next());
        total += result.and_then(|result| result.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(total)
}

/// Megabytes per second that the test says of the machine.
fn machine_rate(said: &str) -> Result<f64> {
    let line = said.lines().find_map(|line| line.split_once("pickle, bytes")).map(|(_, rest)| rest.trim());
    let rate = line.and_then(|rest| rest.split(' ').next()).with_context(|| said.to_owned())?;
    Ok(rate.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_name_the_file_are_counted() {
        let log = "7 read(3</lib/x.so>, \"\"..., 832) = 832\n7 pread64(9</t/m.pt>, \"PK\"..., 512, 0) = 512\n\
                   8 pread64(9</t/m.pt>, \"\", 9, 1) = 100\n9 pread64(9</t/m.pt>, 0x1, 9, 1) = -1 EIO (error)\n";
        assert_eq!(read_of(log, "</t/m.pt>").unwrap(), 612);
        assert!(read_of("7 mmap(NULL, 9, PROT_READ, MAP_SHARED, 9</t/m.pt>, 0) = 0x7f\n", "</t/m.pt>").is_err());
    }

    #[test]
    fn the_rate_of_the_machine_is_found() {
        let said = "running 1 test\n12 opcodes, 3 values\npickle, bytes        261.5 M/s\n.\n";
        assert!((machine_rate(said).unwrap() - 261.5).abs() < 1e-9);
        assert!(machine_rate("nothing").is_err());
    }
}
