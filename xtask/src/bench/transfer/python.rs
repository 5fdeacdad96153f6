//! huggingface_hub and hf-xet, the clients that people use.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::{environments, shell};

/// The script that does what has no command line.
const SCRIPT: &str = include_str!("transfer.py");

/// An environment with both.
pub struct Python(PathBuf);

impl Python {
    /// Makes the environment, if it is missing.
    pub fn find() -> Result<Self> {
        Ok(Self(environments::bench()?))
    }

    /// Versions of both.
    pub fn versions(&self) -> Result<String> {
        Ok(shell::read(&mut self.script(&["versions"]))?.trim().to_owned())
    }

    /// Writes a safetensors file of `len` bytes, bf16 weights from a seed.
    pub fn weights(&self, file: &Path, len: u64, seed: usize) -> Result<()> {
        shell::read(self.script(&["weights", &len.to_string(), &seed.to_string()]).arg(file))?;
        Ok(())
    }

    /// Inserts 18 bytes at `offset` of a file.
    pub fn insert(&self, file: &Path, offset: u64) -> Result<()> {
        shell::read(self.script(&["insert", &offset.to_string()]).arg(file))?;
        Ok(())
    }

    /// hf-xet alone, to a store of its own in a folder.
    pub fn upload_alone(&self, file: &Path, store: &Path, home: &Path) -> Command {
        let mut command = self.script(&["upload-alone"]);
        command.arg(file).arg(store).env("HF_HOME", home);
        command
    }

    /// `hf upload`, as a machine that has never sent anything.
    pub fn upload(&self, url: &str, token: &str, repo: &str, file: &Path, home: &Path) -> Command {
        let mut command = Command::new(self.0.with_file_name("hf"));
        command.args(["upload", repo]).arg(file).arg(file.file_name().unwrap_or_default());
        command.env("HF_ENDPOINT", url).env("HF_TOKEN", token).env("HF_HOME", home);
        command.env("HF_HUB_DISABLE_TELEMETRY", "1").env("HF_HUB_DISABLE_PROGRESS_BARS", "1");
        command
    }

    fn script(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.0);
        command.args(["-c", SCRIPT]).args(arguments);
        command
    }
}
