//! `wh serve` for the time of a measurement.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::http::Place;
use super::lfs_batch;
use crate::bench::machine::field;
use crate::shell;

/// A running server; killed on drop.
pub struct Hub {
    server: Child,
    port: u16,
    url: String,
    token: String,
}

impl Hub {
    /// Starts a server over a data folder, which may hold data from before.
    pub fn start(wh: &Path, data: &Path) -> Result<Self> {
        Self::start_with(wh, data, &[])
    }

    /// The same with more arguments of `wh serve`.
    pub fn start_with(wh: &Path, data: &Path, arguments: &[&str]) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let url = format!("http://127.0.0.1:{port}");
        let server = Command::new(wh)
            .args(["serve", "--log", "warn", "--listen", &format!("127.0.0.1:{port}"), "--data"])
            .arg(data)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| wh.display().to_string())?;
        let mut hub = Self { server, port, url, token: String::new() };
        let ready = hub.place("/readyz");
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() || ready.send("GET", 0, &b""[..]).is_err() {
            if began.elapsed() > Duration::from_secs(30) || hub.server.try_wait()?.is_some() {
                bail!("`wh serve` does not answer");
            }
            thread::sleep(Duration::from_millis(20));
        }
        hub.token = fs::read_to_string(data.join("admin-token"))?.trim().to_owned();
        Ok(hub)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The administrator's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A path on it, asked for by the administrator.
    pub fn place(&self, path: &str) -> Place {
        Place { port: self.port, path: path.to_owned(), token: self.token.clone() }
    }

    /// Creates `admin/NAME`.
    pub fn create(&self, repo: &str) -> Result<()> {
        let body = json!({ "name": repo.trim_start_matches("admin/") }).to_string();
        self.place("/api/repos/create").send("POST", body.len() as u64, body.as_bytes())?;
        Ok(())
    }

    /// Sends one file by our own client.
    pub fn push(&self, wh: &Path, file: &Path, repo: &str) -> Result<()> {
        let folder = file.parent().context("a file in a folder")?;
        let mut push = Command::new(wh);
        push.args(["push", "--create", "--quiet"]).arg(folder).arg(repo);
        push.arg("--include").arg(file.file_name().context("a file")?);
        push.env("HF_ENDPOINT", &self.url).env("HF_TOKEN", &self.token).env("WH_CACHE", folder.join("cache"));
        shell::read(&mut push)?;
        Ok(())
    }

    /// Sends one file by Git LFS in one body, without a commit.
    pub fn put_lfs(&self, repo: &str, file: &Path) -> Result<()> {
        let sum = shell::read(Command::new("sha256sum").arg(file))?;
        let size = fs::metadata(file)?.len();
        let body = lfs_batch(sum.split(' ').next().unwrap_or_default(), size);
        let batch = self.place(&format!("/{repo}.git/info/lfs/objects/batch"));
        let answer: Value = serde_json::from_slice(&batch.send("POST", body.len() as u64, body.as_bytes())?)?;
        let href = answer["objects"][0]["actions"]["upload"]["href"].as_str().context("no upload address")?;
        let path = href.strip_prefix(&self.url).context("an address elsewhere")?;
        self.place(path).send("PUT", size, File::open(file)?)?;
        Ok(())
    }

    /// Most memory that it ever held, in MB.
    pub fn peak_memory_mb(&self) -> Result<f64> {
        let peak = field(&format!("/proc/{}/status", self.server.id()), "VmHWM").context("no VmHWM")?;
        let kib: f64 = peak.trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024.0 / 1e6)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let Err(error) = self.server.kill().and_then(|()| self.server.wait()) {
            shell::complain(&format!("warning: the hub on port {} still runs: {error}", self.port));
        }
    }
}
