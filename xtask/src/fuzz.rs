//! `cargo xtask fuzz`: every target of `fuzz/` under libFuzzer, with the stable toolchain.
//!
//! The flags are those of cargo-fuzz, without a sanitizer: the readers forbid `unsafe`, so what remains to be found are
//! panics, hangs and memory, and those need none. Inputs that reach new code are kept below the target directory for
//! the next run; `fuzz/corpus` is only read.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use crate::{metadata, shell};

/// What makes a crate tell libFuzzer where it went. They go to our own triple by name, so that build scripts get none.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Bounds of one input: bytes, resident memory, and seconds.
const BOUNDS: [&str; 3] = ["-max_len=16384", "-rss_limit_mb=512", "-timeout=10"];

/// Flags of the verb.
pub struct Options {
    seconds: u64,
    targets: Vec<String>,
}

impl Options {
    /// Reads the words after `fuzz`.
    ///
    /// # Errors
    /// When a flag is unknown, or its value is none.
    pub fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self { seconds: 60, targets: Vec::new() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("`{word}` needs a value"))?;
            match *word {
                "--seconds" => options.seconds = value.parse().with_context(|| format!("seconds `{value}`"))?,
                "--target" => options.targets.extend(value.split(',').map(str::to_owned)),
                other => bail!("unknown flag `{other}`"),
            }
        }
        Ok(options)
    }
}

/// Builds the targets and runs them, as many at a time as there are cores, all of them in about the time that was asked for.
///
/// # Errors
/// When they cannot be built, a target is unknown, or one of them crashed.
pub fn fuzz(options: &Options) -> Result<()> {
    let fuzzer = Fuzzer::build()?;
    let known = fuzzer.targets()?;
    if let Some(unknown) = options.targets.iter().find(|target| !known.contains(target)) {
        bail!("there is no target `{unknown}`; there are {}", known.join(", "));
    }
    let chosen = if options.targets.is_empty() { known } else { options.targets.clone() };
    let workers = thread::available_parallelism().map_or(1, usize::from).min(chosen.len());
    let seconds = (options.seconds * workers as u64 / chosen.len() as u64).max(1);
    shell::say(&format!("{} targets, {seconds} s each, {workers} at a time", chosen.len()));
    let (total, crashes) = (chosen.len(), Mutex::new(Vec::new()));
    let queue = Mutex::new(VecDeque::from(chosen));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(|| fuzzer.work(&queue, seconds, &crashes))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?)
    })?;
    let crashes = crashes.into_inner().unwrap_or_default();
    if !crashes.is_empty() {
        bail!("{} of {total} targets failed: {}", crashes.len(), crashes.join(", "));
    }
    shell::say(&format!("{total} targets, no crash"));
    Ok(())
}

/// The program, and where it keeps what it finds.
struct Fuzzer {
    program: PathBuf,
    found: PathBuf,
    crashes: PathBuf,
}

impl Fuzzer {
    fn build() -> Result<Self> {
        let folder = metadata::read(&["--no-deps"])?.target_directory.join("fuzz");
        let triple = shell::read(&mut shell::command("rustc", &["--print", "host-tuple"]))?;
        let mut build = shell::command("cargo", &["build", "--release", "--locked", "--target", triple.trim()]);
        build.args(["--manifest-path", "fuzz/Cargo.toml", "--target-dir"]).arg(&folder).env("RUSTFLAGS", FLAGS);
        shell::run(&mut build)?;
        let fuzzer = Self {
            program: folder.join(triple.trim()).join("release/fuzz"),
            found: folder.join("found"),
            crashes: folder.join("crashes"),
        };
        fs::create_dir_all(&fuzzer.crashes)?;
        Ok(fuzzer)
    }

    fn targets(&self) -> Result<Vec<String>> {
        Ok(shell::read(&mut Command::new(&self.program))?.lines().map(str::to_owned).collect())
    }

    /// Runs targets until there are none left.
    fn work(&self, queue: &Mutex<VecDeque<String>>, seconds: u64, crashes: &Mutex<Vec<String>>) -> Result<()> {
        loop {
            let next = queue.lock().ok().and_then(|mut queue| queue.pop_front());
            let Some(target) = next else { return Ok(()) };
            if !self.run(&target, seconds)?
                && let Ok(mut crashes) = crashes.lock()
            {
                crashes.push(target);
            }
        }
    }

    /// Runs one target; whether it ended well.
    fn run(&self, target: &str, seconds: u64) -> Result<bool> {
        let found = self.found.join(target);
        fs::create_dir_all(&found)?;
        let mut run = Command::new(&self.program);
        run.env("WH_FUZZ_TARGET", target).args(BOUNDS).arg(format!("-max_total_time={seconds}"));
        run.arg(format!("-artifact_prefix={}/{target}-", self.crashes.display()));
        run.arg(found).args(Some(shell::root().join("fuzz/corpus").join(target)).filter(|corpus| corpus.exists()));
        let output = run.output().with_context(|| self.program.display().to_string())?;
        let log = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            shell::say(&format!("  {target:<16} {}", Summary::of(&log)));
            return Ok(true);
        }
        let artifact =
            log.lines().find_map(|line| line.split_once("Test unit written to ").map(|(_, path)| path.trim()));
        let reasons: Vec<&str> = log.lines().filter(|line| is_reason(line)).take(6).collect();
        shell::say(&format!("  {target:<16} FAILED\n    {}", reasons.join("\n    ")));
        match artifact {
            Some(path) => shell::say(&self.advice(target, Path::new(path))),
            None => shell::say(&log),
        }
        Ok(false)
    }

    fn advice(&self, target: &str, input: &Path) -> String {
        format!(
            "    repeat:  WH_FUZZ_TARGET={target} {} {}\n    once mended, keep it:  cp {} fuzz/corpus/{target}/",
            self.program.display(),
            input.display(),
            input.display()
        )
    }
}

/// Whether a line of libFuzzer's or of a panic says what went wrong.
fn is_reason(line: &str) -> bool {
    line.contains("panicked at") || line.starts_with("memory allocation of") || line.contains("ERROR: libFuzzer")
}

/// What a run did, as libFuzzer's log tells it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    runs: u64,
    edges: u64,
}

impl Summary {
    fn of(log: &str) -> Self {
        let after = |key: &str| {
            let (_, rest) = log.rsplit_once(key)?;
            rest.split_whitespace().next()?.parse().ok()
        };
        Self { runs: after("Done ").unwrap_or_default(), edges: after("cov: ").unwrap_or_default() }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>9} runs, {:>6} edges", self.runs, self.edges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_libfuzzer_is_understood() {
        let log = "#2 INITED cov: 12 ft: 3\n#9\tDONE   cov: 345 ft: 900 corp: 7/1b\nDone 46438 runs in 6 second(s)\n";
        assert_eq!(Summary::of(log), Summary { runs: 46438, edges: 345 });
        assert_eq!(Summary::of(""), Summary::default());
    }

    #[test]
    fn flags_that_do_not_exist_are_refused() {
        let options = Options::parse(&["--seconds", "5", "--target", "npy,npz"]).unwrap();
        assert_eq!((options.seconds, options.targets), (5, vec!["npy".to_owned(), "npz".to_owned()]));
        assert!(Options::parse(&["--seconds"]).is_err());
        assert!(Options::parse(&["--seconds", "many"]).is_err());
        assert!(Options::parse(&["--fast", "1"]).is_err());
    }
}
