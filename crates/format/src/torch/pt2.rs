//! Archives of `torch.export.save`: raw weights, their description in JSON, and the exported graph.
//!
//! | member below the one top folder | content |
//! |---|---|
//! | `archive_format`, `archive_version`, `byteorder` | `pt2`, a number, `little` or `big` |
//! | `models/NAME.json` | the graph: a program |
//! | `data/weights/*_config.json`, `data/constants/*_config.json` | name to file, dtype, shape, strides |
//! | `data/weights/weight_N`, `data/constants/tensor_N` | raw elements, or a torch file of one tensor |
//! | `data/sample_inputs/NAME.pt` | a torch file |
//!
//! Before torch 2.8: `serialized_exported_program.json` and torch files `serialized_state_dict.pt`, … beside it.
//!
//! Source: PyTorch, `torch/export/pt2_archive`, `torch/_export/serde/schema.py`.

use serde_json::{Map, Value, json};

use crate::contents::{Code, CodeWay, Contents, WarningKind};
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Section;
use crate::tensor::Tensor;
use crate::zip::Archive;

use super::strided::{Bytes, Layout};
use super::{archive, assemble, dtype};

const OLD_PROGRAM: &str = "serialized_exported_program.json";

/// Whether it is an exported program, new or old.
pub(super) fn is(zip: &Archive) -> bool {
    archive::folder_of(zip, "archive_format").is_some() || zip.find(OLD_PROGRAM).is_some()
}

/// Reads weights and constants; the graph is named and not looked into.
pub(super) fn read(section: &Section, mut zip: Archive, limits: &Limits) -> Result<Contents, FormatError> {
    let file = section.file().to_string();
    let mut contents = Contents::of(Format::Pt2);
    if zip.find(OLD_PROGRAM).is_some() {
        for name in ["serialized_state_dict.pt", "serialized_constants.pt", "serialized_state_dict.json"] {
            inner(&mut zip, name, &mut contents, limits)?;
        }
    } else {
        let folder = archive::folder_of(&zip, "archive_format").unwrap_or_default();
        let format = zip.open_named(&format!("{folder}/archive_format"))?.bytes(limits)?;
        if format.trim_ascii() != b"pt2" {
            let detail = format!("`{}`", String::from_utf8_lossy(&format));
            return Err(FormatError::Unsupported { what: "archive format of torch", detail });
        }
        let big_endian = match zip.find(&format!("{folder}/byteorder")) {
            Some(index) => zip.open(index)?.bytes(limits)?.trim_ascii() == b"big",
            None => false,
        };
        for kind in ["weights", "constants"] {
            group(&mut zip, &format!("{folder}/data/{kind}/"), big_endian, &mut contents, limits)?;
        }
        let samples = format!("{folder}/data/sample_inputs/");
        let names: Vec<_> = zip.entries().iter().map(|entry| entry.name.clone()).collect();
        for name in names.iter().filter(|name| name.starts_with(&samples) && name.ends_with(".pt")) {
            // Sample inputs are no weights, but what they import matters.
            let mut samples = Contents::default();
            inner(&mut zip, name, &mut samples, limits)?;
            contents.code.append(&mut samples.code);
        }
    }
    for entry in zip.entries() {
        let name = &entry.name;
        if name.ends_with(".json") && (name.contains("/models/") || name == OLD_PROGRAM) || name.ends_with(".so") {
            contents.code.push(Code { file: file.clone(), name: name.clone(), way: CodeWay::Program });
        }
    }
    zip.check();
    contents.warnings.extend(zip.take_warnings());
    contents.code.sort();
    contents.code.dedup();
    Ok(contents)
}

