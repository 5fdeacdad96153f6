//! `cargo xtask bench transfer`: downloads beside nginx, uploads beside hf-xet alone, requests, memory, repeated bytes.
//!
//! A release build of `wh serve` on loopback; nginx and ab are Debian's, hf-xet and huggingface_hub those of
//! `tests/python/requirements/hub-2.4.txt`. Both servers and all clients share the machine's cores.

pub(super) mod http;
pub(super) mod hub;
mod meter;
pub(super) mod nginx;
pub(super) mod python;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::figures::{Series, ratio, row, title};
use super::machine::machine;
use crate::{apt, shell};
use http::Place;
use hub::Hub;
use meter::Meter;
use nginx::Nginx;
use python::Python;

/// Bytes of the file that goes to and fro.
const LARGE_BYTES: u64 = 1_000_000_000;
/// Bytes of each file that is sent while others download.
const NEWS_BYTES: u64 = 250_000_000;
const DOWNLOADS: usize = 5;
const UPLOADS: usize = 3;
const REQUEST_RUNS: usize = 3;
const REPO: &str = "admin/bench";
const FILE: &str = "model.safetensors";

/// Measures and prints everything.
///
/// # Errors
/// When something cannot be installed, started or measured.
pub fn transfer() -> Result<()> {
    let wh = build()?;
    let python = Python::find()?;
    nginx::install()?;
    if !Path::new("/usr/bin/ab").exists() {
        apt::install("apache2-utils", "the benchmark of transfers")?;
    }
    let folder = tempfile::Builder::new().prefix("weighthouse-bench-").tempdir()?;
    let bench = Bench { folder: folder.path().to_owned(), wh, python };
    shell::say(&format!("machine   {}", machine()));
    shell::say(&format!("programs  {}", bench.versions()?));
    bench.downloads()?;
    bench.uploads()?;
    bench.repeated_bytes()?;
    bench.memory()?;
    shell::say(&format!("\nmachine   {}", machine()));
    Ok(())
}

struct Bench {
    folder: PathBuf,
    wh: PathBuf,
    python: Python,
}

/// The program under test, in release.
pub(super) fn build() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("WH_BIN") {
        return Ok(PathBuf::from(path));
    }
    shell::run(&mut shell::command("cargo", &["build", "--release", "--quiet", "--package", "weighthouse-cli"]))?;
    Ok(crate::metadata::read(&["--no-deps"])?.target_directory.join("release/wh"))
}

impl Bench {
    fn versions(&self) -> Result<String> {
        let wh = shell::read(Command::new(&self.wh).arg("--version"))?;
        let nginx = Command::new("nginx").arg("-v").output().context("nginx -v")?;
        let nginx = String::from_utf8_lossy(&nginx.stderr).trim().replace("nginx version: ", "");
        Ok(format!("{}, {nginx}, {}", wh.trim(), self.python.versions()?))
    }

    /// Downloads by one client and by eight, and `HEAD` requests, each beside nginx with the same plain file.
    fn downloads(&self) -> Result<()> {
        let file = self.weights(0)?;
        let hub = Hub::start(&self.wh, &self.folder.join("downloads"))?;
        hub.push(&self.wh, &file, REPO)?;
        let nginx = Nginx::start(&self.folder)?;
        let ours = hub.place(&format!("/{REPO}/resolve/main/{FILE}"));
        let theirs = nginx.place(&format!("/{FILE}"));
        for clients in [1, 8] {
            // Once each for the system's file cache.
            theirs.download(LARGE_BYTES)?;
            ours.download(LARGE_BYTES)?;
            let (mut nginx_rate, mut hub_rate) = (Series::default(), Series::default());
            for _ in 0..DOWNLOADS {
                nginx_rate.push(rate(&theirs, clients)?);
                hub_rate.push(rate(&ours, clients)?);
            }
            title(&format!("download of {LARGE_BYTES} bytes, {clients} at once, {DOWNLOADS} runs"), "best", "median");
            shell::say(&row("nginx, sendfile", nginx_rate.max(), &nginx_rate, "MB/s"));
            shell::say(&row("wh serve", hub_rate.max(), &hub_rate, "MB/s"));
            let share = hub_rate.median() / nginx_rate.median();
            shell::say(&ratio("wh / nginx", share, "≥ 0.7", share >= 0.7));
        }
        self.requests(&ours, &theirs)?;
        std::fs::remove_file(&file)?;
        Ok(())
    }

