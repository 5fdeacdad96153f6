//! Request bodies that are watched while they are sent.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

use super::error::ClientError;
use super::meter::Meter;
use super::retry::Patience;

/// Most bytes handed to the connection at once; progress is seen in steps of this size.
const FRAME_BYTES: usize = 64 << 10;

/// How much of one request has been handed to the connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch(Arc<Sent>);

#[derive(Debug, Default)]
struct Sent {
    bytes: AtomicU64,
    all: AtomicBool,
}

impl Watch {
    /// Counts bytes that are on their way.
    pub(super) fn add(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that the request was sent as a whole.
    pub(super) fn finish(&self) {
        self.0.all.store(true, Ordering::Relaxed);
    }

    /// Waits for `work`, but no longer than patience allows while nothing moves.
    pub(super) async fn guard<T>(
        &self,
        what: &str,
        patience: &Patience,
        work: impl Future<Output = T>,
    ) -> Result<T, ClientError> {
        tokio::pin!(work);
        let mut seen = (0, false);
        loop {
            let limit = if seen.1 { patience.answer } else { patience.stall };
            match tokio::time::timeout(limit, &mut work).await {
                Ok(done) => return Ok(done),
                Err(_) => {
                    let now = (self.0.bytes.load(Ordering::Relaxed), self.0.all.load(Ordering::Relaxed));
                    if now == seen {
                        return Err(stalled(what, limit));
                    }
                    seen = now;
                }
            }
        }
    }
}

pub(super) fn stalled(what: &str, limit: Duration) -> ClientError {
    ClientError::Stalled { what: what.to_owned(), seconds: limit.as_secs() }
}

/// A body of known length, made of pieces that can be sent again.
#[derive(Debug)]
pub(super) struct Pieces {
    left: VecDeque<Bytes>,
    left_bytes: u64,
    watch: Watch,
    meter: Meter,
}

impl Pieces {
    pub(super) fn new(pieces: impl IntoIterator<Item = Bytes>, watch: Watch, meter: Meter) -> Self {
        let left: VecDeque<Bytes> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        let left_bytes = left.iter().map(|piece| piece.len() as u64).sum();
        if left_bytes == 0 {
            watch.finish();
        }
        Self { left, left_bytes, watch, meter }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(front) = self.left.front_mut() else { return Poll::Ready(None) };
        let frame = front.split_to(front.len().min(FRAME_BYTES));
        if !front.has_remaining() {
            self.left.pop_front();
        }
        let sent = frame.len() as u64;
        self.left_bytes = self.left_bytes.saturating_sub(sent);
        self.meter.add_wire(sent);
        self.watch.add(sent);
        if self.left.is_empty() {
            self.watch.finish();
        }
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn impatient() -> Patience {
        Patience { stall: Duration::from_millis(30), answer: Duration::from_millis(60), ..Patience::default() }
    }

    #[tokio::test]
    async fn what_moves_is_waited_for_and_what_stands_is_not() {
        let watch = Watch::default();
        let moving = async {
            for _ in 0..6 {
                tokio::time::sleep(Duration::from_millis(15)).await;
                watch.add(1);
            }
            7
        };
        assert_eq!(watch.guard("sending", &impatient(), moving).await.unwrap(), 7);
        let standing = watch.guard("sending", &impatient(), std::future::pending::<()>()).await;
        assert!(matches!(standing, Err(ClientError::Stalled { .. })));
    }

    #[tokio::test]
    async fn a_body_knows_its_length_and_counts_what_leaves() {
        let (watch, meter) = (Watch::default(), Meter::new());
        let pieces = [Bytes::from(vec![1; 100_000]), Bytes::new(), Bytes::from_static(b"end")];
        let mut body = Pieces::new(pieces, watch.clone(), meter.clone());
        assert_eq!(body.size_hint().exact(), Some(100_003));
        let mut got = Vec::new();
        while let Poll::Ready(Some(Ok(frame))) =
            Pin::new(&mut body).poll_frame(&mut Context::from_waker(std::task::Waker::noop()))
        {
            got.extend_from_slice(&frame.into_data().unwrap());
        }
        assert_eq!((got.len(), meter.snapshot().wire_bytes), (100_003, 100_003));
        assert!(watch.0.all.load(Ordering::Relaxed) && body.is_end_stream());
    }
}
