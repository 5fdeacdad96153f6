//! Counts what a client sends: a TCP proxy before the hub.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Result;

/// A proxy on a port of its own; it lives as long as the program.
pub struct Meter {
    port: u16,
    sent_bytes: Arc<AtomicU64>,
}

impl Meter {
    /// Forwards a free loopback port to `hub`.
    pub fn start(hub: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let meter = Self { port: listener.local_addr()?.port(), sent_bytes: Arc::default() };
        let sent = Arc::clone(&meter.sent_bytes);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", hub)) else { continue };
                let (Ok(near_out), Ok(far_in)) = (near.try_clone(), far.try_clone()) else { continue };
                let (sent, received) = (Arc::clone(&sent), Arc::default());
                thread::spawn(move || carry(near, far, &sent));
                thread::spawn(move || carry(far_in, near_out, &received));
            }
        });
        Ok(meter)
    }

    /// Its address, for `HF_ENDPOINT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Bytes that clients have sent so far, heads of requests included.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::SeqCst)
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64) {
    let mut block = vec![0; 256 << 10];
    while let Ok(len @ 1..) = from.read(&mut block) {
        count.fetch_add(len as u64, Ordering::SeqCst);
        if to.write_all(&block[..len]).is_err() {
            break;
        }
    }
    // Either may be gone already.
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
