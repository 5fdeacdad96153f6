//! What a checkpoint could do: the use case behind `wh scan`, and later behind the gate.
//!
//! Files are judged side by side, each by itself, so that one on which the scanner fails is a finding of that file and
//! lets no other through.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use weighthouse_format::stats::{self, Wanted};
use weighthouse_format::{Folder, Limits, Tensor, checkpoint};
use weighthouse_trust::scan::{self, FileScan, Options};

pub use weighthouse_trust::scan::{Confidence, Finding, Import, Report, Safety, Severity, Verdict, sarif, trace};

use crate::Error;

/// What to look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wishes {
    /// The values of all weights too; reads all bytes.
    pub weights: bool,
}

/// Scans a folder, or one file of it.
///
/// `progress` is told how many bytes of files are done and how many there are, from any thread.
///
/// # Errors
/// When the file is not there. A file that cannot be looked at is a finding, and no error.
pub fn scan(
    folder: &dyn Folder,
    file: Option<&str>,
    target: &str,
    wishes: Wishes,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Report, Error> {
    let files: Vec<(&str, u64)> = match file {
        Some(path) => {
            let found = folder.files().iter().find(|file| &*file.path == path);
            let found = found.ok_or_else(|| Error::NotFound { what: "file", name: path.to_owned() })?;
            vec![(&*found.path, found.size_bytes)]
        }
        None => folder.files().iter().map(|file| (&*file.path, file.size_bytes)).collect(),
    };
    let mut scans = all(folder, &files, progress);
    if wishes.weights {
        weights(folder, file, &mut scans);
    }
    Ok(Report::join(target, scans))
}

/// Judges every file, several at a time.
fn all(folder: &dyn Folder, files: &[(&str, u64)], progress: &(dyn Fn(u64, u64) + Sync)) -> Vec<FileScan> {
    let total = files.iter().fold(0u64, |sum, file| sum.saturating_add(file.1));
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let scans = Mutex::new(Vec::with_capacity(files.len()));
    let work = || {
        while let Some(&(path, size)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let scan = one(folder, path, size);
            scans.lock().unwrap_or_else(PoisonError::into_inner).push(scan);
            progress(done.fetch_add(size, Ordering::Relaxed).saturating_add(size), total);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8).min(files.len());
    match threads {
        0 | 1 => work(),
        count => std::thread::scope(|scope| {
            for _ in 0..count {
                scope.spawn(work);
            }
        }),
    }
    scans.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Judges one file. A scanner that fails on it has found that the file is not safe.
pub fn one(folder: &dyn Folder, path: &str, size_bytes: u64) -> FileScan {
    let scan = catch_unwind(AssertUnwindSafe(|| scan::scan_file(folder, path, &Options::default())));
    scan.unwrap_or_else(|cause| {
        let message = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = message.or_else(|| cause.downcast_ref::<String>().cloned()).unwrap_or_default();
        tracing::error!(file.path = path, "the scanner failed on `{path}`: {message}");
        scan::failed(path, size_bytes, &message)
    })
}

/// Adds what the values of weights show to the files that they lie in.
fn weights(folder: &dyn Folder, file: Option<&str>, scans: &mut [FileScan]) {
    let limits = Limits::default();
    let read = match file {
        Some(path) => checkpoint::read_file(folder, path, &limits),
        None => checkpoint::read(folder, &limits),
    };
    // What is no checkpoint has no weights.
    let Ok(checkpoint) = read else { return };
    let tensors: Vec<&Tensor> = checkpoint.contents.tensors.iter().collect();
    let wanted = Wanted { stats: true, sha256: false };
    let reads: Vec<_> = stats::read_all(folder, &tensors, wanted, &limits, &|_| {})
        .into_iter()
        .map(|read| read.map_err(|error| error.to_string()))
        .collect();
    for finding in scan::weights::judge(&checkpoint, &reads) {
        let at = scans.iter().position(|scan| scan.path == finding.file).unwrap_or(0);
        if let Some(scan) = scans.get_mut(at) {
            scan.verdict = scan.verdict.max(finding.verdict);
            scan.findings.push(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use weighthouse_format::source::{FolderFile, MemoryFolder};
    use weighthouse_format::{FormatError, Section};

    use super::*;

    /// A folder whose one file makes its reader panic.
    struct Trap([FolderFile; 1]);

    impl Folder for Trap {
        fn files(&self) -> &[FolderFile] {
            &self.0
        }

        fn open(&self, _path: &str) -> Result<Section, FormatError> {
            panic!("the trap shut");
        }
    }

    #[test]
    fn a_scanner_that_fails_lets_nothing_through() {
        let folder = Trap([FolderFile { path: "a.pt".into(), size_bytes: 7 }]);
        let report = scan(&folder, None, ".", Wishes::default(), &|_, _| {}).unwrap();
        assert_eq!(report.verdict, Verdict::Error);
        assert!(report.findings[0].detail.contains("the trap shut"), "{:?}", report.findings);
    }

    #[test]
    fn files_are_judged_side_by_side_and_told_in_order() {
        let bytes: &[u8] = b"cos\nsystem\n(S'id'\ntR.";
        let names: Vec<String> = (0..50).map(|number| format!("{number:02}.pkl")).collect();
        let folder = MemoryFolder::new(names.iter().map(|name| Section::of_bytes(name.as_str(), bytes)).collect());
        let report = scan(&folder, None, ".", Wishes::default(), &|_, _| {}).unwrap();
        assert_eq!(report.files.iter().map(|file| file.path.clone()).collect::<Vec<_>>(), names);
        assert_eq!(report.verdict, Verdict::Unsafe);
        assert!(scan(&folder, Some("none"), ".", Wishes::default(), &|_, _| {}).is_err());
    }

    #[test]
    fn values_that_are_not_finite_are_advice() {
        let mut bytes = br#"{"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#.to_vec();
        let mut file = (bytes.len() as u64).to_le_bytes().to_vec();
        file.append(&mut bytes);
        file.extend(f32::NAN.to_le_bytes());
        file.extend(1f32.to_le_bytes());
        let folder = MemoryFolder::new(vec![Section::of_bytes("m.safetensors", file)]);
        let plain = scan(&folder, None, ".", Wishes::default(), &|_, _| {}).unwrap();
        assert_eq!((plain.verdict, plain.findings.len()), (Verdict::Safe, 0));
        let read = scan(&folder, None, ".", Wishes { weights: true }, &|_, _| {}).unwrap();
        assert_eq!((read.verdict, read.findings[0].rule.as_ref()), (Verdict::Caution, "weights-not-finite"));
    }
}
