//! NeMo archives: a tar of a configuration, weights and files beside them, plain or behind gzip.
//!
//! | member | content |
//! |---|---|
//! | `model_config.yaml` | settings; `target` and `_target_` name classes that are imported |
//! | `model_weights.ckpt`, `mp_rank_NN/model_weights.ckpt` | a state dict of torch, whole or one model-parallel rank's |
//! | `model_weights/…` | a folder of PyTorch's distributed checkpoints |
//!
//! Source: NVIDIA NeMo, `nemo/core/connectors/save_restore_connector.py`.

use serde_json::{Value as Json, json};

use crate::contents::{Code, CodeWay, Contents, WarningKind};
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::protobuf::broken;
use crate::source::{Folder, FolderFile, Section};
use crate::tensor::Filter;
use crate::{torch, yaml};

use super::tar::{self, Kind, Member};

const CONFIG: &str = "model_config.yaml";
const WEIGHTS: &str = ".ckpt";

/// Reads a `.nemo` file: its members, its weights, and the classes that its configuration asks for.
///
/// Weights of a plain tar lie in the file as they are; those behind gzip are decoded from its beginning.
///
/// # Errors
/// Those of [`tar::members`]; [`FormatError::Broken`] for a member that leads elsewhere or is a link,
/// [`FormatError::Rule`] when there is no configuration. Weights that cannot be read are a warning.
pub fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    let mut contents = Contents::of(Format::Nemo);
    let unpacked = if section.head("nemo archive", 2)? == [0x1f, 0x8b] { Some(gunzip(section, limits)?) } else { None };
    let tar = unpacked.as_ref().unwrap_or(section);
    let mut members = tar::members(tar, limits)?;
    for member in &members {
        let at = member.section.begin();
        if member.leads_outside() {
            return Err(broken("nemo archive", at, format!("member `{}` leads elsewhere", member.name)));
        }
        if matches!(member.kind, Kind::Link | Kind::Other) {
            return Err(broken("nemo archive", at, format!("member `{}` is a link or no file", member.name)));
        }
    }
    members.retain(|member| member.kind == Kind::File);
    let list = members.iter().map(|member| json!({ "name": member.name, "size_bytes": member.section.len() }));
    contents.metadata.insert("members".into(), list.collect::<Vec<_>>().into());
    let config = members.iter().rfind(|member| member.name.rsplit('/').next() == Some(CONFIG));
    let config = config.ok_or(FormatError::Rule { what: "nemo archive", rule: "it has a model_config.yaml" })?;
    configuration(&config.section, &mut contents, limits)?;
    weights(&members, &mut contents, limits);
    if unpacked.is_some() {
        contents.formats.push(Format::Gzip);
        let whole = section.stored("gzip stream", 0, section.len())?;
        for tensor in &mut contents.tensors {
            torch::move_behind(tensor, &whole, Filter::Gzip, tar)?;
        }
    }
    Ok(contents)
}

/// The facts of the configuration, and the classes that it asks for.
fn configuration(config: &Section, contents: &mut Contents, limits: &Limits) -> Result<(), FormatError> {
    Limits::at_most("nemo configuration in bytes", config.len(), limits.text_bytes)?;
    let text = config.read("nemo configuration", 0, config.len())?;
    let text = String::from_utf8_lossy(&text);
    let file = format!("{}!{CONFIG}", config.file());
    // Every line is looked at, too: what our reader of YAML refuses another one may take.
    let mut targets: Vec<String> = text.lines().filter_map(target).map(str::to_owned).collect();
    match yaml::read("nemo configuration", &text) {
        Ok(Json::Object(map)) => {
            if let Some(class) = map.get("target").or_else(|| map.get("_target_")).and_then(Json::as_str) {
                contents.architecture.class = class.rsplit('.').next().map(str::to_owned);
            }
            contents.metadata.extend(map.get("sample_rate").map(|rate| ("sample_rate".to_owned(), rate.clone())));
            let mut pending: Vec<(&str, &Json)> = map.iter().map(|(key, value)| (key.as_str(), value)).collect();
            while let Some((key, value)) = pending.pop() {
                match value {
                    Json::String(class) if ["target", "_target_"].contains(&key) => targets.push(class.clone()),
                    Json::Object(map) => pending.extend(map.iter().map(|(key, value)| (key.as_str(), value))),
                    Json::Array(list) => pending.extend(list.iter().map(|value| (key, value))),
                    _ => {}
                }
            }
            contents.architecture.config = map;
        }
        Ok(_) => contents.warn(WarningKind::Unreadable, &*file, "it is YAML, but no mapping"),
        Err(error) => {
            contents.warn(WarningKind::Unreadable, &*file, error.to_string());
            contents.metadata.insert(CONFIG.into(), Json::from(text.as_ref()));
        }
    }
    let found = &mut contents.architecture.class;
    if found.is_none() {
        let first = targets.iter().find(|target| target.starts_with("nemo."));
        *found = first.and_then(|target| target.rsplit('.').next()).map(str::to_owned);
    }
    // A class by its path, which is imported and called.
    let code = targets.into_iter().filter(|target| !target.starts_with("nemo."));
    contents.code.extend(code.map(|name| Code { file: file.clone(), name, way: CodeWay::Configuration }));
    contents.code.sort();
    contents.code.dedup();
    Ok(())
}

