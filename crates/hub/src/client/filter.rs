//! Which files take part.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::error::ClientError;

/// Patterns for paths to take and to leave out, as `huggingface_hub` reads them: `*` crosses slashes, and a pattern
/// that ends with `/` means all below that folder.
///
/// ```
/// use weighthouse_hub::client::Filter;
///
/// let filter = Filter::new(&["*.json", "onnx/"], &["*/secret.json"])?;
/// assert!(filter.takes("config.json") && filter.takes("onnx/a/b.bin"));
/// assert!(!filter.takes("model.bin") && !filter.takes("a/secret.json"));
/// # Ok::<(), weighthouse_hub::client::ClientError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// `None` takes all.
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Filter {
    /// Takes what one of `include` matches (all, if there is none) and none of `exclude`.
    ///
    /// # Errors
    /// [`ClientError::Input`] for a pattern that makes no sense.
    pub fn new<S: AsRef<str>>(include: &[S], exclude: &[S]) -> Result<Self, ClientError> {
        let include = if include.is_empty() { None } else { Some(set(include)?) };
        Ok(Self { include, exclude: set(exclude)? })
    }

    /// Whether a path, with `/` between its names, takes part.
    #[must_use]
    pub fn takes(&self, path: &str) -> bool {
        self.include.as_ref().is_none_or(|include| include.is_match(path)) && !self.exclude.is_match(path)
    }
}

fn set<S: AsRef<str>>(patterns: &[S]) -> Result<GlobSet, ClientError> {
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        let pattern = pattern.as_ref();
        let whole = if pattern.ends_with('/') { format!("{pattern}**") } else { pattern.to_owned() };
        let glob = GlobBuilder::new(&whole).literal_separator(false).backslash_escape(true).build();
        builder.add(glob.map_err(|error| ClientError::Input(format!("pattern `{pattern}`: {}", error.kind())))?);
    }
    builder.build().map_err(|error| ClientError::Input(format!("the patterns are too much: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_those_of_the_other_clients() {
        let all = Filter::default();
        assert!(all.takes("a") && all.takes(".hidden/b"));
        let some = Filter::new(&["*.safetensors", "tok*"], &["onnx/*"]).unwrap();
        for (path, taken) in [
            ("model.safetensors", true),
            ("a/b/model.safetensors", true),
            ("tokenizer.json", true),
            ("onnx/model.safetensors", false),
            ("README.md", false),
        ] {
            assert_eq!(some.takes(path), taken, "{path}");
        }
        assert!(matches!(Filter::new(&["a[".to_owned()], &[]), Err(ClientError::Input(_))));
    }
}