    /// `HEAD` requests per second over 16 connections that stay open.
    fn requests(&self, ours: &Place, theirs: &Place) -> Result<()> {
        let (mut hub_rate, mut hub_p99_ms) = (Series::default(), Series::default());
        let (mut nginx_rate, mut nginx_p99_ms) = (Series::default(), Series::default());
        for _ in 0..REQUEST_RUNS {
            for (place, rate, p99_ms) in
                [(theirs, &mut nginx_rate, &mut nginx_p99_ms), (ours, &mut hub_rate, &mut hub_p99_ms)]
            {
                let (per_s, ms) = self.ab(place)?;
                rate.push(per_s);
                p99_ms.push(ms);
            }
        }
        title(&format!("HEAD resolve, 16 connections, {REQUEST_RUNS} runs of 6 s"), "best", "median");
        shell::say(&row("nginx, plain file", nginx_rate.max(), &nginx_rate, "requests/s"));
        shell::say(&row("nginx, p99", nginx_p99_ms.min(), &nginx_p99_ms, "ms"));
        shell::say(&row("wh serve", hub_rate.max(), &hub_rate, "requests/s"));
        shell::say(&row("wh serve, p99", hub_p99_ms.min(), &hub_p99_ms, "ms"));
        let met = hub_rate.median() >= 5_000.0;
        shell::say(&ratio("wh, requests/s", hub_rate.median(), "≥ 5,000 on 2 cores", met));
        Ok(())
    }

    /// Requests per second and the 99th percentile in milliseconds, by ApacheBench.
    fn ab(&self, place: &Place) -> Result<(f64, f64)> {
        let percentiles = self.folder.join("ab.csv");
        let mut ab = Command::new("ab");
        ab.args(["-q", "-k", "-i", "-c", "16", "-t", "6", "-n", "10000000", "-e"]).arg(&percentiles);
        if !place.token.is_empty() {
            ab.args(["-H", &format!("Authorization: Bearer {}", place.token)]);
        }
        let said = shell::read(ab.arg(place.url()))?;
        read_ab(&said, &std::fs::read_to_string(percentiles)?).with_context(|| said.clone())
    }

    /// `hf upload` of new weights beside hf-xet alone, which writes to a store of its own on the same disk.
    fn uploads(&self) -> Result<()> {
        let hub = Hub::start(&self.wh, &self.folder.join("uploads"))?;
        hub.create(REPO)?;
        let (mut peer_s, mut hub_s) = (Series::default(), Series::default());
        for run in 1..=UPLOADS {
            let file = self.weights(run)?;
            let (store, home) = (self.folder.join("store"), self.folder.join("home"));
            let began = Instant::now();
            shell::read(&mut self.python.upload_alone(&file, &store, &home))?;
            peer_s.push_time(began.elapsed());
            std::fs::remove_dir_all(&store)?;
            remove(&home)?;
            let began = Instant::now();
            shell::read(&mut self.python.upload(hub.url(), hub.token(), REPO, &file, &home))?;
            hub_s.push_time(began.elapsed());
            remove(&home)?;
            std::fs::remove_file(&file)?;
        }
        title(&format!("upload of {LARGE_BYTES} bytes of new bf16 weights, {UPLOADS} runs"), "best", "median");
        shell::say(&row("hf-xet to its own local store", peer_s.min(), &peer_s, "s"));
        shell::say(&row("hf upload to wh serve", hub_s.min(), &hub_s, "s"));
        let times = hub_s.median() / peer_s.median();
        shell::say(&ratio("wh / local store", times, "≤ 1.5", times <= 1.5));
        Ok(())
    }

    /// What `hf upload` sends when the hub knows most of the file, from a machine that knows nothing.
    fn repeated_bytes(&self) -> Result<()> {
        let hub = Hub::start(&self.wh, &self.folder.join("repeated"))?;
        hub.create(REPO)?;
        hub.create("admin/other")?;
        let file = self.weights(100)?;
        let meter = Meter::start(hub.port())?;
        let url = meter.url();
        let sent = |repo: &str| -> Result<f64> {
            let home = self.folder.join("home");
            let before = meter.sent_bytes();
            shell::read(&mut self.python.upload(&url, hub.token(), repo, &file, &home))?;
            remove(&home)?;
            Ok((meter.sent_bytes() - before) as f64)
        };
        let first = sent(REPO)?;
        let other = sent("admin/other")?;
        self.python.insert(&file, LARGE_BYTES / 2)?;
        let changed = sent(REPO)?;
        let expected = std::fs::metadata(&file)?.len();
        hub.place(&format!("/{REPO}/resolve/main/{FILE}")).download(expected)?;
        title("bytes sent by hf upload, each time from a fresh machine", "bytes", "share");
        for (what, bytes) in
            [("first upload", first), ("the same file to another repository", other), ("18 bytes inserted", changed)]
        {
            shell::say(&format!("  {what:<44} {bytes:>10} {:>9.3}%", bytes / LARGE_BYTES as f64 * 100.0));
        }
        let share = changed / LARGE_BYTES as f64;
        shell::say(&ratio("inserted / whole", share, "< 0.02", share < 0.02));
        std::fs::remove_file(&file)?;
        Ok(())
    }

