//! Which forms a checkpoint can be had in: a plan for each, of which only the size and the notes are kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use quick_cache::sync::Cache;
use weighthouse_format::Format;
use weighthouse_format::tensor::Stored;
use weighthouse_store::digest::GitOid;

use super::over;
use crate::access::Repo;
use crate::checkpoints::stored::StoredFolder;
use crate::checkpoints::{Inside, Part, QUESTION_BYTES};
use crate::convert::{self, Form, Options};
use crate::revision::Revision;
use crate::{Error, Hub};

/// Longest name of a converted file without its ending, in characters.
const MAX_STEM: usize = 96;
/// Notes of a plan that are kept.
const MAX_NOTES: usize = 30;
/// Longest note or reason that is kept, in characters.
const MAX_NOTE: usize = 400;

/// Tree, path and name of the files that would be written; what is offered for them.
pub(crate) type OfferCache = Cache<(GitOid, String, String), Arc<Vec<Offer>>>;

/// A form that can be asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Choice {
    /// Spelling in addresses and JSON.
    pub word: &'static str,
    /// What it is called.
    pub title: &'static str,
    /// Format.
    pub form: Form,
    /// Type of the weights, as options spell it; `None` keeps their own.
    pub dtype: Option<&'static str>,
    /// End of the file's name.
    pub ending: &'static str,
}

/// Every form that is offered: those that are one file.
pub const CHOICES: &[Choice] = &[
    Choice { word: "safetensors", title: "safetensors", form: Form::Safetensors, dtype: None, ending: ".safetensors" },
    gguf("gguf-f16", "GGUF F16", "F16", "-F16.gguf"),
    gguf("gguf-q8_0", "GGUF Q8_0", "Q8_0", "-Q8_0.gguf"),
    gguf("gguf-q4_k_m", "GGUF Q4_K_M", "Q4_K_M", "-Q4_K_M.gguf"),
    gguf("gguf-q4_0", "GGUF Q4_0", "Q4_0", "-Q4_0.gguf"),
    Choice { word: "torch", title: "PyTorch .bin", form: Form::Torch, dtype: None, ending: ".bin" },
    Choice { word: "npz", title: "NumPy .npz", form: Form::Npz, dtype: None, ending: ".npz" },
];

const fn gguf(word: &'static str, title: &'static str, dtype: &'static str, ending: &'static str) -> Choice {
    Choice { word, title, form: Form::Gguf, dtype: Some(dtype), ending }
}

/// A form of a checkpoint.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Which form.
    pub choice: &'static Choice,
    /// Name of the file.
    pub name: String,
    /// What would be written, or why it cannot be.
    pub planned: Result<Planned, String>,
}

/// What would be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Length of the file in bytes.
    pub size_bytes: u64,
    /// What is left out or changed, and why.
    pub notes: Vec<String>,
}

impl Choice {
    /// The conversion that gives it.
    #[must_use]
    pub fn options(&self) -> Options {
        Options { to: self.form, dtype: self.dtype.and_then(|dtype| dtype.parse().ok()), ..Options::default() }
    }
}

impl Hub {
    /// The forms that a checkpoint can be had in. Headers and configurations are read, no weights; what was found is kept.
    ///
    /// # Errors
    /// As [`Hub::inside`].
    pub async fn offers(&self, repo: &Repo, revision: &Revision, path: &str) -> Result<Arc<Vec<Offer>>, Error> {
        let path = path.trim_matches('/');
        // Says what cannot be read at all, in the words of the other pages.
        let inside = self.inside(revision, path).await?;
        let (prefix, file) = self.split(revision, path).await?;
        let stem = stem(&repo.record.id, path, file.as_deref());
        let key = (revision.commit.tree, path.to_owned(), stem.clone());
        if let Some(found) = self.offer_cache().get(&key) {
            return Ok(found);
        }
        let folder = StoredFolder::of(self, revision, &prefix, QUESTION_BYTES).await?;
        let made = self.in_turn(move || {
            let already = already(&inside);
            // Once for all forms: they differ in what is made of the headers.
            let read = possible(over(&folder, file.as_deref(), convert::read))?;
            let offers = CHOICES.iter().map(|choice| {
                let name = format!("{stem}{}", choice.ending);
                let planned = match (&already, &read) {
                    (Some((form, reason)), _) if *form == choice.form && choice.dtype.is_none() => Err(reason.clone()),
                    (_, Err(reason)) => Err(reason.clone()),
                    (_, Ok(checkpoint)) => possible(over(&folder, file.as_deref(), |source| {
                        let plan = convert::plan_of(source, checkpoint, &choice.options(), Some(&name))?;
                        let notes = plan.notes.iter().take(MAX_NOTES).map(|note| short(note)).collect();
                        Ok(Planned { size_bytes: plan.size_bytes(), notes })
                    }))?,
                };
                Ok(Offer { choice, name, planned })
            });
            offers.collect::<Result<Vec<Offer>, Error>>()
        });
        let made = Arc::new(made.await?);
        self.offer_cache().insert(key, Arc::clone(&made));
        Ok(made)
    }
}

