//! Verdicts on checkpoints.
//!
//! Everything here is pure over bytes, like the room below it: sections of files go in, findings with a verdict come
//! out. Nothing of a checkpoint is run, no file is opened, no clock is asked.
//!
//! ```text
//!   file ──► scan::content  what can it be taken for?
//!             ├─► pickle    names and uses, against a list of what is allowed
//!             ├─► container members, each judged as a file of its own
//!             ├─► config    what a configuration makes a library import
//!             └─► jinja     what a chat template reaches for
//!                    └─► findings ──► FileScan ──► Report
//! ```
//!
//! # Example
//! ```
//! use weighthouse_format::Section;
//! use weighthouse_format::source::MemoryFolder;
//! use weighthouse_trust::scan::{self, Options, Verdict};
//!
//! let folder = MemoryFolder::new(vec![Section::of_bytes("model.pkl", *b"cos\nsystem\n(S'id'\ntR.")]);
//! let found = scan::scan_file(&folder, "model.pkl", &Options::default());
//! assert_eq!(found.verdict, Verdict::Unsafe);
//! assert!(found.findings.iter().any(|finding| finding.detail.contains("os.system('id')")));
//! ```

#![forbid(unsafe_code)]

pub mod advisory;
pub mod policy;
pub mod scan;
mod words;
