//! What each store keeps of the same files, by the size of its folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Bench, disk_bytes, text};
use crate::bench::transfer::hub::Hub;
use crate::{apt, environments, shell};

/// Versions of one file, in the order in which they are stored.
pub struct Versions<'a> {
    /// The files; their names do not matter.
    pub files: &'a [PathBuf],
    /// The name that all have in the stores, or `None` where each keeps its own.
    pub name: Option<&'a str>,
}

impl Versions<'_> {
    /// Puts one version after another at its place in a folder, and calls `stored` after each.
    fn each(&self, folder: &Path, mut stored: impl FnMut(&Path) -> Result<()>) -> Result<()> {
        fs::create_dir_all(folder)?;
        for file in self.files {
            let name = self.name.map(Path::new).or(file.file_name().map(Path::new)).context("a file")?;
            let at = folder.join(name);
            if at.exists() {
                fs::remove_file(&at)?;
            }
            fs::copy(file, &at)?;
            stored(&at)?;
            if self.name.is_none() {
                fs::remove_file(&at)?;
            }
        }
        Ok(())
    }
}

impl Bench {
    /// The data folder of a hub: after the pushes, and after everything was coded anew, the newest first, and the old packs
    /// are gone.
    pub fn kept_by_us(&self, versions: &Versions) -> Result<(f64, f64)> {
        let place = self.place("ours")?;
        let data = place.join("data");
        let hub = Hub::start_with(&self.wh, &data, &["--repack", "off"])?;
        versions.each(&place.join("work"), |file| self.push(&hub, file, "admin/family"))?;
        drop(hub);
        let before = disk_bytes(&data)?;
        let hub = Hub::start_with(&self.wh, &data, &["--repack-cpu-percent", "100"])?;
        self.repack(&data)?;
        let after = self.kept_at_the_end(hub, &place)?;
        Ok((before, after))
    }

    /// The same where each version is coded before the next one comes.
    pub fn kept_by_us_as_they_come(&self, versions: &Versions) -> Result<f64> {
        let place = self.place("ours")?;
        let data = place.join("data");
        let hub = Hub::start_with(&self.wh, &data, &["--repack-cpu-percent", "100"])?;
        versions.each(&place.join("work"), |file| {
            self.push(&hub, file, "admin/family")?;
            self.repack(&data)
        })?;
        self.kept_at_the_end(hub, &place)
    }

    fn kept_at_the_end(&self, hub: Hub, place: &Path) -> Result<f64> {
        let data = place.join("data");
        self.collect(&data)?;
        drop(hub);
        let kept = disk_bytes(&data)?;
        fs::remove_dir_all(place)?;
        Ok(kept)
    }

    /// hf-xet's store of its own.
    pub fn kept_by_xet(&self, versions: &Versions) -> Result<f64> {
        let place = self.place("xet")?;
        let (python, store) = (environments::bench()?, place.join("store"));
        let script = "import sys, hf_xet; hf_xet.upload_files([sys.argv[1]], f'local://{sys.argv[2]}', None, None, None, 'model')";
        versions.each(&place.join("work"), |file| {
            let mut upload = Command::new(&python);
            upload.args(["-c", script, text(file)?, text(&store)?]).env("HF_HOME", place.join("home"));
            shell::read(&mut upload).map(drop)
        })?;
        let kept = disk_bytes(&store)?;
        fs::remove_dir_all(&place)?;
        Ok(kept)
    }

    /// DVC's cache.
    pub fn kept_by_dvc(&self, versions: &Versions) -> Result<f64> {
        let python = environments::dvc()?;
        let place = self.place("dvc")?;
        let run = |arguments: &[&str]| {
            let mut dvc = Command::new(&python);
            dvc.args(["-m", "dvc"]).args(arguments).current_dir(&place).env("DVC_NO_ANALYTICS", "1");
            // Its own site cache would otherwise lie beside the machine's.
            shell::read(dvc.env("DVC_SITE_CACHE_DIR", place.join("site"))).map(drop)
        };
        run(&["init", "--no-scm", "--quiet"])?;
        versions.each(&place, |file| {
            let name = file.file_name().and_then(|name| name.to_str()).context("a file")?;
            run(&["add", "--quiet", name])
        })?;
        let kept = disk_bytes(&place.join(".dvc/cache"))?;
        fs::remove_dir_all(&place)?;
        Ok(kept)
    }

    /// The objects of git-lfs.
    pub fn kept_by_lfs(&self, versions: &Versions) -> Result<f64> {
        if !Path::new("/usr/bin/git-lfs").exists() {
            apt::install("git-lfs", "the benchmark of stored sizes")?;
        }
        let place = self.place("lfs")?;
        let git = |arguments: &[&str]| {
            let mut git = Command::new("git");
            git.args(["-c", "user.name=bench", "-c", "user.email=bench@example.invalid"]).args(arguments);
            shell::read(git.current_dir(&place).env("HOME", &place)).map(drop)
        };
        git(&["init", "--quiet"])?;
        git(&["lfs", "install", "--local"])?;
        git(&["lfs", "track", "*.safetensors", "*.bin", "*.gguf"])?;
        versions.each(&place, |file| {
            git(&["add", text(file)?, ".gitattributes"])?;
            git(&["commit", "--quiet", "--message", "version"])
        })?;
        let kept = disk_bytes(&place.join(".git/lfs"))?;
        fs::remove_dir_all(&place)?;
        Ok(kept)
    }
}
