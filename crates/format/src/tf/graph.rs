//! The graph of a SavedModel: what it computes, in numbers, and which operators reach outside.
//!
//! Source: `saved_model.proto`, `meta_graph.proto`, `graph.proto`, `function.proto` of TensorFlow.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use crate::contents::{Code, CodeWay, Contents};
use crate::error::FormatError;
use crate::limits::Limits;
use crate::protobuf::Message;

/// Operators that read or write files, run Python, load libraries or speak to the network. Those that every SavedModel
/// has for its own checkpoint (`SaveV2`, `RestoreV2`, `MergeV2Checkpoints`) are not among them.
const OUTWARD: &[&str] = &[
    "CreateSummaryDbWriter",
    "CreateSummaryFileWriter",
    "DebugIdentity",
    "DebugIdentityV2",
    "DebugIdentityV3",
    "DebugNanCount",
    "DebugNumericSummary",
    "DecodeProtoV2",
    "EagerPyFunc",
    "FixedLengthRecordDataset",
    "FixedLengthRecordDatasetV2",
    "FixedLengthRecordReader",
    "FixedLengthRecordReaderV2",
    "LMDBDataset",
    "LMDBReader",
    "LoadDataset",
    "LoadDatasetV2",
    "LoadLibrary",
    "MatchingFiles",
    "MatchingFilesDataset",
    "PrintV2",
    "PyFunc",
    "PyFuncStateless",
    "ReadFile",
    "RemoteCall",
    "RpcCall",
    "RpcClient",
    "RpcServer",
    "SaveDataset",
    "SaveDatasetV2",
    "ShellExec",
    "SqlDataset",
    "SummaryWriter",
    "TFRecordDataset",
    "TFRecordDatasetV2",
    "TFRecordReaderV2",
    "TextLineDataset",
    "TextLineReaderV2",
    "WholeFileReader",
    "WholeFileReaderV2",
    "WriteFile",
];

/// Notes what the graph says in the contents.
pub(super) fn read(model: &Message, file: &str, limits: &Limits, contents: &mut Contents) -> Result<(), FormatError> {
    let mut walk = Walk { limits, operators: BTreeMap::new(), outward: BTreeSet::new(), nodes: 0, functions: 0 };
    let (mut tags, mut version, mut signatures) = (Vec::new(), String::new(), Map::new());
    let mut graphs = 0u64;
    for field in model.fields("saved model")? {
        let field = field?;
        let (2, Some(meta)) = (field.number, field.value.message()) else { continue };
        graphs += 1;
        for field in meta.fields("meta graph")? {
            let field = field?;
            match (field.number, field.value.message()) {
                (1, Some(info)) => {
                    for field in info.fields("meta graph info")? {
                        let field = field?;
                        match (field.number, field.value.message()) {
                            (4, Some(tag)) => tags.push(Json::from(tag.text("graph tag", limits.name_bytes)?)),
                            (5, Some(text)) => version = text.text("tensorflow version", limits.name_bytes)?,
                            _ => {}
                        }
                    }
                    Limits::at_most("number of graph tags", tags.len() as u64, limits.metadata_entries)?;
                }
                (2, Some(graph)) => walk.graph(graph)?,
                (5, Some(entry)) => {
                    signature(entry, limits, &mut signatures)?;
                    Limits::at_most("number of signatures", signatures.len() as u64, limits.metadata_entries)?;
                }
                _ => {}
            }
        }
    }
    if graphs == 0 {
        return Err(FormatError::Empty { what: "saved model" });
    }
    let operators = walk.operators.into_iter().map(|(name, count)| (name, count.into())).collect();
    let graph = Map::from_iter([
        ("nodes".to_owned(), walk.nodes.into()),
        ("functions".to_owned(), walk.functions.into()),
        ("operators".to_owned(), Json::Object(operators)),
    ]);
    contents.metadata.insert("graph".into(), Json::Object(graph));
    contents.metadata.insert("tags".into(), tags.into());
    contents.metadata.insert("tensorflow_version".into(), version.into());
    contents.metadata.insert("signatures".into(), Json::Object(signatures));
    let code = |name| Code { file: file.to_owned(), name, way: CodeWay::Operator };
    contents.code.extend(walk.outward.into_iter().map(code));
    Ok(())
}

struct Walk<'a> {
    limits: &'a Limits,
    operators: BTreeMap<String, u64>,
    outward: BTreeSet<String>,
    nodes: u64,
    functions: u64,
}

impl Walk<'_> {
    /// Nodes of the graph, and of the functions in its library. Neither nests.
    fn graph(&mut self, graph: &Message) -> Result<(), FormatError> {
        for field in graph.fields("graph")? {
            let field = field?;
            match (field.number, field.value.message()) {
                (1, Some(node)) => self.node(node)?,
                (2, Some(library)) => {
                    for field in library.fields("function library")? {
                        let field = field?;
                        let (1, Some(function)) = (field.number, field.value.message()) else { continue };
                        self.functions += 1;
                        for field in function.fields("function")? {
                            let field = field?;
                            if let (3, Some(node)) = (field.number, field.value.message()) {
                                self.node(node)?;
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &Message) -> Result<(), FormatError> {
        self.nodes += 1;
        for field in node.fields("node")? {
            let field = field?;
            let (2, Some(operator)) = (field.number, field.value.message()) else { continue };
            let operator = operator.text("operator", self.limits.name_bytes)?;
            if OUTWARD.contains(&operator.as_str()) {
                self.outward.insert(operator.clone());
            }
            *self.operators.entry(operator).or_default() += 1;
            Limits::at_most("number of operators", self.operators.len() as u64, self.limits.metadata_entries)?;
        }
        Ok(())
    }
}

/// A signature: its name, and the names of its inputs and outputs.
fn signature(entry: &Message, limits: &Limits, into: &mut Map<String, Json>) -> Result<(), FormatError> {
    let (mut name, mut inputs, mut outputs) = (String::new(), Vec::new(), Vec::new());
    for field in entry.fields("signature")? {
        let field = field?;
        match (field.number, field.value.message()) {
            (1, Some(text)) => name = text.text("signature name", limits.name_bytes)?,
            (2, Some(signature)) => {
                for field in signature.fields("signature")? {
                    let field = field?;
                    match (field.number, field.value.message()) {
                        (1, Some(end)) => inputs.push(end_name(end, limits)?),
                        (2, Some(end)) => outputs.push(end_name(end, limits)?),
                        _ => {}
                    }
                    let count = (inputs.len() + outputs.len()) as u64;
                    Limits::at_most("number of signature ends", count, limits.metadata_entries)?;
                }
            }
            _ => {}
        }
    }
    let ends = [("inputs".to_owned(), inputs.into()), ("outputs".to_owned(), outputs.into())];
    into.insert(name, Json::Object(Map::from_iter(ends)));
    Ok(())
}

/// Key of an entry of a map.
fn end_name(entry: &Message, limits: &Limits) -> Result<Json, FormatError> {
    for field in entry.fields("signature end")? {
        let field = field?;
        if let (1, Some(text)) = (field.number, field.value.message()) {
            return Ok(text.text("signature end", limits.name_bytes)?.into());
        }
    }
    Ok(Json::Null)
}
