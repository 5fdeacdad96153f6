//! How far a transfer has come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What a transfer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Phase {
    /// Looking at what there is on both sides.
    Planning = 0,
    /// Hashing what is here, to leave it out.
    Checking = 1,
    /// Moving bytes.
    Moving = 2,
    /// Making the result visible.
    Committing = 3,
}

/// Numbers of one transfer, shared between it and whoever shows them. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    phase: AtomicU8,
    files_total: AtomicU64,
    files_done: AtomicU64,
    bytes_total: AtomicU64,
    bytes_done: AtomicU64,
    wire_bytes: AtomicU64,
}

/// A [`Meter`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// What is going on.
    pub phase: Phase,
    /// Files of the current phase.
    pub files_total: u64,
    /// Files of it that are done.
    pub files_done: u64,
    /// Content bytes of the current phase.
    pub bytes_total: u64,
    /// Content bytes of it that are done, wherever they came from.
    pub bytes_done: u64,
    /// Bytes of content that went over the wire so far, repeats included.
    pub wire_bytes: u64,
}

impl Meter {
    /// A meter at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The numbers now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Snapshot {
            phase: match self.0.phase.load(Ordering::Relaxed) {
                0 => Phase::Planning,
                1 => Phase::Checking,
                2 => Phase::Moving,
                _ => Phase::Committing,
            },
            files_total: read(&self.0.files_total),
            files_done: read(&self.0.files_done),
            bytes_total: read(&self.0.bytes_total),
            bytes_done: read(&self.0.bytes_done),
            wire_bytes: read(&self.0.wire_bytes),
        }
    }

    /// Begins a phase; its counts start at zero, the wire's go on.
    pub(super) fn begin(&self, phase: Phase, files: u64, bytes: u64) {
        self.0.files_done.store(0, Ordering::Relaxed);
        self.0.bytes_done.store(0, Ordering::Relaxed);
        self.0.files_total.store(files, Ordering::Relaxed);
        self.0.bytes_total.store(bytes, Ordering::Relaxed);
        self.0.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(super) fn add_bytes(&self, bytes: u64) {
        self.0.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes back bytes that turned out to be wrong.
    pub(super) fn take_back_bytes(&self, bytes: u64) {
        let _ = self
            .0
            .bytes_done
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |done| Some(done.saturating_sub(bytes)));
    }

    pub(super) fn add_file(&self) {
        self.0.files_done.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_wire(&self, bytes: u64) {
        self.0.wire_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_starts_at_zero_and_the_wire_goes_on() {
        let meter = Meter::new();
        let shared = meter.clone();
        shared.begin(Phase::Moving, 2, 10);
        shared.add_bytes(7);
        shared.take_back_bytes(9);
        shared.add_file();
        shared.add_wire(5);
        let seen = meter.snapshot();
        assert_eq!((seen.phase, seen.files_done, seen.bytes_done, seen.wire_bytes), (Phase::Moving, 1, 0, 5));
        meter.begin(Phase::Committing, 1, 1);
        assert_eq!((meter.snapshot().files_done, meter.snapshot().wire_bytes), (0, 5));
    }
}
