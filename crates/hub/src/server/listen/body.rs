//! Request bodies that do not wait forever, and that let a refused client finish its sentence.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Longest time spent on throwing the rest of a body away.
const LINGER: Duration = Duration::from_secs(10);

/// A body that fails when no bytes come for a while.
pub(super) struct TimedBody {
    /// `None` only after the body was dropped.
    inner: Option<Incoming>,
    idle: Duration,
    linger_bytes: u64,
    /// Made when the first wait begins: most bodies never wait.
    timer: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl TimedBody {
    pub(super) fn wrap(inner: Incoming, idle: Duration, linger_bytes: u64) -> Body {
        if inner.is_end_stream() {
            return Body::empty();
        }
        Body::new(Self { inner: Some(inner), idle, linger_bytes, timer: None, ended: false })
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) {
            this.timer = None;
            this.ended = !matches!(frame, Some(Ok(_)));
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let idle = this.idle;
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + idle)));
        ready!(timer.as_mut().poll(cx));
        this.ended = true;
        let error = io::Error::new(io::ErrorKind::TimedOut, "no bytes of the body came for a while");
        Poll::Ready(Some(Err(error.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl Drop for TimedBody {
    /// Reads on in the background when a handler answered before the end of the body.
    fn drop(&mut self) {
        let Some(mut inner) = self.inner.take() else {
            return;
        };
        let small = inner.size_hint().lower() <= self.linger_bytes;
        if self.ended || inner.is_end_stream() || !small {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let mut left = self.linger_bytes;
        runtime.spawn(tokio::time::timeout(LINGER, async move {
            while let Some(Ok(frame)) = inner.frame().await {
                let count = frame.data_ref().map_or(0, |data| data.len() as u64);
                match left.checked_sub(count) {
                    Some(rest) => left = rest,
                    None => break,
                }
            }
        }));
    }
}
