//! `cargo xtask test`: sets up what is missing, runs every test, and ends with `N passed, N failed`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Result, anyhow, bail};

use crate::environments::{self, Programs};
use crate::postgres::Postgres;
use crate::s3::S3;
use crate::tally::Tally;
use crate::{apt, metadata, shell};

/// Parts that can be chosen; all but the first two are marks of the pytest suite in `tests/`.
const PARTS: [&str; 11] =
    ["rust", "xet", "python", "models", "formats", "convert", "diff", "trust", "js", "hf-hub", "browser"];

/// Marks of pytest whose tests run beside each other, in processes of their own: about as long each.
const SUITES: [&[&str]; 2] =
    [&["python", "models", "js", "hf-hub", "browser", "trust"], &["formats", "convert", "diff"]];

/// Flags of the verb.
pub struct Options {
    parts: BTreeSet<&'static str>,
    write_matrix: bool,
}

impl Options {
    /// Reads the words after `test`.
    ///
    /// # Errors
    /// When a flag or a part is unknown.
    pub fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self { parts: BTreeSet::from(PARTS), write_matrix: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--write-matrix" => options.write_matrix = true,
                "--only" => options.parts = words.next().unwrap_or(&"").split(',').map(part).collect::<Result<_>>()?,
                other => bail!("unknown flag `{other}`"),
            }
        }
        Ok(options)
    }
}

fn part(name: &str) -> Result<&'static str> {
    match PARTS.into_iter().find(|part| *part == name) {
        Some(part) => Ok(part),
        None => bail!("unknown part `{name}`; there are {}", PARTS.join(", ")),
    }
}

/// Runs the chosen parts.
///
/// # Errors
/// When a test failed, or something could not be set up.
pub fn test(options: &Options) -> Result<()> {
    let mut tally = Tally::default();
    let mut clients = options.parts.clone();
    let [wants_rust, wants_xet] = ["rust", "xet"].map(|part| clients.remove(part));
    if wants_rust {
        // Downloads of the clients take minutes, in which the compiler is busy. What fails here is tried again, and told,
        // where it is needed.
        let parts = clients.clone();
        thread::spawn(move || if parts.is_empty() { Ok(()) } else { pythons(&parts).map(drop) });
        tally += rust()?;
    }
    if wants_xet {
        tally += xet()?;
    }
    if !clients.is_empty() {
        tally += with_clients(&clients, options.write_matrix)?;
    }
    shell::say(&tally.to_string());
    if tally.failed > 0 {
        bail!("{} tests failed", tally.failed);
    }
    Ok(())
}

/// Our own crates, with a PostgreSQL server and an S3 server beside them, and the examples in the documentation.
fn rust() -> Result<Tally> {
    ensure_nextest()?;
    let postgres = Postgres::start()?;
    let s3 = S3::start(&metadata::read(&["--no-deps"])?.target_directory)?;
    let mut tally = Tally::default();
    for verb in
        [&["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests=pass"][..], &["test", "--doc", "--workspace"]]
    {
        let mut tests = shell::command("cargo", verb);
        let (succeeded, text) = shell::watch(
            tests.env("WH_TEST_POSTGRES", postgres.url()).envs(s3.variables()).env("CARGO_TERM_COLOR", "never"),
        )?;
        tally += Tally::of(succeeded, &text);
    }
    Ok(tally)
}

/// Installs the runner of our tests, if it is missing.
///
/// # Errors
/// When it cannot be installed.
pub fn ensure_nextest() -> Result<()> {
    if shell::read(&mut shell::command("cargo", &["nextest", "--version"])).is_err() {
        shell::run(&mut shell::command("cargo", &["install", "cargo-nextest", "--locked"]))?;
    }
    Ok(())
}

/// The hub beside the test server of the reference implementation of Xet; a workspace of its own, see its manifest.
fn xet() -> Result<Tally> {
    let target = metadata::read(&["--no-deps"])?.target_directory;
    let mut tests = shell::command("cargo", &["test", "--locked"]);
    tests.current_dir(environments::tests().join("xet-peer")).env("CARGO_TARGET_DIR", target.join("xet-peer"));
    let (succeeded, text) = shell::watch(tests.env("WH_BIN", wh(&target)?).env("CARGO_TERM_COLOR", "never"))?;
    Ok(Tally::of(succeeded, &text))
}

/// Python with pytest, and the Python environments of the chosen parts.
fn pythons(parts: &BTreeSet<&'static str>) -> Result<(PathBuf, Programs)> {
    let mut programs = Programs::new();
    for part in parts {
        programs.extend(match *part {
            "python" => environments::hubs()?,
            "models" => environments::models()?,
            "formats" | "convert" | "diff" | "trust" => environments::formats()?,
            _ => continue,
        });
    }
    Ok((environments::harness()?, programs))
}

/// The pytest suite: real clients against a real `wh serve`.
fn with_clients(parts: &BTreeSet<&'static str>, write_matrix: bool) -> Result<Tally> {
    let target = metadata::read(&["--no-deps"])?.target_directory;
    let (harness, mut programs) = pythons(parts)?;
    for part in parts {
        programs.extend(match *part {
            "js" => environments::js()?,
            "hf-hub" => environments::hf_hub(&target)?,
            "browser" => browser()?,
            _ => continue,
        });
    }
    let (wh, programs) = (wh(&target)?, serde_json::to_string(&programs)?);
    let suite = |marks: Vec<String>| -> Result<Tally> {
        let mut pytest = shell::command(&harness, &["-m", "pytest", "-p", "no:cacheprovider", "-m"]);
        pytest.arg(marks.join(" or "));
        if write_matrix {
            // In one word: pytest takes a second one for a test file, and looks for its configuration there.
            pytest.arg(format!("--write-matrix={}", shell::root().join("docs/reference/clients.md").display()));
        }
        pytest.current_dir(environments::tests()).env("WH_BIN", &wh).env("WH_TEST_PROGRAMS", &programs);
        let (succeeded, text) = shell::watch(&mut pytest)?;
        Ok(Tally::of(succeeded, &text))
    };
    let chosen = |marks: &&[&str]| {
        let chosen = marks.iter().filter(|mark| parts.contains(*mark));
        chosen.map(|mark| mark.replace('-', "_")).collect::<Vec<_>>()
    };
    let suites = SUITES.iter().map(chosen).filter(|marks| !marks.is_empty());
    thread::scope(|scope| {
        let running: Vec<_> = suites.map(|marks| scope.spawn(|| suite(marks))).collect();
        let mut tally = Tally::default();
        for suite in running {
            tally += suite.join().map_err(|_| anyhow!("a suite of clients panicked"))??;
        }
        Ok(tally)
    })
}

/// The program under test: `$WH_BIN`, or a fresh build.
fn wh(target: &Path) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("WH_BIN") {
        return Ok(PathBuf::from(path));
    }
    shell::run(&mut shell::command("cargo", &["build", "--quiet", "--package", "weighthouse-cli"]))?;
    Ok(target.join("debug/wh"))
}

fn browser() -> Result<Programs> {
    let chromium = PathBuf::from("/usr/bin/chromium");
    if !chromium.exists() {
        apt::install("chromium", "testing the pages in a browser")?;
    }
    Ok(Programs::from([("browser".to_owned(), chromium)]))
}
