//! OpenVINO models: a graph in XML, weights beside it.
//!
//! Our own scanner goes over the tags; it knows no entities but the five of XML itself, and a document type, which could
//! define others or name files, is refused.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::contents::{Code, CodeWay, Contents, WarningKind};
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::protobuf::broken;
use crate::source::Folder;
use crate::tensor::{Piece, Region, Tensor};

/// Describes the model whose graph is at `path`; the weights are the `.bin` of the same name.
///
/// # Errors
/// [`FormatError::Broken`] when the file is no such XML, or has a document type; [`FormatError::ShapeMismatch`] and
/// [`FormatError::Truncated`] when constants do not fit their bytes.
pub fn read(folder: &dyn Folder, path: &str, limits: &Limits) -> Result<Contents, FormatError> {
    let section = folder.open(path)?;
    Limits::at_most("openvino graph in bytes", section.len(), limits.text_bytes)?;
    let text = section.read("openvino graph", 0, section.len())?;
    let text = String::from_utf8(text).map_err(|_| broken("openvino graph", 0, "it is not UTF-8"))?;
    let weights = format!("{}.bin", path.strip_suffix(".xml").unwrap_or(path));
    let bin = if folder.has(&weights) { Some(folder.open(&weights)?) } else { None };
    let mut contents = Contents::of(Format::OpenVino);
    let mut operators: BTreeMap<String, u64> = BTreeMap::new();
    let mut layer: Option<BTreeMap<String, String>> = None;
    let mut is_net = false;
    let mut missing = false;
    let mut rest = text.as_str();
    while let Some((at, tag)) = next_tag(&text, &mut rest)? {
        let (name, attributes) = attributes(tag, at)?;
        match name {
            "net" => {
                is_net = true;
                for key in ["name", "version"] {
                    if let Some(value) = attributes.get(key) {
                        contents.metadata.insert(key.into(), value.clone().into());
                    }
                }
            }
            "layer" => {
                let kind = attributes.get("type").cloned().unwrap_or_default();
                if attributes.get("version").is_some_and(|version| !version.starts_with("opset")) {
                    let code = Code { file: path.to_owned(), name: kind.clone(), way: CodeWay::Operator };
                    if !contents.code.contains(&code) {
                        contents.code.push(code);
                    }
                }
                *operators.entry(kind).or_default() += 1;
                Limits::at_most("number of operators", operators.len() as u64, limits.metadata_entries)?;
                layer = Some(attributes);
            }
            "/layer" => layer = None,
            "data" => {
                let Some(layer) = layer.as_ref().filter(|layer| layer.get("type").is_some_and(|kind| kind == "Const"))
                else {
                    continue;
                };
                let name = layer.get("name").cloned().unwrap_or_default();
                Limits::at_most("openvino name in bytes", name.len() as u64, limits.name_bytes)?;
                let (mut tensor, offset, size) = constant(name, &attributes, at, limits)?;
                match &bin {
                    Some(bin) => {
                        let stored = bin.stored("openvino weights", offset, size);
                        let stored = stored.map_err(|error| error.in_file(&weights))?;
                        tensor.pieces.push(Piece::plain(Region::Whole, stored));
                    }
                    None => missing = true,
                }
                contents.tensors.push(tensor);
                Limits::at_most("number of tensors", contents.tensors.len() as u64, limits.tensors)?;
            }
            _ => {}
        }
    }
    if !is_net {
        return Err(FormatError::BadMagic { what: "openvino graph" });
    }
    if missing {
        contents.warn(WarningKind::Missing, path, format!("the weights `{weights}` are not there"));
    }
    let operators = operators.into_iter().map(|(name, count)| (name, count.into())).collect();
    contents.metadata.insert("operators".into(), Json::Object(operators));
    Ok(contents)
}

