//! The job: plans a conversion and pours its bytes into the store.
//!
//! ```text
//!   blocking thread              task                        this future
//!   plan, pour ── pieces ──► Ingest: chunks, packs           progress into the row, once a second
//! ```
//! The task owns the unfinished pack. Whatever ends the others ends it too, by a channel that closes, and then it removes
//! what it wrote.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::MissedTickBehavior;
use weighthouse_store::blob::Ingest;
use weighthouse_store::catalog::{Content, ConversionKey, ConversionOutput, ConversionRecord, Job};
use weighthouse_store::{Store, StoreError};

use super::over;
use crate::checkpoints::stored::StoredFolder;
use crate::checkpoints::task;
use crate::convert::{self, Options, Record};
use crate::jobs::MOST_ATTEMPTS;
use crate::{Error, ErrorKind, Hub};

/// Bytes that are handed to the store at once.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces that wait for the store.
const PIECES: usize = 4;
/// How often progress is noted.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// What is handed to the store.
enum Piece {
    /// The next bytes of a file.
    Bytes(Bytes),
    /// The file is complete.
    EndOfFile,
    /// All files are complete.
    End,
}

/// How far a conversion is, and whether to go on.
#[derive(Default)]
struct Meter {
    done_bytes: AtomicU64,
    total_bytes: AtomicU64,
    is_given_up: AtomicBool,
}

/// Tells the blocking thread when nobody waits for it any more.
struct GiveUp(Arc<Meter>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.is_given_up.store(true, Ordering::Relaxed);
    }
}

