//! Seconds of taking a file in and of giving it back, on one core, beside SHA-256 of the same bytes and `cp`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use super::{Bench, text};
use crate::bench::figures::{Series, row, title};
use crate::bench::transfer::hub::Hub;
use crate::shell;

const BYTES: u64 = 1_000_000_000;
const RUNS: usize = 3;

impl Bench {
    /// Push, repack and pull with all programs on one core.
    pub fn speed(&self) -> Result<()> {
        let _core = OneCore::take()?;
        let place = self.place("speed")?;
        let file = place.join("model.safetensors");
        self.arrays(&["large", text(&file)?, &self.bytes(BYTES).to_string()])?;
        let whole = fs::metadata(&file)?.len();
        let mut series = [const { Series::new() }; 5];
        for _ in 0..RUNS {
            let data = place.join("data");
            let hub = Hub::start_with(&self.wh, &data, &["--repack-cpu-percent", "100"])?;
            let copy = place.join("copy");
            let pulled = place.join("pulled");
            let steps: [&dyn Fn() -> Result<()>; 5] = [
                &|| shell::read(Command::new("sha256sum").arg(&file)).map(drop),
                &|| {
                    shell::read(Command::new("cp").args(["--reflink=never", text(&file)?]).arg(&copy))?;
                    shell::read(Command::new("sync").arg(&copy)).map(drop)
                },
                &|| self.push(&hub, &file, "admin/speed"),
                &|| self.repack(&data),
                &|| self.pull(&hub, &pulled),
            ];
            for (step, series) in steps.into_iter().zip(&mut series) {
                let began = Instant::now();
                step()?;
                series.push_time(began.elapsed());
            }
            let same = shell::read(Command::new("cmp").arg(&file).arg(pulled.join("model.safetensors")));
            same.map(drop)?;
            drop(hub);
            for folder in [&data, &pulled] {
                fs::remove_dir_all(folder)?;
            }
            fs::remove_file(&copy)?;
        }
        let [sha, cp, push, repack, pull] = &series;
        title(&format!("one file of {whole} bytes, one core for all, {RUNS} runs"), "best", "median");
        for (what, series) in [
            ("sha256sum", sha),
            ("cp and sync", cp),
            ("wh push", push),
            ("wh admin repack --wait", repack),
            ("wh pull of the repacked file", pull),
        ] {
            shell::say(&row(what, series.min(), series, "s"));
        }
        for (what, value) in [
            ("ingest (push and repack) / sha256sum", (push.median() + repack.median()) / sha.median()),
            ("ingest (push and repack) / cp", (push.median() + repack.median()) / cp.median()),
            ("restore (pull) / sha256sum", pull.median() / sha.median()),
            ("restore (pull) / cp", pull.median() / cp.median()),
        ] {
            shell::say(&format!("  {what:<44} {value:>21.3}"));
        }
        fs::remove_dir_all(&place)?;
        Ok(())
    }

    fn pull(&self, hub: &Hub, folder: &Path) -> Result<()> {
        let mut pull = Command::new(&self.wh);
        pull.args(["pull", "--quiet", "admin/speed"]).arg(folder);
        pull.env("HF_ENDPOINT", hub.url()).env("HF_TOKEN", hub.token());
        // Without a cache of its own it would find what it has pushed.
        shell::read(pull.env("WH_CACHE", folder.with_extension("cache"))).map(drop)
    }
}

/// This program and all that it starts, on the first core, until dropped.
struct OneCore {
    before: String,
}

impl OneCore {
    fn take() -> Result<Self> {
        let own = std::process::id().to_string();
        let said = shell::read(Command::new("taskset").args(["--cpu-list", "--pid", &own]))?;
        let before = said.trim().rsplit(' ').next().unwrap_or("0").to_owned();
        let first: String = before.chars().take_while(char::is_ascii_digit).collect();
        shell::read(Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", &first, &own]))?;
        Ok(Self { before })
    }
}

impl Drop for OneCore {
    fn drop(&mut self) {
        let own = std::process::id().to_string();
        let mut back = Command::new("taskset");
        if let Err(error) = shell::read(back.args(["--all-tasks", "--cpu-list", "--pid", &self.before, &own])) {
            shell::complain(&format!("warning: still on one core: {error}"));
        }
    }
}
