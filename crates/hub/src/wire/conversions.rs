//! "Download as", as our own JSON; the Hub has nothing like it.
//!
//! - `GET /api/{models|datasets}/{id}/convert/{rev}[/{path}]`: what there is to be had
//! - `POST` to the same, with [`AskForm`]: asks for one form
//!
//! Fields are added within a version, and never change their meaning.

use serde::{Deserialize, Serialize};
use weighthouse::conversions::{Offered, Standing};

/// Which form is asked for.
#[derive(Debug, Deserialize)]
pub struct AskForm {
    /// Its word, as in [`OfferInfo::form`].
    pub form: String,
}

/// `weighthouse.conversions/1`: the forms that a checkpoint can be had in.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConversionsReply {
    /// `weighthouse.conversions/1`.
    pub schema: &'static str,
    /// Commit, 40 hex digits.
    pub commit: String,
    /// Folder or file that is converted; empty for the whole.
    pub path: String,
    /// All forms, also those that are not possible.
    pub offers: Vec<OfferInfo>,
}

/// A form, and where it stands.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OfferInfo {
    /// Word of the form, such as `gguf-q8_0`.
    pub form: &'static str,
    /// What it is called.
    pub title: &'static str,
    /// Name of the file.
    pub file: String,
    /// Its length in bytes; absent where it is not possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What is left out or changed.
    pub notes: Vec<String>,
    /// Why it is not possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// `none`, `waiting`, `running`, `done` or `failed`.
    pub state: &'static str,
    /// Bytes that are done, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_bytes: Option<u64>,
    /// Bytes in all, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Files, when it is done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputInfo>,
    /// Address of the record, when it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}

/// A file that was written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputInfo {
    /// Name.
    pub file: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256, 64 hex digits.
    pub sha256: String,
    /// Address.
    pub url: String,
}

impl OfferInfo {
    /// The wire form; `url` gives the address of a file by its name.
    pub fn new(offered: &Offered, url: impl Fn(&str) -> String) -> Self {
        let offer = &offered.offer;
        let planned = offer.planned.as_ref();
        let mut info = Self {
            form: offer.choice.word,
            title: offer.choice.title,
            file: offer.name.clone(),
            bytes: planned.ok().map(|planned| planned.size_bytes),
            notes: planned.map(|planned| planned.notes.clone()).unwrap_or_default(),
            refusal: planned.err().cloned(),
            state: state_word(&offered.standing),
            done_bytes: None,
            total_bytes: None,
            failure: None,
            outputs: Vec::new(),
            record: None,
        };
        match &offered.standing {
            Standing::Unasked | Standing::Waiting => {}
            Standing::Running { done_bytes, total_bytes } => {
                info.done_bytes = Some(*done_bytes);
                info.total_bytes = Some(*total_bytes);
            }
            Standing::Failed(reason) => info.failure = Some(reason.clone()),
            Standing::Done(made) => {
                let output = |output: &weighthouse::ConversionOutput| OutputInfo {
                    file: output.path.clone(),
                    bytes: output.size_bytes,
                    sha256: output.sha256.to_string(),
                    url: url(&output.path),
                };
                info.outputs = made.outputs.iter().map(output).collect();
                info.record = Some(url(&made.record_name));
            }
        }
        info
    }
}

/// The word for where a conversion stands.
#[must_use]
pub const fn state_word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Unasked => "none",
        Standing::Waiting => "waiting",
        Standing::Running { .. } => "running",
        Standing::Done(_) => "done",
        Standing::Failed(_) => "failed",
    }
}