impl Hub {
    /// Does the work of a job: makes a conversion and puts it on record. Once more is no harm.
    pub(crate) async fn carry_out_conversion(&self, job: &Job) -> Result<(), Error> {
        let Some(key) = ConversionKey::of_subject(&job.subject) else { return Ok(()) };
        let conversions = self.catalog().conversions();
        let Some(asked) = conversions.get(&key).await? else { return Ok(()) };
        if !asked.record.is_empty() || !asked.error.is_empty() {
            return Ok(());
        }
        match self.make(&asked).await {
            Ok((outputs, record)) => {
                conversions.finish(&key, &outputs, &record, self.now_ms()).await?;
                tracing::info!(repo = %key.repo, name = asked.asked.name, "converted a checkpoint");
                Ok(())
            }
            Err(error) if self.is_stopping() => Err(error),
            // The files are what is wrong, and they stay so.
            Err(error) if matches!(error.kind(), ErrorKind::Malformed | ErrorKind::NotFound) => {
                conversions.refuse(&key, &error.to_string()).await?;
                Ok(())
            }
            Err(error) if job.attempts >= MOST_ATTEMPTS => {
                tracing::error!(job.subject, %error, "a conversion is given up");
                conversions.refuse(&key, "it was tried several times and did not succeed").await?;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn make(&self, asked: &ConversionRecord) -> Result<(Vec<ConversionOutput>, String), Error> {
        let (key, asked) = (&asked.asked.key, &asked.asked);
        let options: Options =
            serde_json::from_str(&asked.options).map_err(|error| Error::Malformed(error.to_string()))?;
        let revision = self.known_commit(&key.repo, asked.commit).await?;
        let (prefix, file) = self.split(&revision, &asked.path).await?;
        let folder = StoredFolder::of(self, &revision, &prefix, u64::MAX).await?;
        let meter = Arc::new(Meter::default());
        let _give_up = GiveUp(Arc::clone(&meter));
        let (sender, receiver) = channel(PIECES);
        let taker = tokio::spawn(take_in(self.store().clone(), receiver));
        let mut pourer = tokio::task::spawn_blocking({
            let (hub, meter, name) = (self.clone(), Arc::clone(&meter), asked.name.clone());
            move || {
                over(&folder, file.as_deref(), |source| {
                    let plan = convert::plan(source, &options, Some(&name))?;
                    meter.total_bytes.store(plan.size_bytes(), Ordering::Relaxed);
                    pour(source, &plan, &sender, &|| hub.is_stopping(), &meter)
                })
            }
        });
        let mut ticks = tokio::time::interval(NOTE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let poured = loop {
            tokio::select! {
                poured = &mut pourer => break poured.map_err(task)?,
                _ = ticks.tick() => {
                    let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
                    let (done, total) = (read(&meter.done_bytes), read(&meter.total_bytes));
                    if total > 0 {
                        self.catalog().conversions().advance(key, done, total).await?;
                    }
                }
            }
        };
        let taken = taker.await.map_err(task)?;
        let (record, contents) = match (poured, taken) {
            (Ok(record), Ok(contents)) => (record, contents),
            // The other side only says that nobody takes, or gives, any more.
            (Err(Error::Busy { .. }) | Ok(_), Err(error)) => return Err(error.into()),
            (Err(error), _) => return Err(error),
        };
        let outputs = compare(&record, &contents)?;
        let mut json = serde_json::to_string_pretty(&record).map_err(|error| Error::Malformed(error.to_string()))?;
        json.push('\n');
        Ok((outputs, json))
    }
}

/// Pours a plan into a channel. On a blocking thread.
fn pour(
    source: &crate::source::Source<'_>,
    plan: &convert::Plan,
    sender: &Sender<Piece>,
    is_stopping: &dyn Fn() -> bool,
    meter: &Meter,
) -> Result<Record, Error> {
    let send = |piece: Piece| {
        if meter.is_given_up.load(Ordering::Relaxed) || is_stopping() {
            return Err(Error::Busy { what: "converting checkpoints" });
        }
        sender.blocking_send(piece).map_err(|_| Error::Busy { what: "converting checkpoints" })
    };
    let mut ended = 0;
    let record = convert::pour(
        source,
        plan,
        &mut |number, bytes| {
            // A file without bytes is told by the number of the next.
            while ended < number {
                send(Piece::EndOfFile)?;
                ended += 1;
            }
            for part in bytes.chunks(PIECE_BYTES) {
                send(Piece::Bytes(Bytes::copy_from_slice(part)))?;
            }
            Ok(())
        },
        &|bytes, _| {
            meter.done_bytes.fetch_add(bytes, Ordering::Relaxed);
        },
    )?;
    while ended < plan.files.len() {
        send(Piece::EndOfFile)?;
        ended += 1;
    }
    send(Piece::End)?;
    Ok(record)
}

/// Takes pieces into the store, until all came or no more come; in the latter case nothing of them stays.
async fn take_in(store: Store, mut pieces: Receiver<Piece>) -> Result<Vec<Content>, StoreError> {
    let mut ingest = Ingest::new(&store);
    let mut taken = Err(StoreError::Task("a conversion ended early".to_owned()));
    while let Some(piece) = pieces.recv().await {
        let done = match piece {
            Piece::Bytes(bytes) => ingest.push(bytes).await,
            Piece::EndOfFile => ingest.end_file().await.map(drop),
            Piece::End => {
                taken = Ok(());
                break;
            }
        };
        if let Err(error) = done {
            taken = Err(error);
            break;
        }
    }
    match taken {
        Ok(()) => ingest.finish_apart().await,
        Err(error) => {
            ingest.abort().await;
            Err(error)
        }
    }
}

/// What was stored, which must be what was written.
fn compare(record: &Record, contents: &[Content]) -> Result<Vec<ConversionOutput>, Error> {
    let mut outputs = Vec::with_capacity(contents.len());
    for (written, content) in record.outputs.iter().zip(contents) {
        let content = content.record;
        if written.sha256 != content.sha256.to_string() || written.size_bytes != content.size_bytes {
            let detail = format!("{} was written, {} is stored", written.sha256, content.sha256);
            return Err(Error::Store(StoreError::Corrupt {
                what: format!("converted file `{}`", written.path),
                detail,
            }));
        }
        outputs.push(ConversionOutput {
            path: written.path.clone(),
            size_bytes: content.size_bytes,
            sha256: content.sha256,
        });
    }
    if outputs.len() != record.outputs.len() || outputs.len() != contents.len() {
        let detail = format!("{} files were stored of {}", contents.len(), record.outputs.len());
        return Err(Error::Store(StoreError::Task(detail)));
    }
    Ok(outputs)
}