/// A constant without its bytes, and where they are.
fn constant(
    name: String,
    data: &BTreeMap<String, String>,
    at: u64,
    limits: &Limits,
) -> Result<(Tensor, u64, u64), FormatError> {
    let text = |key: &str| data.get(key).map(String::as_str).unwrap_or_default();
    let number = |text: &str| {
        let wrong = || broken("openvino constant", at, format!("`{text}` of `{name}` is no number"));
        text.trim().parse::<u64>().map_err(|_| wrong())
    };
    let shape = text("shape").split(',').filter(|extent| !extent.trim().is_empty()).map(number);
    let shape: Vec<u64> = shape.collect::<Result<_, _>>()?;
    Limits::at_most("rank of an openvino constant", shape.len() as u64, limits.rank)?;
    let (offset, size) = (number(text("offset"))?, number(text("size"))?);
    let kind = text("element_type");
    let dtype = dtype(kind);
    let dtype = dtype.ok_or_else(|| FormatError::UnknownDtype { tensor: name.clone(), dtype: kind.to_owned() })?;
    let overflow = || FormatError::SizeOverflow { tensor: name.clone() };
    let elements = Tensor::checked_elements(&shape).ok_or_else(overflow)?;
    let expected = dtype.size_bytes(elements).ok_or_else(overflow)?;
    if dtype != Dtype::Text && expected != size {
        let expected = elements.saturating_mul(dtype.bits());
        return Err(FormatError::ShapeMismatch { tensor: name, expected, actual: size });
    }
    Ok((Tensor { name, dtype, shape, pieces: Vec::new() }, offset, size))
}

fn dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "f16" => Dtype::F16,
        "bf16" => Dtype::BF16,
        "f32" => Dtype::F32,
        "f64" => Dtype::F64,
        "i4" => Dtype::I4,
        "u4" => Dtype::U4,
        "u2" => Dtype::U2,
        "i8" => Dtype::I8,
        "u8" => Dtype::U8,
        "i16" => Dtype::I16,
        "u16" => Dtype::U16,
        "i32" => Dtype::I32,
        "u32" => Dtype::U32,
        "i64" => Dtype::I64,
        "u64" => Dtype::U64,
        "boolean" => Dtype::Bool,
        "f8e4m3" => Dtype::F8E4M3,
        "f8e5m2" => Dtype::F8E5M2,
        "f8e8m0" => Dtype::F8E8M0,
        "f4e2m1" => Dtype::F4,
        "string" => Dtype::Text,
        _ => return None,
    })
}

/// The text between the next `<` and its `>`, and its place; comments, declarations and character data are skipped.
fn next_tag<'a>(text: &str, rest: &mut &'a str) -> Result<Option<(u64, &'a str)>, FormatError> {
    loop {
        let Some((_, from)) = rest.split_once('<') else { return Ok(None) };
        let at = (text.len() - from.len()) as u64 - 1;
        let open = || broken("openvino graph", at, "a tag does not end");
        if let Some(comment) = from.strip_prefix("!--") {
            *rest = comment.split_once("-->").ok_or_else(open)?.1;
        } else if let Some(data) = from.strip_prefix("![CDATA[") {
            *rest = data.split_once("]]>").ok_or_else(open)?.1;
        } else if from.starts_with('!') {
            return Err(broken("openvino graph", at, "a document type is refused"));
        } else if let Some(declaration) = from.strip_prefix('?') {
            *rest = declaration.split_once("?>").ok_or_else(open)?.1;
        } else {
            // A quoted value may hold a `>`.
            let mut quote = None;
            let end = from.char_indices().find_map(|(index, character)| {
                match (quote, character) {
                    (None, '"' | '\'') => quote = Some(character),
                    (Some(open), close) if open == close => quote = None,
                    (None, '>') => return Some(index),
                    _ => {}
                }
                None
            });
            let (tag, after) = from.split_at_checked(end.ok_or_else(open)?).ok_or_else(open)?;
            *rest = after;
            return Ok(Some((at, tag)));
        }
    }
}

/// Name and attributes of a tag.
fn attributes(tag: &str, at: u64) -> Result<(&str, BTreeMap<String, String>), FormatError> {
    let (name, mut rest) = tag.split_once(|character: char| character.is_whitespace()).unwrap_or((tag, ""));
    let mut found = BTreeMap::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() || rest == "/" {
            return Ok((name.trim_end_matches('/'), found));
        }
        let parse = || {
            let (key, value) = rest.split_once('=')?;
            let value = value.trim_start();
            let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
            let (value, rest) = value.get(1..)?.split_once(quote)?;
            Some((key.trim(), value, rest))
        };
        let (key, value, after) =
            parse().ok_or_else(|| broken("openvino graph", at, format!("tag `{name}` has no proper attributes")))?;
        found.insert(key.to_owned(), plain(value));
        rest = after;
    }
}

/// A value with the five entities of XML replaced.
fn plain(value: &str) -> String {
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")]
        .iter()
        .fold(value.to_owned(), |text, (entity, character)| text.replace(entity, character))
}
