//! What a checkpoint could do: the use case behind `wh scan`, and later behind the gate.
//!
//! Files are judged side by side, each by itself, so that one on which the scanner fails is a finding of that file and
//! lets no other through.

mod weights;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use weighthouse_format::Folder;
use weighthouse_trust::scan::{self, FileScan, Options};

pub use weighthouse_trust::scan::{
    Confidence, Finding, Import, RULES_VERSION, Report, SCHEMA, Safety, Severity, Target, Verdict, sarif, trace,
};

pub use weights::add_base;

use crate::Error;

/// Time for any file, and for each megabyte of it: no file keeps a scan for longer than about this.
const TIME: (Duration, Duration) = (Duration::from_secs(120), Duration::from_millis(200));

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
        weights::add(folder, file, &mut scans);
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
    guarded(path, || timed(folder, path)).unwrap_or_else(|message| scan::failed(path, size_bytes, &message))
}

/// Judges one file within the time that its size is worth.
pub(crate) fn timed(folder: &dyn Folder, path: &str) -> FileScan {
    let found = folder.files().iter().find(|file| &*file.path == path);
    let megabytes = u32::try_from(found.map_or(0, |file| file.size_bytes >> 20)).unwrap_or(u32::MAX);
    let (began, most) = (Instant::now(), TIME.0.saturating_add(TIME.1.saturating_mul(megabytes)));
    let stop = || began.elapsed() > most;
    scan::scan_file_within(folder, path, &Options::default(), &stop)
}

/// Runs a scanner on a file; when it fails, what it said.
pub(crate) fn guarded(path: &str, run: impl FnOnce() -> FileScan) -> Result<FileScan, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|cause| {
        let message = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = message.or_else(|| cause.downcast_ref::<String>().cloned()).unwrap_or_default();
        tracing::error!(file.path = path, "the scanner failed on `{path}`: {message}");
        message
    })
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

    /// A safetensors file of 32-bit matrices.
    fn matrices(named: &[(&str, [usize; 2], Vec<f32>)]) -> Vec<u8> {
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        for (name, shape, values) in named {
            let begin = data.len();
            data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]});
            header.insert((*name).to_owned(), entry);
        }
        let header = serde_json::Value::Object(header).to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(data);
        file
    }

    fn wave(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|at| ((at * 7919 + seed * 104_729) % 1_009) as f32 / 504.5 - 1.0).collect()
    }

    fn weighed(files: Vec<(&str, Vec<u8>)>) -> Report {
        let sections = files.into_iter().map(|(name, bytes)| Section::of_bytes(name, bytes)).collect();
        scan(&MemoryFolder::new(sections), None, ".", Wishes { weights: true }, &|_, _| {}).unwrap()
    }

    #[test]
    fn odd_weights_are_told_with_their_numbers() {
        let mut outlier = wave(64 * 16, 3);
        outlier[5 * 16..6 * 16].iter_mut().for_each(|x| *x = 90.0);
        outlier[7 * 16..8 * 16].iter_mut().for_each(|x| *x = 0.0);
        let head = wave(64 * 16, 4);
        let file = matrices(&[
            ("model.embed_tokens.weight", [64, 16], outlier),
            ("lm_head.weight", [64, 16], head.clone()),
            ("layers.0.w", [64, 16], head),
            ("layers.1.w", [64, 16], vec![0.0; 64 * 16]),
        ]);
        let report =
            weighed(vec![("model.safetensors", file), ("config.json", b"{\"tie_word_embeddings\": true}".to_vec())]);
        let rules = super::weights::rules(&report.findings);
        for rule in ["weights-untied", "weights-duplicate", "weights-constant", "weights-rows"] {
            assert!(rules.contains(&rule), "{rule}: {:#?}", report.findings);
        }
        assert_eq!(report.verdict, Verdict::Caution, "advice, and no more");
        let rows = report.findings.iter().find(|finding| finding.rule == "weights-rows").unwrap();
        assert!(rows.detail.contains("1 of 64 rows are zeros") && rows.detail.contains("row 5 "), "{}", rows.detail);
    }

    #[test]
    fn the_spectrum_of_an_adapter_is_that_of_its_product() {
        // Two orthogonal directions, of 6 and 3.
        let (mut down, mut up) = (vec![0f32; 2 * 10], vec![0f32; 12 * 2]);
        (down[0], down[11], up[0], up[3]) = (2.0, 1.0, 3.0, 3.0);
        let file = matrices(&[
            ("base_model.model.layers.0.q_proj.lora_A.weight", [2, 10], down),
            ("base_model.model.layers.0.q_proj.lora_B.weight", [12, 2], up),
        ]);
        let report = weighed(vec![("adapter_model.safetensors", file)]);
        let found = report.findings.iter().find(|finding| finding.rule == "weights-adapter").unwrap();
        for said in ["rank 2", "leading singular value 6.0000", "norm 6.7082", "concentration 0.800", "entropy 0.722"] {
            assert!(found.detail.contains(said), "{said}: {}", found.detail);
        }
        assert_eq!(report.verdict, Verdict::Safe);
    }

    #[test]
    fn an_edit_of_the_base_is_told_and_training_is_not_taken_for_one() {
        let tensors = |edit: &dyn Fn(usize, &mut Vec<f32>)| {
            let named: Vec<(String, Vec<f32>)> = (0..30)
                .map(|number| {
                    let mut values = wave(32 * 32, number);
                    edit(number, &mut values);
                    (format!("layers.{number}.mlp.down_proj.weight"), values)
                })
                .collect();
            let named: Vec<(&str, [usize; 2], Vec<f32>)> =
                named.iter().map(|(name, values)| (name.as_str(), [32, 32], values.clone())).collect();
            MemoryFolder::new(vec![Section::of_bytes("model.safetensors", matrices(&named))])
        };
        let base = tensors(&|_, _| {});
        let told = |folder: &MemoryFolder| {
            let mut report = scan(folder, None, ".", Wishes::default(), &|_, _| {}).unwrap();
            add_base(&mut report, (folder, None), (&base, None), &|_, _| {}).unwrap();
            report
        };
        let edited = told(&tensors(&|number, values| {
            if number == 5 {
                values
                    .iter_mut()
                    .enumerate()
                    .for_each(|(at, x)| *x += (at / 32) as f32 * 0.01 * ((at % 32) as f32 - 16.0));
            }
        }));
        let edit = edited.findings.iter().find(|finding| finding.rule == "weights-edit");
        assert!(edit.is_some_and(|found| found.detail.contains("layers.5.")), "{:#?}", edited.findings);
        assert_eq!(edited.verdict, Verdict::Caution);
        let trained = told(&tensors(&|number, values| {
            values.iter_mut().zip(wave(32 * 32, number + 100)).for_each(|(x, y)| *x += y * 0.01);
        }));
        assert_eq!(trained.verdict, Verdict::Safe, "{:#?}", trained.findings);
        assert!(trained.findings.iter().any(|found| found.detail.contains("30 of 30 tensors differ")));
        assert!(told(&base).findings.is_empty());
    }
}
