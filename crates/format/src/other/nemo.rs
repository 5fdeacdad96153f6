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
    if section.head("nemo archive", 2)? == [0x1f, 0x8b] {
        let detail = "the archive is compressed; unpack it with `gunzip` first".to_owned();
        return Err(FormatError::Unsupported { what: "nemo archive", detail });
    }
    let mut contents = Contents::of(Format::Nemo);
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

/// The class that a line of YAML asks for.
fn target(line: &str) -> Option<&str> {
    let line = line.trim_start_matches([' ', '-']);
    let value = line.strip_prefix("_target_:").or_else(|| line.strip_prefix("target:"))?;
    Some(value.trim().trim_matches(['"', '\''])).filter(|value| !value.is_empty())
}
