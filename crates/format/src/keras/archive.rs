//! The `.keras` archive: a zip of a configuration and weights.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::contents::{Contents, WarningKind};
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Section;
use crate::tensor::{Filter, Piece, Stored};
use crate::zip::{Archive, Member};

use super::{config, weights};

const CONFIG: &str = "config.json";
const METADATA: &str = "metadata.json";
const WEIGHTS: &str = "model.weights.h5";
const INDEX: &str = "model.weights.json";

pub(super) fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    let mut archive = Archive::read(section, limits)?;
    archive.check();
    let mut contents = if archive.find(WEIGHTS).is_some() {
        let member = archive.open_named(WEIGHTS)?;
        let open = open(&member, limits)?;
        place(weights::read(&open, limits)?, &member, section)?
    } else {
        let index = archive.open_named(INDEX)?.bytes(limits)?;
        weights::sharded(&index, limits, &mut |name| match archive.find(name) {
            // Shards are stored; a compressed one would lose its place.
            Some(at) => archive.open(at)?.section().map(Some),
            None => Ok(None),
        })?
    };
    contents.formats.insert(0, Format::Keras);
    let within = |name: &str| format!("{}!{name}", section.file());
    for name in [METADATA, CONFIG] {
        let Some(at) = archive.find(name) else {
            contents.warn(WarningKind::Missing, &**section.file(), format!("there is no `{name}`"));
            continue;
        };
        let bytes = archive.open(at)?.bytes(limits)?;
        Limits::at_most("keras configuration in bytes", bytes.len() as u64, limits.text_bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        if name == CONFIG {
            config::take(&text, &within(name), &mut contents)?;
        } else {
            let source = |source| FormatError::Json { what: "keras metadata", source };
            if let Json::Object(facts) = serde_json::from_str(&text).map_err(source)? {
                contents.metadata.extend(facts);
            }
        }
    }
    let compiled = contents.architecture.config.get("compile_config").and_then(Json::as_object);
    if let (Some(kind), Some(optimizer)) = (compiled.and_then(config::optimizer), &mut contents.optimizer) {
        optimizer.kind = Some(kind);
    }
    let assets: Vec<Json> = archive
        .entries()
        .iter()
        .filter(|entry| entry.name.starts_with("assets/") && !entry.name.ends_with('/'))
        .map(|entry| entry.name.clone().into())
        .collect();
    if !assets.is_empty() {
        contents.metadata.insert("assets".into(), assets.into());
    }
    contents.warnings.extend(archive.take_warnings());
    Ok(contents)
}

/// The weights: in place when they are stored, in memory when they are compressed.
fn open(member: &Member, limits: &Limits) -> Result<Section, FormatError> {
    match member.method {
        0 => member.section(),
        _ => Ok(Section::of_bytes(Arc::clone(member.stored.file()), member.bytes(limits)?)),
    }
}

/// Says where the tensors of a compressed member lie: behind a filter.
fn place(mut contents: Contents, member: &Member, section: &Section) -> Result<Contents, FormatError> {
    if member.method == 0 {
        return Ok(contents);
    }
    let stored = member.stored.stored("zip member", 0, member.stored.len())?;
    let optimizer = contents.optimizer.iter_mut().flat_map(|optimizer| &mut optimizer.tensors);
    for tensor in contents.tensors.iter_mut().chain(optimizer) {
        for index in 0..tensor.pieces.len() {
            if let Some(piece) = tensor.pieces.get_mut(index) {
                deflated(piece, &stored, &tensor.name, section)?;
            }
        }
    }
    Ok(contents)
}

fn deflated(piece: &mut Piece, member: &Stored, name: &str, section: &Section) -> Result<(), FormatError> {
    let Stored::File { begin, end, .. } = piece.stored else { return Ok(()) };
    // A filter of the dataset sees its own bytes only, and those are not the member's.
    if piece.filters.iter().any(|filter| !matches!(filter, Filter::SwapBytes { .. })) {
        let detail = format!("`{name}` of {section:?} is compressed twice");
        return Err(FormatError::Unsupported { what: "compressed hdf5 file", detail });
    }
    piece.stored = member.clone();
    piece.filters.insert(0, Filter::Deflate);
    piece.first_byte += begin;
    piece.decoded_bytes = end;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Region;

    #[test]
    fn pieces_of_a_compressed_file_lie_behind_deflate() {
        let stored = |begin, end| Stored::File { file: "m.keras".into(), begin, end };
        let mut piece = Piece::plain(Region::Whole, stored(2048, 2056));
        deflated(&mut piece, &stored(30, 900), "w", &Section::of_bytes("m.keras", [])).unwrap();
        assert_eq!(piece.stored, stored(30, 900));
        assert_eq!((piece.first_byte, piece.decoded_bytes), (2048, 2056));
        assert_eq!(piece.filters, [Filter::Deflate]);
    }
}
