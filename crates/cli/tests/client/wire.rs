//! Raw requests, for what our own client never does.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// A hub, and who asks it.
#[derive(Clone)]
pub struct Wire {
    pub port: u16,
    pub token: String,
}

/// One response, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!((200..300).contains(&self.status), "{}", self.shown());
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.shown()))
    }

    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        let fits = |line: &&str| line.split(':').next().unwrap().eq_ignore_ascii_case(name);
        self.head.lines().skip(1).find(fits).map_or("", |line| line.split_once(':').unwrap().1.trim())
    }

    pub fn shown(&self) -> String {
        format!("{}\n{}", self.head, String::from_utf8_lossy(&self.body[..self.body.len().min(2_000)]))
    }
}

impl Wire {
    pub fn get(&self, path: &str) -> io::Result<Answer> {
        self.ask("GET", path, b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> io::Result<Answer> {
        self.ask("POST", path, body.to_string().as_bytes())
    }

    pub fn ask(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        self.stream(method, path, body.len() as u64, body)
    }

    /// The same hub by another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { port: self.port, token: token.to_owned() }
    }

    /// Sends a request whose body is read as it goes, and reads the answer whole.
    ///
    /// # Errors
    /// When the connection breaks before the answer is complete.
    pub fn stream(&self, method: &str, path: &str, len: u64, mut body: impl Read) -> io::Result<Answer> {
        let mut hub = self.begin(method, path, len)?;
        // A hub that refuses answers before it has read everything.
        let sent = io::copy(&mut body, &mut hub);
        let mut answer = Vec::new();
        match (sent, hub.read_to_end(&mut answer)) {
            (Err(error), _) if answer.is_empty() => return Err(error),
            (Ok(_), Err(error)) => return Err(error),
            _ => {}
        }
        read(method, &answer)
    }

    /// Opens a connection and sends the head of a request.
    pub fn begin(&self, method: &str, path: &str, len: u64) -> io::Result<TcpStream> {
        let host = format!("127.0.0.1:{}", self.port);
        let path = path.strip_prefix(&format!("http://{host}")).unwrap_or(path);
        let mut hub = TcpStream::connect(("127.0.0.1", self.port))?;
        hub.set_read_timeout(Some(Duration::from_secs(120)))?;
        // HTTP/1.0: the body of the answer comes in one piece and ends with the connection.
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {len}\r\n\r\n",
            self.token
        );
        hub.write_all(head.as_bytes())?;
        Ok(hub)
    }
}

fn read(method: &str, answer: &[u8]) -> io::Result<Answer> {
    let cut_off = || io::Error::new(io::ErrorKind::UnexpectedEof, "the answer is cut off");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(cut_off)?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(cut_off)?;
    let answer = Answer { status, head, body: answer[end + 4..].to_vec() };
    let promised = answer.header("content-length").parse().unwrap_or(answer.body.len());
    if method != "HEAD" && answer.body.len() != promised {
        return Err(cut_off());
    }
    Ok(answer)
}
