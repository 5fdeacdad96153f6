//! Zip of stable-baselines3: settings in JSON, and torch files.
//!
//! | member | content |
//! |---|---|
//! | `data` | JSON; objects have their pickle in base64 under `:serialized:` and their attributes as text beside it |
//! | `policy.pth` | state dict of the policy |
//! | `policy.optimizer.pth`, `*.optimizer.pth` | state of an optimizer |
//! | `pytorch_variables.pth` | other tensors, most often none |
//! | `_stable_baselines3_version`, `system_info.txt` | text |

use serde_json::{Map, Value, json};

use crate::contents::{Contents, WarningKind};
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::pickle;
use crate::source::Section;
use crate::zip::Archive;

use super::{archive, assemble};

const PICKLED: &str = ":serialized:";
/// Longest text of an attribute that is shown.
const SHOWN: usize = 4096;

/// Reads policy, optimizers and settings. Pickles in the settings are looked at for what they import, and not shown.
pub(super) fn read(section: &Section, mut zip: Archive, limits: &Limits) -> Result<Contents, FormatError> {
    let file = section.file().to_string();
    let mut contents = Contents::of(Format::StableBaselines3);
    contents.architecture.family = Some("stable-baselines3".to_owned());
    if zip.find("data").is_some() {
        settings(&mut zip, &file, &mut contents, limits)?;
    }
    if let Ok(version) = zip.open_named("_stable_baselines3_version").and_then(|member| member.bytes(limits)) {
        let version = String::from_utf8_lossy(version.trim_ascii()).into_owned();
        contents.metadata.insert("stable_baselines3_version".into(), json!(version));
    }
    let mut names: Vec<_> = zip.entries().iter().map(|entry| entry.name.clone()).collect();
    names.retain(|name| name.ends_with(".pth"));
    // The policy first: the optimizer's parameters are named after it.
    names.sort_by_key(|name| (name.as_str() != "policy.pth", name.contains("optimizer"), name.clone()));
    for name in names {
        if let Err(error) = torch_file(&mut zip, &name, &file, &mut contents, limits) {
            contents.warn(WarningKind::Unreadable, format!("{file}!{name}"), error.to_string());
        }
    }
    zip.check();
    contents.warnings.extend(zip.take_warnings());
    contents.code.sort();
    contents.code.dedup();
    Ok(contents)
}

fn settings(zip: &mut Archive, file: &str, contents: &mut Contents, limits: &Limits) -> Result<(), FormatError> {
    const WHAT: &str = "settings of stable-baselines3";
    let member = zip.open_named("data")?;
    Limits::at_most("settings of stable-baselines3 in bytes", member.size_bytes, limits.text_bytes)?;
    let value: Map<String, Value> =
        serde_json::from_slice(&member.bytes(limits)?).map_err(|source| FormatError::Json { what: WHAT, source })?;
    for (key, value) in value {
        let Value::Object(mut object) = value else {
            contents.metadata.insert(key, value);
            continue;
        };
        let Some(Value::String(text)) = object.remove(PICKLED) else {
            contents.metadata.insert(key, Value::Object(object));
            continue;
        };
        let label = format!("{file}!data:{key}");
        match base64(&text) {
            Some(bytes) => {
                let pickle = pickle::read(&Section::of_bytes(label.as_str(), bytes), 0, limits);
                if key == "policy_class" {
                    // The class itself is pickled, by its name.
                    let class = pickle.root.and_then(|root| pickle.graph.global(root));
                    contents.architecture.class = class.map(|class| class.name.to_string());
                }
                assemble::code(&label, &pickle.trace, pickle.graph.globals(), contents);
                if let Some(error) = &pickle.trace.error {
                    contents.warn(WarningKind::Unreadable, label, error.to_string());
                }
            }
            None => contents.warn(WarningKind::Unreadable, label, "it is not base64"),
        }
        object.retain(|name, value| !name.starts_with("__") && value.to_string().len() <= SHOWN);
        contents.metadata.insert(key, Value::Object(object));
    }
    Ok(())
}

fn torch_file(
    zip: &mut Archive,
    name: &str,
    file: &str,
    contents: &mut Contents,
    limits: &Limits,
) -> Result<(), FormatError> {
    let section = zip.open_named(name)?.section()?;
    let mut inner = Archive::read(&section, limits)?;
    let folder = archive::folder_of(&inner, "data.pkl").ok_or(FormatError::BadMagic { what: "torch file" })?;
    let mut loaded = archive::load(&mut inner, &folder, "data", &format!("{file}!{name}"), limits)?;
    if loaded.is_optimizer(loaded.root) {
        // `actor.optimizer.pth` is for `actor` only.
        let part = name.trim_end_matches("optimizer.pth");
        let inside: Vec<_> = contents.tensors.iter().filter(|tensor| tensor.name.starts_with(part)).cloned().collect();
        let model = if inside.is_empty() { &contents.tensors } else { &inside };
        let next = loaded.optimizer(loaded.root, model)?;
        match &mut contents.optimizer {
            None => contents.optimizer = Some(next),
            Some(first) => {
                let prefix = name.trim_end_matches(".pth");
                let named = next.tensors.into_iter().map(|mut tensor| {
                    tensor.name = format!("{prefix}:{}", tensor.name);
                    tensor
                });
                first.tensors.extend(named);
                first.groups.extend(next.groups);
            }
        }
    } else {
        let named = loaded.collect(loaded.root, &Default::default())?;
        let mut notes = Map::new();
        let mut tensors = assemble::tensors(&mut loaded, named, &mut notes)?;
        if name != "policy.pth" {
            let prefix = name.trim_end_matches(".pth");
            tensors.iter_mut().for_each(|tensor| tensor.name = format!("{prefix}.{}", tensor.name));
        }
        contents.tensors.append(&mut tensors);
    }
    loaded.hand_over(contents);
    Ok(())
}

/// Decodes base64; line breaks are stepped over.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    crate::base64::decode(text.trim_end().trim_end_matches('='), |byte| byte.is_ascii_whitespace())
}
