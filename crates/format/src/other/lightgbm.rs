//! LightGBM models: text, a header of `key=value` lines and then trees.

use serde_json::{Map, Value as Json};

use crate::contents::Contents;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::protobuf::broken;
use crate::source::Section;

/// Describes a LightGBM model: the header, and how many trees there are.
///
/// # Errors
/// [`FormatError::BadMagic`] when the text does not begin as one, [`FormatError::TooLarge`] beyond the limits.
pub fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    if !section.head("lightgbm model", 5)?.starts_with(b"tree\n") {
        return Err(FormatError::BadMagic { what: "lightgbm model" });
    }
    Limits::at_most("lightgbm model in bytes", section.len(), limits.decoded_bytes)?;
    let text = String::from_utf8(section.read("lightgbm model", 0, section.len())?);
    let text = text.map_err(|_| broken("lightgbm model", 0, "it is not UTF-8"))?;
    let mut header = Map::new();
    let mut trees = 0u64;
    for line in text.lines().skip(1) {
        if line.starts_with("Tree=") {
            trees += 1;
        } else if let Some((key, value)) = line.split_once('=').filter(|_| trees == 0) {
            header.insert(key.to_owned(), Json::from(value));
            Limits::at_most("number of metadata entries", header.len() as u64, limits.metadata_entries)?;
        }
    }
    let mut contents = Contents::of(Format::LightGbm);
    contents.metadata = header;
    contents.metadata.insert("trees".into(), trees.into());
    Ok(contents)
}
