//! Archives of `torch.jit.save`: the object tree in `data.pkl`, constants beside it, and a program in `code/`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::json;

use crate::contents::{Code, CodeWay, Contents, WarningKind};
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Section;
use crate::zip::Archive;

use super::{archive, assemble};

/// Reads the weights, and lists the program's files; the program is not looked into.
pub(super) fn read(
    section: &Section,
    mut zip: Archive,
    folder: &str,
    limits: &Limits,
) -> Result<Contents, FormatError> {
    let file = section.file().to_string();
    let mut loaded = archive::load(&mut zip, folder, "data", &file, limits)?;
    loaded.declared_buffers = declared_buffers(&mut zip, folder, limits);
    let mut contents = Contents::of(Format::TorchScript);
    let named = loaded.collect(loaded.root, &Default::default())?;
    contents.tensors = assemble::tensors(&mut loaded, named, &mut contents.metadata)?;
    if let Some(class) = loaded.graph.class(loaded.root) {
        contents.architecture.class = Some(class.name.to_string());
    }
    loaded.hand_over(&mut contents);
    if zip.find(&format!("{folder}/constants.pkl")).is_some() {
        match archive::load(&mut zip, folder, "constants", &file, limits) {
            Ok(mut constants) => {
                let count = constants.collect(constants.root, &Default::default())?.len();
                contents.metadata.insert("constants".into(), json!(count));
                constants.hand_over(&mut contents);
            }
            Err(error) => {
                contents.warn(WarningKind::Unreadable, format!("{file}!{folder}/constants.pkl"), error.to_string());
            }
        }
    }
    // Classes of the archive's own program, which is listed below, and the marks of types.
    contents.code.retain(|code| !code.name.starts_with("__torch__.") && !code.name.starts_with("torch.jit._pickle."));
    let program = format!("{folder}/code/");
    for entry in zip.entries() {
        if entry.name.starts_with(&program) && entry.name.ends_with(".py") || entry.name.ends_with("/bytecode.pkl") {
            let name = entry.name.clone();
            contents.code.push(Code { file: file.clone(), name, way: CodeWay::Program });
        }
    }
    if let Ok(version) = zip.open_named(&format!("{folder}/version")).and_then(|member| member.bytes(limits)) {
        contents.metadata.insert("version".into(), json!(String::from_utf8_lossy(version.trim_ascii())));
    }
    zip.check();
    contents.warnings.extend(zip.take_warnings());
    contents.code.sort();
    Ok(contents)
}

/// Buffers by class: the program lists them at the top of each class.
///
/// ```text
/// code/__torch__/a/b.py:  class BatchNorm(Module):
///                           __parameters__ = ["weight", "bias", ]
///                           __buffers__ = ["running_mean", "running_var", ]
/// ```
/// What cannot be read declares nothing: the program is not ours to judge.
fn declared_buffers(zip: &mut Archive, folder: &str, limits: &Limits) -> HashMap<String, Arc<HashSet<String>>> {
    let program = format!("{folder}/code/");
    let module = |name: &str| Some(name.strip_prefix(&program)?.strip_suffix(".py")?.replace('/', "."));
    let files: Vec<_> =
        zip.entries().iter().enumerate().filter_map(|(index, entry)| Some((index, module(&entry.name)?))).collect();
    let (mut found, mut left) = (HashMap::new(), limits.text_bytes);
    for (index, module) in files {
        let Some(bytes) = zip
            .open(index)
            .ok()
            .filter(|member| member.size_bytes <= left)
            .and_then(|member| member.bytes(limits).ok())
        else {
            continue;
        };
        left = left.saturating_sub(bytes.len() as u64);
        let mut class = None;
        for line in String::from_utf8_lossy(&bytes).lines() {
            if let Some(rest) = line.strip_prefix("class ") {
                class = rest.split(['(', ':']).next().map(|name| format!("{module}.{name}"));
            } else if let Some(list) = line.trim_start().strip_prefix("__buffers__ = [")
                && let Some(class) = class.take()
            {
                // Names stand between quotation marks.
                let names: HashSet<String> = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
                if !names.is_empty() {
                    found.insert(class, Arc::new(names));
                }
            }
        }
    }
    found
}
