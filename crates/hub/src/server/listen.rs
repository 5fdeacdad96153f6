//! The serving loop: sockets in, answers out, until told to stop.
//!
//! HTTP/1.1 with keep-alive. Nobody can hold a connection by being slow: a head must arrive
//! within [`ListenOptions::head_timeout`] (this also ends idle connections), and a body must move
//! in either direction within [`ListenOptions::idle_timeout`].
//!
//! On shutdown the socket closes first, idle connections next; requests that are under way are
//! finished, and cut off after [`ListenOptions::drain_timeout`].

mod body;
mod stall;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tower::{Service, ServiceExt};

use body::TimedBody;
use stall::StallIo;

/// How patient the server is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListenOptions {
    /// Longest wait for the head of a request, from the end of the one before.
    pub head_timeout: Duration,
    /// Longest wait for the next bytes of a body, in either direction.
    pub idle_timeout: Duration,
    /// Longest wait for requests under way after a shutdown began.
    pub drain_timeout: Duration,
    /// Most connections at once; further ones wait in the system's queue.
    pub max_connections: usize,
    /// How much of a refused upload is read and thrown away, in bytes: a client that is still
    /// sending would otherwise see a broken connection instead of the answer.
    pub linger_bytes: u64,
}

impl Default for ListenOptions {
    /// 60 s for a head, 60 s for bytes, 30 s to drain, 4,096 connections, 128 MiB of linger.
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
            max_connections: 4096,
            linger_bytes: 128 << 20,
        }
    }
}

/// A bound socket that does not accept yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still busy when the drain time was over.
    pub cut_off: usize,
}

impl Listener {
    /// Binds a socket; port 0 takes any free port.
    ///
    /// # Errors
    /// What the system says: address in use, no permission, no such address.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// The address with its real port.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` resolves, then drains.
    pub async fn serve<S, F>(self, service: S, options: ListenOptions, shutdown: F) -> Drained
    where
        S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        F: Future<Output = ()>,
    {
        let mut shutdown = pin!(shutdown);
        let (stop, stopped) = watch::channel(false);
        let room = Arc::new(Semaphore::new(options.max_connections));
        let mut connections = JoinSet::new();
        loop {
            let next = async {
                let seat = Arc::clone(&room).acquire_owned().await;
                (seat, self.socket.accept().await)
            };
            let (seat, accepted) = tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                next = next => next,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (service, options) = (service.clone(), options.clone());
                    let stopped = stopped.clone();
                    connections.spawn(async move {
                        let _seat = seat;
                        connection((stream, peer.ip()), service, &options, stopped).await;
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: some will be free soon.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(self.socket);
        stop.send_replace(true);
        let drained = async { while connections.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(options.drain_timeout, drained).await.is_ok();
        let cut_off = if in_time { 0 } else { connections.len() };
        connections.shutdown().await;
        Drained { cut_off }
    }
}

/// The other end of the connection a request came by: the client, or the proxy before the hub.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

async fn connection<S>(
    (stream, peer): (TcpStream, IpAddr),
    service: S,
    options: &ListenOptions,
    mut stopped: watch::Receiver<bool>,
) where
    S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    // Answers are small or streamed in large pieces; neither gains from waiting for more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let used = Arc::new(AtomicBool::new(false));
    let mark = Arc::clone(&used);
    let (idle, linger) = (options.idle_timeout, options.linger_bytes);
    let handler = service_fn(move |request: Request<Incoming>| {
        mark.store(true, Ordering::Relaxed);
        let mut request = request.map(|body| TimedBody::wrap(body, idle, linger));
        request.extensions_mut().insert(Peer(peer));
        // In a task of its own, which goes on when the client has gone: an upload that was taken in whole is put on
        // record, and one that broke off is cleared away.
        let answer = tokio::spawn(service.clone().oneshot(request));
        async move {
            let Ok(response) = answer.await?;
            Ok::<Response, JoinError>(response)
        }
    });
    let io = TokioIo::new(StallIo::new(stream, idle));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.head_timeout)
        .serve_connection(io, handler);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = stop_told(&mut stopped) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None if !used.load(Ordering::Relaxed) => return,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Waits for the shutdown; a server that is gone counts as one.
async fn stop_told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|&stop| stop).await;
}
