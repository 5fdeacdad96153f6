//! A bar on stderr while a transfer runs: after a quarter of a second, for people only, gone without a trace.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use weighthouse_hub::client::{Meter, Phase, Snapshot};

use crate::exit::Hinted;

/// Nothing is shown before.
const QUIET_FOR: Duration = Duration::from_millis(250);
/// Time between two looks at the numbers.
const EVERY: Duration = Duration::from_millis(100);
const BYTES: &str = "{msg:<22} {wide_bar} {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta} left";
const FILES: &str = "{msg:<22} {wide_bar} {pos}/{len}";
const SPINNER: &str = "{msg} {spinner}";

/// Runs a transfer and shows how far it is, unless `silent` or nobody looks. An interrupt ends it cleanly.
///
/// # Errors
/// Those of the transfer; an interrupt, with exit code 130.
pub async fn shown<T>(
    meter: &Meter,
    silent: bool,
    transfer: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let visible = !silent && std::io::stderr().is_terminal();
    let bar = Bar::new(visible);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(transfer, interrupted);
    let mut next = tokio::time::interval_at(tokio::time::Instant::now() + QUIET_FOR, EVERY);
    let mut phase = None;
    let done = loop {
        tokio::select! {
            done = &mut transfer => break done,
            _ = &mut interrupted => {
                let hints = vec!["run the same command again: it goes on where it was".to_owned()];
                break Err(Hinted { message: "interrupted".to_owned(), hints, code: 130 }.into());
            }
            _ = next.tick(), if visible => bar.show(meter.snapshot(), &mut phase),
        }
    };
    bar.0.finish_and_clear();
    done
}

/// A bar over bytes that threads read.
#[derive(Debug)]
pub struct Bytes {
    bar: Bar,
    verb: &'static str,
    began: Instant,
    done: AtomicU64,
    shown: AtomicBool,
}

impl Bytes {
    /// Shows nothing if `silent` or nobody looks.
    pub fn new(silent: bool, verb: &'static str) -> Self {
        let bar = Bar::new(!silent && std::io::stderr().is_terminal());
        Self { bar, verb, began: Instant::now(), done: AtomicU64::new(0), shown: AtomicBool::new(false) }
    }

    /// Counts bytes out of `total`.
    pub fn add(&self, bytes: u64, total: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if self.began.elapsed() < QUIET_FOR {
            return;
        }
        if !self.shown.swap(true, Ordering::Relaxed) {
            if let Ok(style) = ProgressStyle::with_template(BYTES) {
                self.bar.0.set_style(style.progress_chars("=> "));
            }
            self.bar.0.set_message(self.verb);
            self.bar.0.set_length(total);
        }
        self.bar.0.set_position(done.min(total));
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.0.finish_and_clear();
    }
}

#[derive(Debug)]
struct Bar(ProgressBar);

impl Bar {
    fn new(visible: bool) -> Self {
        let target = if visible { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
        Self(ProgressBar::with_draw_target(None, target))
    }

    fn show(&self, now: Snapshot, phase: &mut Option<Phase>) {
        let by_bytes = now.bytes_total > 0;
        let (done, total) =
            if by_bytes { (now.bytes_done, now.bytes_total) } else { (now.files_done, now.files_total) };
        self.0.set_message(words(&now));
        self.0.set_length(total);
        if *phase != Some(now.phase) {
            *phase = Some(now.phase);
            let template = match (by_bytes, now.files_total > 0) {
                (true, _) => BYTES,
                (false, true) => FILES,
                (false, false) => SPINNER,
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                self.0.set_style(style.progress_chars("=> "));
            }
            self.0.reset();
            self.0.set_position(done.min(total));
            // What came before the first look says nothing about the rate.
            self.0.reset_eta();
        }
        self.0.set_position(done.min(total));
    }
}

fn words(now: &Snapshot) -> String {
    let verb = match now.phase {
        Phase::Planning => return "looking".to_owned(),
        Phase::Checking => "checking",
        Phase::Moving => "moving",
        _ => "committing",
    };
    let noun = if now.files_total == 1 { "file" } else { "files" };
    format!("{verb} {} {noun}", now.files_total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_understood() {
        for template in [BYTES, FILES, SPINNER] {
            ProgressStyle::with_template(template).unwrap();
        }
    }

    #[tokio::test]
    async fn a_hidden_bar_does_not_hold_anything_up() {
        let done = shown(&Meter::new(), true, async { Ok(7) }).await.unwrap();
        assert_eq!(done, 7);
    }
}