/// The weights: one file of torch, one for each rank, or a folder of parts.
fn weights(members: &[Member], contents: &mut Contents, limits: &Limits) {
    let files: Vec<&Member> = members.iter().filter(|member| member.name.ends_with(WEIGHTS)).collect();
    for member in &files {
        let folder = member.name.trim_start_matches("./").rsplit_once('/').map_or("", |(folder, _)| folder);
        let prefix = if files.len() > 1 { format!("{}.", folder.replace('/', ".")) } else { String::new() };
        match torch::read(&member.section, limits) {
            Ok(found) => take(contents, found, prefix.trim_start_matches('.')),
            Err(error) => {
                let file = format!("{}!{}", member.section.file(), member.name);
                contents.warn(WarningKind::Unreadable, file, error.to_string());
            }
        }
    }
    if files.len() > 1 {
        contents.warn(
            WarningKind::Other,
            "",
            format!("{} ranks' weights are listed one by one, not merged", files.len()),
        );
    }
    let inside = Inside::of(members);
    for metadata in inside.files.iter().filter(|file| file.path.ends_with("/.metadata")) {
        let folder = metadata.path.trim_end_matches(".metadata");
        if torch::dcp::is(&inside, folder) {
            match torch::dcp::read(&inside, folder, limits) {
                Ok(found) => take(contents, found, ""),
                Err(error) => contents.warn(WarningKind::Unreadable, folder, error.to_string()),
            }
        }
    }
    if contents.tensors.is_empty() {
        contents.warn(WarningKind::Missing, "", "no weights were found among the members");
    }
}

fn take(contents: &mut Contents, found: Contents, prefix: &str) {
    let named = |name: String| format!("{prefix}{name}");
    contents.tensors.extend(found.tensors.into_iter().map(|mut tensor| {
        tensor.name.insert_str(0, prefix);
        tensor
    }));
    contents.buffers.extend(found.buffers.into_iter().map(named));
    contents.code.extend(found.code);
    contents.warnings.extend(found.warnings);
    contents.optimizer = contents.optimizer.take().or(found.optimizer);
    for (key, value) in found.metadata {
        contents.metadata.entry(key).or_insert(value);
    }
}

/// The members as a folder.
struct Inside {
    files: Vec<FolderFile>,
    sections: Vec<Section>,
}

impl Inside {
    fn of(members: &[Member]) -> Self {
        let mut members: Vec<(&str, &Section)> =
            members.iter().map(|member| (member.name.trim_start_matches("./"), &member.section)).collect();
        members.sort_by_key(|(name, _)| *name);
        let file = |(name, section): &(&str, &Section)| FolderFile { path: (*name).into(), size_bytes: section.len() };
        Self {
            files: members.iter().map(file).collect(),
            sections: members.into_iter().map(|(_, section)| section.clone()).collect(),
        }
    }
}

impl Folder for Inside {
    fn files(&self) -> &[FolderFile] {
        &self.files
    }

    fn open(&self, path: &str) -> Result<Section, FormatError> {
        let place = self.files.binary_search_by(|file| (*file.path).cmp(path)).ok();
        let section = place.and_then(|place| self.sections.get(place)).cloned();
        section.ok_or_else(|| FormatError::NoFile { path: path.to_owned() })
    }
}

/// The archive out of a gzip stream, in memory.
fn gunzip(section: &Section, limits: &Limits) -> Result<Section, FormatError> {
    Limits::at_most("gzip stream in bytes", section.len(), limits.decoded_bytes)?;
    let bytes = section.read("gzip stream", 0, section.len())?;
    let broken = |detail: &str| broken("gzip stream", section.begin(), detail);
    let body = deflated(&bytes).ok_or_else(|| broken("its header does not end"))?;
    let most = section.len().saturating_mul(limits.inflate_ratio).max(16 << 20).min(limits.decoded_bytes);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let plain = miniz_oxide::inflate::decompress_to_vec_with_limit(body, most);
    let plain =
        plain.map_err(|error| broken(&format!("it cannot be decoded, or is too long: {}", error.status as i32)))?;
    Ok(Section::of_bytes(std::sync::Arc::clone(section.file()), plain))
}

/// What stands behind the header of a gzip stream (RFC 1952).
fn deflated(bytes: &[u8]) -> Option<&[u8]> {
    let flags = *bytes.get(3)?;
    let mut rest = bytes.get(10..)?;
    if flags & 4 != 0 {
        let len = u16::from_le_bytes(*rest.first_chunk()?);
        rest = rest.get(2 + usize::from(len)..)?;
    }
    // A name and a comment end with a zero each; a checksum of the header has two bytes.
    for flag in [8, 16] {
        if flags & flag != 0 {
            rest = rest.get(rest.iter().position(|&byte| byte == 0)? + 1..)?;
        }
    }
    if flags & 2 == 0 { Some(rest) } else { rest.get(2..) }
}

/// The class that a line of YAML asks for.
fn target(line: &str) -> Option<&str> {
    let line = line.trim_start_matches([' ', '-']);
    let value = line.strip_prefix("_target_:").or_else(|| line.strip_prefix("target:"))?;
    Some(value.trim().trim_matches(['"', '\''])).filter(|value| !value.is_empty())
}
