//! An S3 server of our own for the time of a test run: `s3s-fs`, which keeps objects as files.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::shell;

/// The newest release that the workspace's `rust-version` builds.
const VERSION: &str = "0.14.1";
const BUCKET: &str = "weighthouse";
/// Name and password in one; nobody else reaches the server.
const KEY: &str = "test";

/// A running server with one empty bucket; stopped and deleted on drop.
pub struct S3 {
    _folder: TempDir,
    server: Child,
    port: u16,
}

impl S3 {
    /// Builds the server below `target` if it is missing, and starts it on a free loopback port.
    pub fn start(target: &Path) -> Result<Self> {
        let root = target.join(format!("s3s-fs-{VERSION}"));
        let program = root.join("bin/s3s-fs");
        if !program.exists() {
            // In debug: it builds in half the time, and the tests do not ask for speed.
            let mut install = shell::command("cargo", &["install", "s3s-fs", "--version", VERSION]);
            install.args(["--features", "binary", "--locked", "--debug", "--quiet", "--root"]).arg(&root);
            shell::run(install.env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
        }
        let folder = tempfile::Builder::new().prefix("weighthouse-s3-").tempdir()?;
        std::fs::create_dir(folder.path().join(BUCKET))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let server = Command::new(&program)
            .args(["--host", "127.0.0.1", "--access-key", KEY, "--secret-key", KEY, "--port", &port.to_string()])
            .arg(folder.path())
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut server = Self { _folder: folder, server, port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if began.elapsed() > Duration::from_secs(20) || server.server.try_wait()?.is_some() {
                bail!("`{}` does not listen on port {port}", program.display());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// What tests must be told: the bucket, and how a client reaches it.
    pub fn variables(&self) -> [(&'static str, String); 6] {
        [
            ("WH_TEST_S3", format!("s3://{BUCKET}")),
            ("AWS_ENDPOINT", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", KEY.to_owned()),
        ]
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let stopped = self.server.kill().and_then(|()| self.server.wait());
        if let Err(error) = stopped {
            shell::complain(&format!("warning: the S3 server on port {} still runs: {error}", self.port));
        }
    }
}
