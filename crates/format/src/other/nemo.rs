//! NeMo archives: a tar of a configuration, weights and files beside them.

use serde_json::{Value as Json, json};

use crate::contents::{Code, CodeWay, Contents};
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::protobuf::broken;
use crate::source::Section;

use super::tar::{self, Kind};

const CONFIG: &str = "model_config.yaml";

/// Describes a `.nemo` file: its members, and the classes that its configuration asks for.
///
/// The weights are a file of torch inside (`*.ckpt`, or a folder of them); whoever wants them opens the member.
///
/// # Errors
/// Those of [`tar::members`]; [`FormatError::Broken`] for a member that leads elsewhere or is a link,
/// [`FormatError::Rule`] when there is no configuration.
pub fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    let mut contents = Contents::of(Format::Nemo);
    let unpacked = if section.head("nemo archive", 2)? == [0x1f, 0x8b] { Some(gunzip(section, limits)?) } else { None };
    let section = unpacked.as_ref().unwrap_or(section);
    let mut config = None;
    let mut members = Vec::new();
    for member in tar::members(section, limits)? {
        let at = member.section.begin();
        if member.leads_outside() {
            return Err(broken("nemo archive", at, format!("member `{}` leads elsewhere", member.name)));
        }
        if matches!(member.kind, Kind::Link | Kind::Other) {
            return Err(broken("nemo archive", at, format!("member `{}` is a link or no file", member.name)));
        }
        if member.name.rsplit('/').next() == Some(CONFIG) {
            config = Some(member.section.clone());
        }
        if member.kind == Kind::File {
            members.push(json!({ "name": member.name, "size_bytes": member.section.len() }));
        }
    }
    contents.metadata.insert("members".into(), members.into());
    let config = config.ok_or(FormatError::Rule { what: "nemo archive", rule: "it has a model_config.yaml" })?;
    Limits::at_most("nemo configuration in bytes", config.len(), limits.text_bytes)?;
    let text = config.read("nemo configuration", 0, config.len())?;
    let text = String::from_utf8_lossy(&text);
    let file = format!("{}!{CONFIG}", section.file());
    for target in text.lines().filter_map(target) {
        // A class by its path, which is imported and called.
        if !target.starts_with("nemo.") {
            let code = Code { file: file.clone(), name: target.to_owned(), way: CodeWay::Configuration };
            if !contents.code.contains(&code) {
                contents.code.push(code);
            }
        } else if contents.architecture.class.is_none() {
            contents.architecture.class = target.rsplit('.').next().map(str::to_owned);
        }
    }
    contents.metadata.insert(CONFIG.into(), Json::from(text.as_ref()));
    Ok(contents)
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