/// Reads one configuration and the tensors that it names.
fn group(
    zip: &mut Archive,
    folder: &str,
    big_endian: bool,
    contents: &mut Contents,
    limits: &Limits,
) -> Result<(), FormatError> {
    const WHAT: &str = "description of weights";
    let configs: Vec<_> = zip.entries().iter().map(|entry| entry.name.clone()).collect();
    for config in configs.iter().filter(|name| name.starts_with(folder) && name.ends_with("_config.json")) {
        let member = zip.open_named(config)?;
        Limits::at_most("description of weights in bytes", member.size_bytes, limits.header_bytes)?;
        let value: Value = serde_json::from_slice(&member.bytes(limits)?)
            .map_err(|source| FormatError::Json { what: WHAT, source })?;
        let entries = value.get("config").and_then(Value::as_object).cloned().unwrap_or_default();
        Limits::at_most("number of tensors", entries.len() as u64, limits.tensors)?;
        for (name, entry) in entries {
            match one(zip, folder, &name, &entry, big_endian, contents, limits) {
                Ok(Some(tensor)) => {
                    if entry.get("is_param").and_then(Value::as_bool) == Some(false) {
                        contents.buffers.insert(name);
                    }
                    contents.tensors.push(tensor);
                }
                Ok(None) => {}
                Err(error) => {
                    contents.warn(WarningKind::Unreadable, config.clone(), format!("tensor `{name}`: {error}"));
                }
            }
        }
    }
    Ok(())
}

fn one(
    zip: &mut Archive,
    folder: &str,
    name: &str,
    entry: &Value,
    big_endian: bool,
    contents: &mut Contents,
    limits: &Limits,
) -> Result<Option<Tensor>, FormatError> {
    let rule = |rule| FormatError::Rule { what: "description of a weight", rule };
    Limits::at_most("tensor name length in bytes", name.len() as u64, limits.name_bytes)?;
    let path = entry.get("path_name").and_then(Value::as_str).ok_or_else(|| rule("it names a file"))?;
    let path = format!("{folder}{path}");
    if entry.get("use_pickle").and_then(Value::as_bool) == Some(true) {
        let mut of_one = Contents::default();
        inner(zip, &path, &mut of_one, limits)?;
        contents.code.append(&mut of_one.code);
        return Ok(of_one.tensors.into_iter().next().map(|tensor| Tensor { name: name.to_owned(), ..tensor }));
    }
    let meta = entry.get("tensor_meta").ok_or_else(|| rule("it describes a tensor"))?;
    let number = |value: &Value| value.get("as_int").unwrap_or(value).as_u64();
    let numbers = |key| -> Option<Vec<u64>> { meta.get(key)?.as_array()?.iter().map(number).collect() };
    let code = meta.get("dtype").and_then(Value::as_u64).unwrap_or(0);
    let layout = Layout {
        dtype: dtype::by_number(code)
            .ok_or_else(|| FormatError::UnknownDtype { tensor: name.to_owned(), dtype: code.to_string() })?,
        offset: meta.get("storage_offset").and_then(number).unwrap_or(0),
        shape: numbers("sizes").ok_or_else(|| rule("it has a shape"))?,
        strides: numbers("strides"),
        big_endian,
        conjugate: false,
        negate: false,
    };
    let bytes = Bytes::File(zip.open_named(&path)?.section()?);
    layout.tensor(&bytes, name, limits).map(Some)
}

/// Reads a torch file inside the archive: its tensors and its code.
fn inner(zip: &mut Archive, name: &str, contents: &mut Contents, limits: &Limits) -> Result<(), FormatError> {
    let Some(index) = zip.find(name) else { return Ok(()) };
    let section = zip.open(index)?.section()?;
    if section.is_empty() {
        return Ok(());
    }
    let read = Archive::read(&section, limits).and_then(|mut inner| {
        let folder = archive::folder_of(&inner, "data.pkl").ok_or(FormatError::BadMagic { what: "torch file" })?;
        let label = format!("{}!{name}", section.file());
        archive::load(&mut inner, &folder, "data", &label, limits)
    });
    let mut loaded = match read {
        Ok(loaded) => loaded,
        Err(error) => {
            contents.warn(WarningKind::Unreadable, name, error.to_string());
            return Ok(());
        }
    };
    let named = loaded.collect(loaded.root, &Default::default())?;
    let mut notes = Map::new();
    contents.tensors.extend(assemble::tensors(&mut loaded, named, &mut notes)?);
    contents.metadata.extend(notes);
    loaded.hand_over(contents);
    contents.metadata.entry("archive").or_insert_with(|| json!("pt2"));
    Ok(())
}
