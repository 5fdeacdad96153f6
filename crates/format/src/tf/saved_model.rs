//! SavedModel: a graph with its variables and files.

use serde_json::{Map, Value as Json};

use crate::contents::{Contents, WarningKind};
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::protobuf::Message;
use crate::source::Folder;

use super::{bundle, graph};

/// Names of the file with the graph: a protocol buffer, as text, in chunks.
pub(super) const GRAPHS: &[&str] = &["saved_model.pb", "saved_model.pbtxt", "saved_model.cpb"];

/// Describes the SavedModel in the folder `prefix`; `""` is the folder itself.
///
/// # Errors
/// [`FormatError::NoFile`] without a graph, [`FormatError::Broken`] and its kin when graph or variables are no such
/// thing, [`FormatError::TooLarge`] beyond the limits.
pub fn read(folder: &dyn Folder, prefix: &str, limits: &Limits) -> Result<Contents, FormatError> {
    let path = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
    let index = path("variables/variables.index");
    let mut contents = match folder.has(&index) {
        true => bundle::read(folder, &index, limits)?,
        false => Contents::default(),
    };
    contents.formats.insert(0, Format::SavedModel);

    let graph = path("saved_model.pb");
    if folder.has(&graph) {
        let message = Message::new(folder.open(&graph)?);
        graph::read(&message, &graph, limits, &mut contents).map_err(|error| error.in_file(&graph))?;
    } else {
        let other = GRAPHS.iter().map(|name| path(name)).find(|path| folder.has(path));
        let other = other.ok_or(FormatError::NoFile { path: graph })?;
        let text = "a graph as text or in chunks is not read; its operators are not known";
        contents.warn(WarningKind::Unreadable, other, text);
    }
    let keras = path("keras_metadata.pb");
    if folder.has(&keras) {
        keras_objects(&Message::new(folder.open(&keras)?), &keras, limits, &mut contents)
            .map_err(|error| error.in_file(&keras))?;
    }
    let assets = path("assets/");
    let assets: Vec<Json> = folder
        .files()
        .iter()
        .filter_map(|file| file.path.strip_prefix(&*assets))
        .take(usize::try_from(limits.metadata_entries).unwrap_or(usize::MAX))
        .map(Json::from)
        .collect();
    if !assets.is_empty() {
        contents.metadata.insert("assets".into(), assets.into());
    }
    Ok(contents)
}

/// Objects that Keras 2 describes in JSON beside the graph: layers, and with them functions.
fn keras_objects(message: &Message, file: &str, limits: &Limits, contents: &mut Contents) -> Result<(), FormatError> {
    let mut classes = Map::new();
    for field in message.fields("keras metadata")? {
        let field = field?;
        let (1, Some(node)) = (field.number, field.value.message()) else { continue };
        for field in node.fields("keras object")? {
            let field = field?;
            let (5, Some(text)) = (field.number, field.value.message()) else { continue };
            let text = text.bytes("keras object", limits.text_bytes)?;
            let source = |source| FormatError::Json { what: "keras object", source };
            let config: Json = serde_json::from_slice(&text).map_err(source)?;
            if let Some(class) = config.get("class_name").and_then(Json::as_str) {
                let count = classes.get(class).and_then(Json::as_u64).unwrap_or(0);
                classes.insert(class.to_owned(), (count + 1).into());
                Limits::at_most("number of keras classes", classes.len() as u64, limits.metadata_entries)?;
            }
            crate::keras::scan(&config, file, contents);
        }
    }
    if !classes.is_empty() {
        contents.metadata.insert("keras_classes".into(), Json::Object(classes));
    }
    Ok(())
}
