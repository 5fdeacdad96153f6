//! `cargo xtask bench store [--quick] [--section NAME]…`: what is stored, how fast it comes and goes, and in how much memory.
//!
//! One table from one run, ours beside its peers: zipnn and zstd for the coder of tensors; hf-xet's own local store, DVC
//! and git-lfs for families of models; `sha256sum`, `cp` and nginx for speed. All weights are made by the bench, from
//! seeds; `store/arrays.py` and `store/codec.py` say how. Each section is by itself: `codec`, `family`, `formats`,
//! `speed`, `reads`, `memory`. `--quick` takes a twentieth of the bytes.

mod codec;
mod family;
mod kept;
mod memory;
mod reads;
mod speed;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::machine::machine;
use super::transfer::{self, hub::Hub};
use crate::{environments, shell};

pub(super) const ARRAYS: &str = include_str!("store/arrays.py");

/// Names of the sections, in the order in which they run.
const SECTIONS: [&str; 6] = ["codec", "family", "formats", "speed", "reads", "memory"];

/// Which parts run, and how large they are.
struct Options {
    quick: bool,
    sections: Vec<String>,
}

impl Options {
    fn parse(flags: &[&str]) -> Result<Self> {
        let mut options = Self { quick: false, sections: Vec::new() };
        let mut flags = flags.iter();
        while let Some(&flag) = flags.next() {
            match flag {
                "--quick" => options.quick = true,
                "--section" => {
                    let name = flags.next().context("`--section` needs a name")?;
                    if !SECTIONS.contains(name) {
                        bail!("there is no section `{name}`; there are: {}", SECTIONS.join(", "));
                    }
                    options.sections.push((*name).to_owned());
                }
                _ => bail!("`bench store` has no flag `{flag}`; it has --quick and --section NAME"),
            }
        }
        if options.sections.is_empty() {
            options.sections = SECTIONS.map(str::to_owned).to_vec();
        }
        Ok(options)
    }
}

/// What all sections need.
struct Bench {
    folder: PathBuf,
    wh: PathBuf,
    models: PathBuf,
    quick: bool,
}

/// Measures and prints the sections that are asked for.
///
/// # Errors
/// When something cannot be installed, built or measured.
pub fn store(flags: &[&str]) -> Result<()> {
    let options = Options::parse(flags)?;
    let models = environments::models()?.remove("models").context("no environment with torch")?;
    let folder = tempfile::Builder::new().prefix("weighthouse-bench-").tempdir()?;
    let coder_alone = options.sections.iter().all(|section| section == "codec");
    let wh = if coder_alone { PathBuf::new() } else { transfer::build()? };
    let bench = Bench { folder: folder.path().to_owned(), wh, models, quick: options.quick };
    shell::say(&format!("machine   {}", machine()));
    for section in &options.sections {
        match section.as_str() {
            "codec" => codec::codec(&bench.models)?,
            "family" => bench.family()?,
            "formats" => bench.formats()?,
            "speed" => bench.speed()?,
            "reads" => bench.reads()?,
            _ => bench.memory()?,
        }
    }
    shell::say(&format!("\nmachine   {}", machine()));
    Ok(())
}

impl Bench {
    /// So many bytes, or a twentieth of them.
    fn bytes(&self, whole: u64) -> u64 {
        if self.quick { whole / 20 } else { whole }
    }

    /// A new folder for one section.
    fn place(&self, name: &str) -> Result<PathBuf> {
        let place = self.folder.join(name);
        fs::create_dir_all(&place)?;
        Ok(place)
    }

    /// Lets the script of arrays do something.
    fn arrays(&self, arguments: &[&str]) -> Result<String> {
        shell::read(Command::new(&self.models).args(["-c", ARRAYS]).args(arguments))
    }

    /// Bytes of the ideal order-0 code of the byte planes of files, and bytes of the files.
    fn entropy(&self, word: &str, files: &[PathBuf]) -> Result<(f64, f64)> {
        let paths: Vec<&str> = files.iter().map(|file| text(file)).collect::<Result<_>>()?;
        let said = self.arrays(&[&["entropy", word], &paths[..]].concat())?;
        let (ideal, whole) = said.trim().split_once(' ').context("no figures")?;
        Ok((ideal.parse()?, whole.parse()?))
    }

    /// Sends the one file of a folder to a repository.
    fn push(&self, hub: &Hub, file: &Path, repo: &str) -> Result<()> {
        hub.push(&self.wh, file, repo)
    }

    /// Codes everything that a data folder holds anew, and waits for it.
    fn repack(&self, data: &Path) -> Result<()> {
        let mut repack = Command::new(&self.wh);
        shell::read(repack.args(["admin", "--data"]).arg(data).args(["repack", "--all", "--wait"]))?;
        Ok(())
    }

    /// Removes what nothing needs any more, as a hub does after the grace: packs from before coding.
    fn collect(&self, data: &Path) -> Result<()> {
        // What one run condemns the next one removes.
        for _ in 0..3 {
            let mut gc = Command::new(&self.wh);
            shell::read(gc.args(["admin", "gc", "--execute", "--grace", "0", "--data"]).arg(data))?;
        }
        Ok(())
    }
}

/// A path as text.
pub(super) fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

/// Bytes on the disk below a folder.
fn disk_bytes(folder: &Path) -> Result<f64> {
    let said = shell::read(Command::new("du").args(["--summarize", "--block-size=1"]).arg(folder))?;
    Ok(said.split_whitespace().next().context("du said nothing")?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_that_do_not_exist_are_refused() {
        assert_eq!(Options::parse(&[]).unwrap().sections.len(), SECTIONS.len());
        let some = Options::parse(&["--section", "reads", "--quick"]).unwrap();
        assert_eq!((some.quick, some.sections), (true, vec!["reads".to_owned()]));
        assert!(Options::parse(&["--section", "all"]).is_err());
        assert!(Options::parse(&["--section"]).is_err());
        assert!(Options::parse(&["--fast"]).is_err());
    }
}
