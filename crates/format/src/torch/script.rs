//! Archives of `torch.jit.save`: the object tree in `data.pkl`, constants beside it, and a program in `code/`.

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
    let mut contents = Contents::of(Format::TorchScript);
    let named = loaded.collect(loaded.root, &Default::default())?;
    contents.tensors = assemble::tensors(&mut loaded, named, &mut contents.metadata)?;
    if let Some(class) = loaded.graph.class(loaded.root) {
        contents.architecture.class = Some(class.name.to_string());
    }
    for global in loaded.graph.globals() {
        // Classes of the archive's own program, and the marks of types.
        let own = global.module.starts_with("__torch__") || *global.module == *"torch.jit._pickle";
        if !own && !super::allow::is_data(global) {
            let way = CodeWay::PickleImport;
            contents.code.push(Code { file: loaded.label.clone(), name: global.path(), way });
        }
    }
    contents.warnings.append(&mut loaded.warnings);
    if zip.find(&format!("{folder}/constants.pkl")).is_some() {
        match archive::load(&mut zip, folder, "constants", &file, limits) {
            Ok(mut constants) => {
                let count = constants.collect(constants.root, &Default::default())?.len();
                contents.metadata.insert("constants".into(), json!(count));
            }
            Err(error) => {
                contents.warn(WarningKind::Unreadable, format!("{file}!{folder}/constants.pkl"), error.to_string());
            }
        }
    }
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
