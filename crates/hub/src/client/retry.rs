//! How long to wait before the same call is made again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::error::ClientError;

/// How patient a client is. All fields have defaults that suit a hub across the world.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Patience {
    /// Calls in all before an error that may pass is given up on; at least 1.
    pub attempts: u32,
    /// As `attempts`, for a hub that has not answered once yet: its address may be wrong.
    pub first_attempts: u32,
    /// Longest wait before the second call; doubles from there.
    pub first_delay: Duration,
    /// Longest wait between two calls, unless the hub asks for more.
    pub max_delay: Duration,
    /// Longest wait that a hub may ask for.
    pub max_retry_after: Duration,
    /// Time to connect.
    pub connect: Duration,
    /// Time without a byte after which a transfer counts as stalled.
    pub stall: Duration,
    /// Time for an answer once a request was sent as a whole; hubs verify before they answer.
    pub answer: Duration,
}

impl Default for Patience {
    /// 9 calls over about a minute, 3 to a hub that never answered, 10 s to connect, 30 s without a byte, 10 min for an answer to an upload.
    fn default() -> Self {
        Self {
            attempts: 9,
            first_attempts: 3,
            first_delay: Duration::from_millis(400),
            max_delay: Duration::from_secs(20),
            max_retry_after: Duration::from_secs(300),
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            answer: Duration::from_secs(600),
        }
    }
}

/// Counts the calls of one purpose.
#[derive(Debug)]
pub(super) struct Retry<'a> {
    patience: &'a Patience,
    /// Whether the hub has ever answered.
    reached: &'a AtomicBool,
    failed: u32,
}

impl<'a> Retry<'a> {
    pub(super) fn new(patience: &'a Patience, reached: &'a AtomicBool) -> Self {
        Self { patience, reached, failed: 0 }
    }

    /// Starts over: something was achieved since the last failure.
    pub(super) fn reset(&mut self) {
        self.failed = 0;
    }

    /// Waits before the next call, or gives the error back when there should be none.
    pub(super) async fn pause(&mut self, error: ClientError) -> Result<(), ClientError> {
        self.failed += 1;
        let reached = self.reached.load(Ordering::Relaxed);
        let attempts = if reached { self.patience.attempts } else { self.patience.first_attempts };
        if !error.may_pass() || self.failed >= attempts {
            return Err(error);
        }
        let delay = delay(self.patience, self.failed, error.retry_after(), random());
        tracing::debug!(error = %error, delay_ms = delay.as_millis(), failed = self.failed, "trying again");
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

/// Wait after the `failed`-th failure: doubling, capped, the upper half of it by chance; never less than the hub asks.
fn delay(patience: &Patience, failed: u32, asked: Option<Duration>, random: u64) -> Duration {
    let doubled = patience.first_delay.saturating_mul(1u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX));
    let longest = doubled.min(patience.max_delay);
    let share = (random >> 11) as f64 / (1u64 << 53) as f64;
    let jittered = longest.mul_f64(0.5 + share / 2.0);
    jittered.max(asked.unwrap_or_default().min(patience.max_retry_after))
}

/// Reads `Retry-After` in seconds; dates are not understood, as with the other clients.
pub(super) fn parse_retry_after(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness the waits are merely less spread.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn retry_after_counts_seconds_only() {
        assert_eq!(parse_retry_after(" 7 "), Some(Duration::from_secs(7)));
        for other in ["", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(parse_retry_after(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn waits_are_bounded_and_heed_the_hub(failed in 1u32..=u32::MAX, asked in proptest::option::of(0u64..=u64::MAX), random: u64) {
            let patience = Patience::default();
            let asked = asked.map(Duration::from_secs);
            let wait = delay(&patience, failed, asked, random);
            prop_assert!(wait >= patience.first_delay / 2);
            prop_assert!(wait >= asked.unwrap_or_default().min(patience.max_retry_after));
            prop_assert!(wait <= patience.max_delay.max(patience.max_retry_after));
        }
    }
}
