//! A hub and a client as processes of their own, and a slow line between them.

use std::env;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::wire::Wire;

pub struct World {
    pub folder: TempDir,
    /// Flags of `wh serve` beyond the usual ones.
    flags: Vec<String>,
    /// Variables of every program.
    variables: Vec<(String, String)>,
    hub: Mutex<Option<Child>>,
    /// Further hubs, beside the first.
    others: Mutex<Vec<Child>>,
    port: u16,
    pub token: String,
}

impl World {
    pub fn new() -> Self {
        Self::with(&[], &[])
    }

    /// A hub with flags and variables of its own.
    pub fn with(flags: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::inside(tempfile::tempdir().unwrap(), flags, variables)
    }

    /// A hub in a folder that is there already.
    pub fn inside(folder: TempDir, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let (hub, others, token) = (Mutex::new(None), Mutex::new(Vec::new()), String::new());
        // Free now, and asked for again after each restart.
        let port = free_port();
        let mut world = Self { folder, flags, variables, hub, others, port, token };
        world.start_hub();
        world.token = std::fs::read_to_string(world.path("data/admin-token")).unwrap().trim().to_owned();
        world
    }

    /// Raw requests by the administrator.
    pub fn wire(&self) -> Wire {
        Wire { port: self.port, token: self.token.clone() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn start_hub(&self) {
        *self.hub.lock().unwrap() = Some(self.serve(self.port, "data"));
    }

    /// Starts one more hub, with a data folder of its own, and returns requests to it.
    pub fn start_another_hub(&self) -> Wire {
        let port = free_port();
        let mut others = self.others.lock().unwrap();
        let folder = format!("data-{}", others.len() + 2);
        others.push(self.serve(port, &folder));
        Wire { port, token: self.token.clone() }
    }

    fn serve(&self, port: u16, data: &str) -> Child {
        let mut command = self.program(&["serve", "--listen", &format!("127.0.0.1:{port}"), "--log", "error"]);
        command.args(&self.flags).arg("--data").arg(self.path(data)).stdout(Stdio::null());
        let hub = command.spawn().unwrap();
        wait_until("the hub answers", || answers(port).unwrap_or(false));
        hub
    }

    /// Kills the hub as a power cut would.
    pub fn kill_hub(&self) {
        kill(self.hub.lock().unwrap().take().unwrap());
    }

    /// A file of `/proc` about the hub's process.
    pub fn proc(&self, name: &str) -> PathBuf {
        let pid = self.hub.lock().unwrap().as_ref().unwrap().id();
        PathBuf::from(format!("/proc/{pid}/{name}"))
    }

    /// Most memory that the hub's process ever held, in bytes.
    pub fn peak_memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }

    /// Packs on disk are those on record, as long as they should be, and nothing lies between them.
    #[track_caller]
    pub fn assert_tidy(&self) {
        let stats = self.program(&["admin", "stats", "--json", "--data"]).arg(self.path("data")).output().unwrap();
        assert!(stats.status.success(), "{}", text(&stats.stderr));
        let stats: Value = serde_json::from_slice(&stats.stdout).unwrap();
        let packs = sizes(&self.path("data/blobs/packs"));
        let bytes: u64 = packs.iter().map(|(_, size)| size).sum();
        let found = (packs.len() as u64, bytes);
        assert_eq!((stats["packs"].as_u64().unwrap(), stats["stored_bytes"].as_u64().unwrap()), found, "{packs:?}");
        assert!(packs.iter().all(|(path, _)| !path.to_string_lossy().contains('#')), "{packs:?}");
    }

    /// Counts rows of the embedded catalog.
    pub fn count_rows(&self, of: &str) -> u64 {
        let script = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])";
        let mut python = Command::new("python3");
        python.args(["-c", script]).arg(self.path("data/catalog.sqlite")).arg(format!("SELECT COUNT(*) FROM {of}"));
        text(&python.output().unwrap().stdout).trim().parse().unwrap()
    }

    /// The program in a clean environment.
    pub fn program(&self, arguments: &[&str]) -> Command {
        // `WH_BIN` names another build of the program, for long runs beside which the workspace is built anew.
        let program = env::var_os("WH_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_wh").into());
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.path("home")).env("WH_CACHE", self.path("cache")).args(arguments);
        command.env("WH_CONFIG_DIR", self.path("config")).env("NO_COLOR", "1").stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
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
        let first = self.hub.get_mut().ok().and_then(Option::take);
        let others = self.others.get_mut().map(std::mem::take).unwrap_or_default();
        first.into_iter().chain(others).for_each(kill);
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

/// Files below a folder, with their sizes in bytes.
pub fn sizes(folder: &Path) -> Vec<(PathBuf, u64)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let each = entries.flatten().flat_map(|entry| match entry.metadata().unwrap() {
        file if file.is_dir() => sizes(&entry.path()),
        file => vec![(entry.path(), file.len())],
    });
    each.collect()
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