    /// The server's memory when 8 clients download and 8 upload.
    fn memory(&self) -> Result<()> {
        let file = self.weights(200)?;
        let folder = self.folder.join("memory");
        let hub = Hub::start(&self.wh, &folder)?;
        hub.push(&self.wh, &file, REPO)?;
        drop(hub);
        std::fs::remove_file(&file)?;
        let news: Vec<PathBuf> = (0..8).map(|n| self.news(n)).collect::<Result<_>>()?;
        let hub = Hub::start(&self.wh, &folder)?;
        let idle = hub.peak_memory_mb()?;
        let download = hub.place(&format!("/{REPO}/resolve/main/{FILE}"));
        thread::scope(|scope| {
            let downloads: Vec<_> = (0..8).map(|_| scope.spawn(|| download.download(LARGE_BYTES))).collect();
            let uploads: Vec<_> = news.iter().map(|file| scope.spawn(|| hub.put_lfs(REPO, file))).collect();
            downloads.into_iter().chain(uploads).try_for_each(joined)
        })?;
        let busy = hub.peak_memory_mb()?;
        title(&format!("VmHWM of wh serve, {LARGE_BYTES} bytes down, {NEWS_BYTES} up"), "", "MB");
        shell::say(&format!("  {:<44} {idle:>21.1}", "idle"));
        shell::say(&format!("  {:<44} {busy:>21.1}", "8 downloads and 8 uploads at once"));
        shell::say(&ratio("memory, MB", busy, "< 300", busy < 300.0));
        Ok(())
    }

    /// New weights, never the same for two seeds.
    fn weights(&self, seed: usize) -> Result<PathBuf> {
        let file = self.folder.join(FILE);
        self.python.weights(&file, LARGE_BYTES, seed)?;
        Ok(file)
    }

    /// A file of noise that no hub has.
    fn news(&self, number: usize) -> Result<PathBuf> {
        use std::io::Read;
        let path = self.folder.join(format!("news-{number}.bin"));
        let mut noise = std::fs::File::open("/dev/urandom")?.take(NEWS_BYTES);
        std::io::copy(&mut noise, &mut std::fs::File::create(&path)?)?;
        Ok(path)
    }
}

/// Bytes per second that all clients get together, in MB/s.
fn rate(place: &Place, clients: usize) -> Result<f64> {
    let began = Instant::now();
    thread::scope(|scope| {
        let downloads: Vec<_> = (0..clients).map(|_| scope.spawn(|| place.download(LARGE_BYTES))).collect();
        downloads.into_iter().try_for_each(joined)
    })?;
    Ok(clients as f64 * LARGE_BYTES as f64 / began.elapsed().as_secs_f64() / 1e6)
}

fn joined(thread: thread::ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?
}

pub(super) fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// Requests per second and the 99th percentile in milliseconds, from what ab prints and from its table.
fn read_ab(said: &str, percentiles: &str) -> Result<(f64, f64)> {
    let after = |key: &str| said.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    if after("Failed requests:") != Some("0") || after("Non-2xx responses:").is_some() {
        bail!("some requests failed");
    }
    let per_s = after("Requests per second:").and_then(|rest| rest.split(' ').next()).context("no rate")?;
    let p99_ms = percentiles.lines().find_map(|line| line.strip_prefix("99,")).context("no percentiles")?;
    Ok((per_s.parse()?, p99_ms.trim().parse()?))
}

/// A question for the upload address of one LFS object, as the body of a request.
fn lfs_batch(oid: &str, size: u64) -> String {
    json!({ "operation": "upload", "transfers": ["basic"], "objects": [{ "oid": oid, "size": size }] }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ab_prints_is_understood() {
        let said = "Failed requests:        0\nRequests per second:    848.30 [#/sec] (mean)\n";
        let (per_s, ms) = read_ab(said, "Percentage served,Time in ms\n98,107.385\n99,131.192\n").unwrap();
        assert!((per_s - 848.3).abs() < 1e-9 && (ms - 131.192).abs() < 1e-9);
        assert!(read_ab(&format!("{said}Non-2xx responses:      7\n"), "99,1").is_err());
    }
}