/// What a choice gives, or why it is not possible; a failure of the store is neither.
fn possible<T>(done: Result<T, Error>) -> Result<Result<T, String>, Error> {
    match done {
        Err(error @ (Error::Store(_) | Error::Busy { .. })) => Err(error),
        other => Ok(other.map_err(|error| short(&error.to_string()))),
    }
}

fn short(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_NOTE).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// The form that the weights have already, if they are one file, and a sentence that says so.
fn already(inside: &Inside) -> Option<(Form, String)> {
    let pieces = inside.tensors(Part::Weights).iter().flat_map(|tensor| &tensor.pieces);
    let files: BTreeSet<&str> = pieces
        .filter_map(|piece| match &piece.stored {
            Stored::File { file, .. } => Some(&**file),
            _ => None,
        })
        .collect();
    let mut files = files.into_iter();
    let (Some(file), None) = (files.next(), files.next()) else { return None };
    let formats = &inside.checkpoint.contents.formats;
    let form = if formats.contains(&Format::Safetensors) && file.ends_with(".safetensors") {
        Form::Safetensors
    } else if file.ends_with(".npz") {
        Form::Npz
    } else {
        return None;
    };
    Some((form, format!("`{}` is this already", file.rsplit('/').next().unwrap_or(file))))
}

/// What converted files are called, without their ending: as the repository, a folder of it, or the file.
fn stem(id: &str, path: &str, file: Option<&str>) -> String {
    let repo = id.rsplit('/').next().unwrap_or(id);
    let stem = match (file, path.rsplit('/').next()) {
        (Some(file), _) => file.rsplit_once('.').map_or(file, |(stem, _)| stem).to_owned(),
        (None, Some(folder)) if !path.is_empty() => format!("{repo}-{folder}"),
        _ => repo.to_owned(),
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    let stem: String = stem.chars().map(plain).take(MAX_STEM).collect();
    // Nothing hidden, and nothing that a shell takes for an option.
    let stem = stem.trim_start_matches(['.', '-']);
    if stem.is_empty() { "model".to_owned() } else { stem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_converted_file_is_called_as_what_it_was_made_from() {
        for (path, file, wanted) in [
            ("", None, "bert-base"),
            ("unet", None, "bert-base-unet"),
            ("a/vae", None, "bert-base-vae"),
            ("a/weights.v2.bin", Some("weights.v2.bin"), "weights.v2"),
            ("größe \u{202e}.pt", Some("größe \u{202e}.pt"), "gr__e__"),
            (".bin", Some(".bin"), "model"),
            ("..-rf.pt", Some("..-rf.pt"), "rf"),
        ] {
            assert_eq!(stem("ada/bert-base", path, file), wanted, "{path}");
        }
        assert!(stem("a/b", &"x".repeat(4_000), Some(&"x".repeat(4_000))).len() <= MAX_STEM);
    }

    #[test]
    fn every_choice_has_a_word_and_an_ending_of_its_own() {
        let words: BTreeSet<&str> = CHOICES.iter().map(|choice| choice.word).collect();
        let endings: BTreeSet<&str> = CHOICES.iter().map(|choice| choice.ending).collect();
        assert_eq!((words.len(), endings.len()), (CHOICES.len(), CHOICES.len()));
        for choice in CHOICES {
            assert!(!choice.form.is_folder(), "{}", choice.word);
            assert_eq!(choice.options().dtype.is_some(), choice.dtype.is_some(), "{} is a known type", choice.word);
        }
    }
}
