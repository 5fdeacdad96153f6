//! nginx with Debian's build and a plain configuration, serving a folder.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::http::Place;
use crate::{apt, shell};

/// A running server; stopped on drop.
pub struct Nginx {
    server: Child,
    port: u16,
}

/// Installs nginx, if it is missing.
///
/// # Errors
/// When it cannot be installed.
pub fn install() -> Result<()> {
    let found = ["/usr/sbin/nginx", "/usr/bin/nginx"].iter().any(|path| Path::new(path).exists());
    if found { Ok(()) } else { apt::install("nginx", "a benchmark") }
}

impl Nginx {
    /// Serves the files of `folder`.
    pub fn start(folder: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let place = folder.join("nginx");
        std::fs::create_dir_all(&place)?;
        let shown = folder.display();
        // As root it would serve as another user, who may not enter the folder.
        let user = if shell::read(Command::new("id").arg("-u"))?.trim() == "0" { "user root;" } else { "" };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|what| format!("{what}_temp_path {shown}/nginx/{what};\n"))
            .collect();
        let settings = format!(
            "{user}\nworker_processes auto;\npid {shown}/nginx/pid;\nerror_log {shown}/nginx/log;\ndaemon off;\n\
             events {{}}\nhttp {{\naccess_log off;\nsendfile on;\ntcp_nopush on;\n{temporary}\
             server {{ listen 127.0.0.1:{port}; root {shown}; }}\n}}\n"
        );
        let file = place.join("nginx.conf");
        std::fs::write(&file, settings)?;
        let mut command = Command::new("nginx");
        command.arg("-e").arg(place.join("log")).arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
        let mut nginx = Self { server: command.spawn().context("starting nginx")?, port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if began.elapsed() > Duration::from_secs(20) || nginx.server.try_wait()?.is_some() {
                bail!("nginx does not answer");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(nginx)
    }

    /// A path on it.
    pub fn place(&self, path: &str) -> Place {
        Place { port: self.port, path: path.to_owned(), token: String::new() }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Not SIGKILL: its workers would stay.
        let stop = Command::new("kill").args(["-s", "TERM", &self.server.id().to_string()]).status();
        if let Err(error) = stop.and_then(|_| self.server.wait()) {
            shell::complain(&format!("warning: nginx on port {} still runs: {error}", self.port));
        }
    }
}
