//! What a conversion leaves beside its result, so that anybody can check it: inputs and outputs by digest, and how.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Options;
use super::staging::{Written, parent_of};
use crate::Error;

/// Schema of a record.
pub const SCHEMA: &str = "weighthouse.convert/1";
/// Name of the record in a converted folder, and end of its name beside a converted file.
pub const NAME: &str = "weighthouse.convert.json";
/// Longest record that is read, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// Record of a conversion.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// `weighthouse.convert/1`.
    pub schema: String,
    /// Version of this program.
    pub version: String,
    /// What was asked for.
    pub options: Options,
    /// The one file of the source that was read, if only one was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
    /// Files that were read.
    pub inputs: Vec<Written>,
    /// Files that were written.
    pub outputs: Vec<Written>,
    /// Number of tensors that were written.
    pub tensors: u64,
    /// What was left out or changed, and why.
    pub notes: Vec<String>,
}

impl Record {
    /// The record as it is stored.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// Finds and reads the record of a converted file or folder, or the record that `path` itself is.
    ///
    /// Returns the folder of the outputs too.
    ///
    /// # Errors
    /// When there is none, or it is none that this version reads.
    pub fn find(path: &Path) -> Result<(Self, PathBuf), Error> {
        let place = if path.is_dir() {
            path.join(NAME)
        } else if path.to_string_lossy().ends_with(NAME) {
            path.to_owned()
        } else {
            beside(path)
        };
        let size_bytes = match fs::metadata(&place) {
            Ok(data) => data.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let name = place.display().to_string();
                return Err(Error::NotFound { what: "record of a conversion", name });
            }
            Err(error) => return Err(Error::local("reading", &place, error)),
        };
        if size_bytes > MAX_BYTES {
            return Err(Error::TooLarge { what: format!("`{}`", place.display()), limit_bytes: MAX_BYTES });
        }
        let text = fs::read(&place).map_err(|error| Error::local("reading", &place, error))?;
        let wrong = |detail: String| Error::Malformed(format!("`{}` is no record: {detail}", place.display()));
        let record: Self = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if record.schema != SCHEMA {
            return Err(wrong(format!("its schema is `{}`; this version reads `{SCHEMA}`", record.schema)));
        }
        Ok((record, parent_of(&place)))
    }
}

/// Place of the record of a converted file.
pub(super) fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(NAME);
    name.into()
}
