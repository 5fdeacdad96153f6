//! The cheapest HTTP client there is, so that what is measured is the server.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail};

/// Something on a loopback port.
#[derive(Clone, Debug)]
pub struct Place {
    /// Port of the server.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// Bearer token, if any.
    pub token: String,
}

impl Place {
    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.port, self.path)
    }

    /// Downloads and drops `expected` bytes.
    ///
    /// # Errors
    /// When the answer has another status than 200 or another length.
    pub fn download(&self, expected: u64) -> Result<()> {
        let mut server = self.begin("GET", 0, "")?;
        let mut block = vec![0; 256 << 10];
        let mut head = Vec::new();
        let mut body = 0;
        loop {
            let len = server.read(&mut block)?;
            if len == 0 {
                break;
            }
            if body > 0 {
                body += len as u64;
                continue;
            }
            head.extend_from_slice(&block[..len]);
            if let Some(end) = end_of_head(&head) {
                body = (head.len() - end) as u64;
            }
        }
        let status = String::from_utf8_lossy(&head).chars().take(12).collect::<String>();
        if !status.ends_with(" 200") || body != expected {
            bail!("{}: {body} of {expected} bytes, {status}", self.url());
        }
        Ok(())
    }

    /// The `len` bytes from `begin` on.
    ///
    /// # Errors
    /// When the answer has another status than 206 or another length.
    pub fn range(&self, begin: u64, len: u64) -> Result<Vec<u8>> {
        let mut server = self.begin("GET", 0, &format!("Range: bytes={begin}-{}\r\n", begin + len - 1))?;
        let mut answer = Vec::with_capacity(len as usize + 4096);
        server.read_to_end(&mut answer)?;
        let end = end_of_head(&answer).context("the answer is cut off")?;
        let body = answer.split_off(end);
        let status = String::from_utf8_lossy(&answer).chars().take(12).collect::<String>();
        if !status.ends_with(" 206") || body.len() as u64 != len {
            bail!("{}: {} of {len} bytes from {begin} on, {status}", self.url(), body.len());
        }
        Ok(body)
    }

    /// Sends a body and returns the answer's.
    ///
    /// # Errors
    /// When the answer has another status than 2xx; its body is in the message.
    pub fn send(&self, method: &str, len: u64, mut body: impl Read) -> Result<Vec<u8>> {
        let mut server = self.begin(method, len, "")?;
        std::io::copy(&mut body, &mut server)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        let end = end_of_head(&answer).context("the answer is cut off")?;
        let body = answer.split_off(end);
        if !answer.starts_with(b"HTTP/1.0 2") && !answer.starts_with(b"HTTP/1.1 2") {
            bail!("{}: {}{}", self.url(), String::from_utf8_lossy(&answer), String::from_utf8_lossy(&body));
        }
        Ok(body)
    }

    fn begin(&self, method: &str, len: u64, extra: &str) -> Result<TcpStream> {
        let mut server = TcpStream::connect(("127.0.0.1", self.port)).with_context(|| self.url())?;
        let authorization = match self.token.as_str() {
            "" => String::new(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        // HTTP/1.0: the body is not framed and ends with the connection.
        let head = format!(
            "{method} {} HTTP/1.0\r\nHost: 127.0.0.1:{}\r\n{authorization}Content-Type: application/json\r\n\
             Content-Length: {len}\r\n{extra}\r\n",
            self.path, self.port
        );
        server.write_all(head.as_bytes())?;
        Ok(server)
    }
}

fn end_of_head(answer: &[u8]) -> Option<usize> {
    answer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}
