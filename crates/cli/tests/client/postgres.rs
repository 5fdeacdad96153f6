//! A PostgreSQL server that goes away and comes back.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use weighthouse_testkit::noise;

use crate::roads;
use crate::wire::Answer;
use crate::world::{World, text, wait_until};

#[test]
fn a_database_that_goes_away_is_a_503_and_nothing_acknowledged_is_lost() {
    let Some(database) = Database::create() else {
        assert!(std::env::var_os("WH_TEST_POSTGRES").is_none(), "where PostgreSQL runs, its programs are");
        println!("not run: PostgreSQL is not installed");
        return;
    };
    database.start();
    let world = World::with(&["--database", &database.url()], &[]);
    let hub = world.wire();
    roads::create(&hub, "admin/m");
    let data = noise(1, 3_000_000);
    let kept = [
        roads::plain(&hub, "admin/m", "a.txt", "a").unwrap(),
        roads::lfs(&hub, "admin/m", "lfs.bin", &data).unwrap(),
        roads::xet(&hub, "admin/m", "xet.bin", &noise(2, 3_000_000)).unwrap(),
    ];
    let late = noise(3, 4_000_000);
    let address = roads::lfs_address(&hub, "admin/m", &late).unwrap().unwrap();
    let mut upload = hub.begin("PUT", &address, late.len() as u64).unwrap();
    upload.write_all(&late[..2_000_000]).unwrap();

    database.stop();
    let began = Instant::now();
    let half = move || -> std::io::Result<String> {
        upload.write_all(&late[2_000_000..])?;
        let mut answer = String::new();
        upload.read_to_string(&mut answer)?;
        Ok(answer)
    };
    thread::scope(|scope| {
        let half = scope.spawn(half);
        let asked = [
            scope.spawn(|| roads::commit(&hub, "admin/m", &roads::plain_line("b.txt", "b"))),
            scope.spawn(|| hub.get("/admin/m/resolve/main/a.txt")),
            scope.spawn(|| hub.get("/api/models/admin/m")),
            scope.spawn(|| hub.ask("PUT", &address, &noise(3, 4_000_000))),
            scope.spawn(|| hub.get("/readyz")),
        ];
        assert_eq!(hub.get("/healthz").unwrap().status, 200, "the hub itself is well");
        asked.into_iter().for_each(|asked| assert_unavailable(&asked.join().unwrap().unwrap()));
        let half = half.join().unwrap().unwrap();
        assert!(half.starts_with("HTTP/1.0 503"), "{half}");
    });
    assert!(began.elapsed() < Duration::from_secs(30), "nobody waits for ever");

    database.start();
    wait_until("the hub is ready again", || hub.get("/readyz").unwrap().status == 200);
    for file in &kept {
        file.check(&hub);
    }
    roads::lfs(&hub, "admin/m", "late.bin", &noise(3, 4_000_000)).unwrap().check(&hub);
    roads::plain(&hub, "admin/m", "b.txt", "b").unwrap().check(&hub);
    world.kill_hub();
    world.start_hub();
    for file in &kept {
        file.check(&hub);
    }
}

#[track_caller]
fn assert_unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.shown());
    assert!(answer.header("retry-after").parse::<u32>().is_ok(), "{}", answer.shown());
    let said = answer.json()["error"].as_str().unwrap().to_owned();
    assert!(said.contains("database") || said.contains("catalog"), "{said}");
}

/// An empty database, where `WH_TEST_POSTGRES` names a server.
pub fn fresh_database(name: &str) -> Option<String> {
    let Ok(server) = std::env::var("WH_TEST_POSTGRES") else {
        println!("not run: WH_TEST_POSTGRES is not set");
        return None;
    };
    let name = format!("wh_cli_{name}");
    for sql in [format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), format!("CREATE DATABASE {name}")] {
        // Two tests that create databases at once collide on the template.
        wait_until(&sql, || Command::new("psql").args([&server, "-q", "-c", &sql]).status().unwrap().success());
    }
    Some(format!("{}/{name}", server.rsplit_once('/').unwrap().0))
}

/// A cluster of our own, stopped and deleted on drop.
struct Database {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
}

impl Database {
    /// Makes an empty cluster, where PostgreSQL is installed.
    fn create() -> Option<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("weighthouse-postgres-").tempdir().unwrap();
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let database = Self { folder, programs, port };
        let flags = ["--username=postgres", "--auth=trust", "--no-sync", "-D"];
        run(database.program("initdb").args(flags).arg(database.folder.path().join("data")));
        Some(database)
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn start(&self) {
        let folder = self.folder.path().display();
        let settings =
            format!("-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off", self.port);
        let log = self.folder.path().join("log");
        run(self.control("start").args(["-o", &settings, "-l"]).arg(log));
    }

    /// Ends it at once, as a crash would.
    fn stop(&self) {
        run(self.control("stop").args(["-m", "immediate"]));
    }

    fn control(&self, verb: &str) -> Command {
        let mut command = self.program("pg_ctl");
        command.args([verb, "-w", "-s", "-D"]).arg(self.folder.path().join("data"));
        command
    }

    /// A program of PostgreSQL, as a user that it accepts: it refuses root.
    fn program(&self, name: &str) -> Command {
        let path = self.programs.join(name);
        let mut command = Command::new(if is_root() { Path::new("runuser") } else { &path });
        if is_root() {
            command.args(["-u", "postgres", "--"]).arg(&path);
        }
        command.current_dir(self.folder.path());
        command
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = self.control("stop").args(["-m", "immediate"]).output();
    }
}

/// The newest folder with server programs; Debian keeps them out of `PATH`.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = versions.map(|version| version.path().join("bin")).chain(std::env::split_paths(&path));
    folders.filter(|bin| bin.join("initdb").is_file() && bin.join("pg_ctl").is_file()).max()
}

fn is_root() -> bool {
    text(&Command::new("id").arg("-u").output().unwrap().stdout).trim() == "0"
}

/// Runs a program to its end. What it starts may stay, so its output goes nowhere that we would wait for.
#[track_caller]
fn run(command: &mut Command) {
    let status = command.stdout(std::process::Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
