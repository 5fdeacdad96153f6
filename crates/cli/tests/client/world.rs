//! A hub and a client as processes of their own, and a slow line between them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub struct World {
    pub folder: TempDir,
    hub: Option<Child>,
    port: u16,
    pub token: String,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Asked for again after each restart.
        let mut world = Self { folder, hub: None, port: free_port(), token: String::new() };
        world.start_hub();
        world.token = std::fs::read_to_string(world.path("data/admin-token")).unwrap().trim().to_owned();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn start_hub(&mut self) {
        let mut command = self.program(&["serve", "--listen", &format!("127.0.0.1:{}", self.port), "--log", "warn"]);
        self.hub = Some(command.arg("--data").arg(self.path("data")).stdout(Stdio::null()).spawn().unwrap());
        wait_until("the hub answers", || answers(self.port).unwrap_or(false));
    }

    /// Kills the hub as a power cut would.
    pub fn kill_hub(&mut self) {
        kill(self.hub.take().unwrap());
    }

    /// The program in a clean environment.
    pub fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wh"));
        command.env_clear().env("HOME", self.path("home")).env("WH_CACHE", self.path("cache")).args(arguments);
        command.env("WH_CONFIG_DIR", self.path("config")).env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    /// The program as a client of the hub at `url`.
    pub fn client(&self, url: &str, arguments: &[&str]) -> Command {
        let mut command = self.program(arguments);
        command.env("HF_ENDPOINT", url).env("HF_TOKEN", &self.token);
        command
    }

    /// Runs a verb that prints JSON.
    pub fn json(&self, url: &str, arguments: &[&str]) -> Value {
        let done = self.client(url, arguments).arg("--json").output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", text(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    }

    pub fn model(&self, size: usize) -> PathBuf {
        let folder = self.path("model");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("README.md"), "# Model\n").unwrap();
        std::fs::write(folder.join("model.bin"), weighthouse_testkit::noise(11, size)).unwrap();
        folder
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(hub) = self.hub.take() {
            kill(hub);
        }
    }
}

/// A port that nobody listens on right now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Whether the hub is ready, not only listening.
pub fn answers(port: u16) -> std::io::Result<bool> {
    let mut hub = TcpStream::connect(("127.0.0.1", port))?;
    hub.set_read_timeout(Some(Duration::from_secs(10)))?;
    hub.write_all(b"GET /readyz HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    hub.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// SIGKILL: no handler runs.
pub fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn code(done: &Output) -> i32 {
    done.status.code().unwrap()
}

pub fn wait_until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Files below a folder whose name ends so.
pub fn count(folder: &Path, suffix: &str) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let each = entries.flatten().map(|entry| {
        let path = entry.path();
        if path.is_dir() { count(&path, suffix) } else { usize::from(path.to_string_lossy().ends_with(suffix)) }
    });
    each.sum()
}

/// A line to the hub that carries some 60 MB a second, so that there is a middle to be killed in.
pub fn slow_line(world: &World) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let port = world.port;
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            for (from, to) in [(near.try_clone(), far.try_clone()), (far.try_clone(), near.try_clone())] {
                std::thread::spawn(move || carry(from.unwrap(), to.unwrap()));
            }
        }
    });
    url
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut block = vec![0; 64 << 10];
    while let Ok(len @ 1..) = from.read(&mut block) {
        if to.write_all(&block[..len]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}
