//! Query strings and form bodies, with every spelling the clients use.
//!
//! Booleans come as `true`, `True` or `1`; lists as repeated keys (`filter=a&filter=b`), with
//! brackets (`expand[]=a`), or with commas (`expand=a,b`). See
//! <https://huggingface.co/docs/hub/api>.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A parsed `application/x-www-form-urlencoded` text: pairs in the order they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// Why a query could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Percent-decoding gave bytes that are no text.
    #[error("query is not UTF-8 at `{at}`")]
    NotUtf8 {
        /// The pair as it came.
        at: String,
    },
    /// More pairs than any client sends.
    #[error("query has more than {limit} pairs")]
    TooManyPairs {
        /// The limit that was passed.
        limit: usize,
    },
    /// A value has the wrong type.
    #[error("`{key}` must be {expected}, not `{value}`")]
    BadValue {
        /// Name of the parameter.
        key: String,
        /// What would be accepted.
        expected: &'static str,
        /// What came.
        value: String,
    },
}

/// Most pairs a query or form may have; `paths-info` sends up to 1,000 paths.
pub const MAX_PAIRS: usize = 10_000;

impl Query {
    /// Reads the part after `?`, or a form body.
    ///
    /// # Errors
    /// [`QueryError::NotUtf8`] when a decoded key or value is no text,
    /// [`QueryError::TooManyPairs`] beyond [`MAX_PAIRS`].
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == MAX_PAIRS {
                return Err(QueryError::TooManyPairs { limit: MAX_PAIRS });
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let not_utf8 = || QueryError::NotUtf8 { at: pair.chars().take(80).collect() };
            let key = decode(key).ok_or_else(not_utf8)?;
            let value = decode(value).ok_or_else(not_utf8)?;
            pairs.push((key, value));
        }
        Ok(Self { pairs })
    }

    /// Last value of `key`, if it was sent and is not empty.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        let value = self.pairs.iter().rev().find(|(k, _)| k == key)?.1.as_str();
        (!value.is_empty()).then_some(value)
    }

    /// Boolean value of `key`; absent and empty are `None`.
    ///
    /// # Errors
    /// [`QueryError::BadValue`] for a word that is no boolean.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, QueryError> {
        let Some(value) = self.text(key) else {
            return Ok(None);
        };
        match parse_bool(value) {
            Some(flag) => Ok(Some(flag)),
            None => Err(bad_value(key, "true or false", value)),
        }
    }

    /// Unsigned value of `key`; absent and empty are `None`.
    ///
    /// # Errors
    /// [`QueryError::BadValue`] for anything but a decimal number.
    pub fn number(&self, key: &str) -> Result<Option<u64>, QueryError> {
        let Some(value) = self.text(key) else {
            return Ok(None);
        };
        match value.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(bad_value(key, "a number", value)),
        }
    }

    /// All values of `key` and `key[]`, each split at commas, empty ones dropped.
    #[must_use]
    pub fn list(&self, key: &str) -> Vec<&str> {
        self.pairs
            .iter()
            .filter(|(k, _)| is_key(k, key))
            .flat_map(|(_, value)| value.split(','))
            .filter(|value| !value.is_empty())
            .collect()
    }

    /// All values of `key` and `key[]` as they came: for values that may contain commas.
    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(k, _)| is_key(k, key)).map(|(_, value)| value.as_str())
    }

    /// The pairs in order.
    #[must_use]
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }
}

fn is_key(sent: &str, key: &str) -> bool {
    sent.strip_suffix("[]").unwrap_or(sent) == key
}

/// Reads `true`, `True`, `TRUE`, `1` and their opposites.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" => Some(true),
        "0" => Some(false),
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn bad_value(key: &str, expected: &'static str, value: &str) -> QueryError {
    QueryError::BadValue { key: key.to_owned(), expected, value: value.chars().take(80).collect() }
}

fn decode(text: &str) -> Option<String> {
    let spaced: Cow<'_, str> = if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    percent_decode_str(&spaced).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_of_a_list_is_one_list() {
        for text in [
            "expand=sha&expand=tags",
            "expand[]=sha&expand[]=tags",
            "expand%5B%5D=sha&expand=tags",
            "expand=sha,tags",
            "expand=sha%2Ctags&expand=",
        ] {
            assert_eq!(Query::parse(text).unwrap().list("expand"), ["sha", "tags"], "{text}");
        }
    }

    #[test]
    fn every_spelling_of_a_boolean_is_understood() {
        for (text, want) in [
            ("recursive=true", Some(true)),
            ("recursive=True", Some(true)),
            ("recursive=1", Some(true)),
            ("recursive=False", Some(false)),
            ("recursive=0", Some(false)),
            ("recursive=", None),
            ("other=1", None),
        ] {
            assert_eq!(Query::parse(text).unwrap().flag("recursive").unwrap(), want, "{text}");
        }
    }

    #[test]
    fn wrong_types_name_the_parameter() {
        let query = Query::parse("recursive=maybe&limit=-1").unwrap();
        let flag = query.flag("recursive").unwrap_err().to_string();
        assert_eq!(flag, "`recursive` must be true or false, not `maybe`");
        let number = query.number("limit").unwrap_err().to_string();
        assert_eq!(number, "`limit` must be a number, not `-1`");
    }

    #[test]
    fn paths_with_commas_plus_and_spaces_survive_a_form() {
        let query = Query::parse("paths=a%2Cb.txt&paths=c+d%2Be&expand=False").unwrap();
        assert_eq!(query.values("paths").collect::<Vec<_>>(), ["a,b.txt", "c d+e"]);
        assert_eq!(query.flag("expand").unwrap(), Some(false));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert!(matches!(Query::parse("a=%ff"), Err(QueryError::NotUtf8 { .. })));
    }

    #[test]
    fn endless_pairs_are_refused() {
        let text = "a&".repeat(MAX_PAIRS + 1);
        assert!(matches!(Query::parse(&text), Err(QueryError::TooManyPairs { .. })));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,200}") {
            let _ = Query::parse(&text);
        }

        #[test]
        fn encoded_values_read_back(value in "\\PC{0,50}") {
            let encoded = percent_encoding::utf8_percent_encode(
                &value, percent_encoding::NON_ALPHANUMERIC);
            let query = Query::parse(&format!("k={encoded}")).unwrap();
            prop_assert_eq!(query.values("k").collect::<Vec<_>>(), vec![value.as_str()]);
        }
    }
}
