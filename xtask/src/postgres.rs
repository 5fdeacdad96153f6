//! A PostgreSQL server of our own for the time of a test run.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::{apt, shell};

/// A running server; stopped and deleted on drop.
pub struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
}

impl Postgres {
    /// Installs PostgreSQL if it is missing and starts an empty cluster on a free loopback port.
    ///
    /// The cluster does not survive a power cut (`fsync` is off), because it does not survive the run either.
    pub fn start() -> Result<Self> {
        let programs = match programs() {
            Some(programs) => programs,
            None => {
                apt::install("postgresql", "the catalog's tests on PostgreSQL")?;
                programs().context("`postgresql` is installed, but has no initdb")?
            }
        };
        let folder = tempfile::Builder::new().prefix("weighthouse-postgres-").tempdir()?;
        if is_root()? {
            shell::read(Command::new("chown").arg("postgres").arg(folder.path()))?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let server = Self { folder, programs, port };
        let data = server.data();
        shell::read(
            server.program("initdb")?.args(["--username=postgres", "--auth=trust", "--no-sync", "-D"]).arg(&data),
        )?;
        let settings = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c fsync=off -c max_connections=200",
            server.folder.path().display()
        );
        let log = server.folder.path().join("log");
        shell::run(
            server.program("pg_ctl")?.args(["start", "-w", "-s", "-o", &settings, "-l"]).arg(&log).arg("-D").arg(&data),
        )?;
        Ok(server)
    }

    /// Address of its default database.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A program of PostgreSQL, as a user that it accepts: it refuses root.
    fn program(&self, name: &str) -> Result<Command> {
        let path = self.programs.join(name);
        let mut command = if is_root()? {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command.current_dir(self.folder.path());
        Ok(command)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let stopped = self.program("pg_ctl").and_then(|mut stop| {
            shell::read(stop.args(["stop", "-w", "-s", "-m", "immediate", "-D"]).arg(self.data()))
        });
        if let Err(error) = stopped {
            shell::complain(&format!("warning: PostgreSQL still runs in {}: {error:#}", self.folder.path().display()));
        }
    }
}

/// The newest folder with server programs; Debian keeps them out of `PATH`.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let debian = versions.flatten().map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = debian.chain(std::env::split_paths(&path)).filter(|bin| has_server(bin)).collect();
    found.sort();
    found.pop()
}

fn has_server(bin: &Path) -> bool {
    bin.join("initdb").is_file() && bin.join("pg_ctl").is_file()
}

fn is_root() -> Result<bool> {
    Ok(shell::read(Command::new("id").arg("-u"))?.trim() == "0")
}
