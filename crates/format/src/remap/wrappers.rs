//! What wrappers put into names: compilers, parallel trainers, Lightning.

use crate::contents::Contents;
use crate::error::FormatError;
use crate::identity::Format;

use super::naming::{self, Naming, NamingKind};
use super::rules::{Made, renamed, unique};

/// Parts that wrappers put anywhere into a name.
const INSIDE: &[&str] = &["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"];

/// What stands before all names of a wrapped model.
const BEFORE: &[&str] = &["module.", "state_dict.", "model_state_dict."];

/// Prefixes that a training framework may have given a model as its attribute.
const ATTRIBUTES: &[&str] = &["model.", "net.", "network."];

/// What comes after `model.` in models of transformers that begin with it themselves.
const INNER: &[&str] =
    &["layers", "embed_tokens", "norm", "decoder", "shared", "language_model", "text_model", "vision_tower", "visual"];

/// The tensors without what wrappers put into their names, and whose names those are then.
///
/// # Errors
/// [`FormatError::Unsupported`] when two names become one.
pub(super) fn unwrapped(contents: &Contents, notes: &mut Vec<String>) -> Result<(Vec<Made>, Naming), FormatError> {
    naming::at_most(&contents.tensors)?;
    let mut names: Vec<String> = contents.tensors.iter().map(|tensor| without_inside(&tensor.name)).collect();
    while let Some(prefix) = BEFORE.iter().find(|prefix| all_begin(&names, prefix)) {
        cut(&mut names, prefix);
    }
    let mut found = naming::of_names(contents, names.iter().map(String::as_str));
    // Decoders and others begin with `model.` themselves. It comes off where the rest is known without it and is not the
    // inside of such a model, and where Lightning is known to have put it there.
    if let Some(prefix) = ATTRIBUTES.iter().find(|prefix| all_begin(&names, prefix)) {
        let mut inner = names.clone();
        cut(&mut inner, prefix);
        let inside = naming::of_names(contents, inner.iter().map(String::as_str));
        let own = inner.iter().any(|name| name.split('.').next().is_some_and(|first| INNER.contains(&first)));
        let known = inside.kind != NamingKind::Unknown;
        let lightning = contents.formats.contains(&Format::Lightning) && found.kind == NamingKind::Unknown;
        if (known && !own) || lightning {
            (names, found) = (inner, inside);
        }
    }
    let changed = names.iter().zip(&contents.tensors).find(|(name, tensor)| **name != tensor.name);
    if let Some((name, tensor)) = changed {
        notes.push(format!("prefixes of wrappers are taken off: `{}` is `{name}`", tensor.name));
    }
    let made = names.iter().zip(&contents.tensors);
    let made: Vec<Made> =
        made.map(|(name, tensor)| Made { tensor: renamed(tensor, name), from: tensor.name.clone() }).collect();
    unique(&made)?;
    Ok((made, found))
}

fn without_inside(name: &str) -> String {
    if !INSIDE.iter().any(|part| name.contains(part)) {
        return name.to_owned();
    }
    name.split('.').filter(|part| !INSIDE.contains(part)).collect::<Vec<_>>().join(".")
}

fn all_begin(names: &[String], prefix: &str) -> bool {
    !names.is_empty() && names.iter().all(|name| name.len() > prefix.len() && name.starts_with(prefix))
}

fn cut(names: &mut [String], prefix: &str) {
    for name in names {
        name.drain(..prefix.len());
    }
}
