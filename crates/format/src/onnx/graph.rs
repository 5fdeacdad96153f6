//! Graphs, the graphs inside their nodes, and functions.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde_json::{Map, Value as Json, json};

use crate::contents::{Code, CodeWay, Warning, WarningKind};
use crate::error::FormatError;
use crate::limits::Limits;
use crate::protobuf::{Message, Value};
use crate::source::Folder;
use crate::tensor::Tensor;

use super::tensor;

/// Domains that ONNX itself defines.
const OWN_DOMAINS: &[&str] =
    &["", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training"];

/// A walk over everything that has nodes. Graphs wait in a queue, so that nesting costs no stack.
pub(super) struct Walk<'a> {
    folder: &'a dyn Folder,
    path: &'a str,
    limits: &'a Limits,
    waiting: VecDeque<(Message, u64)>,
    functions: BTreeSet<(String, String)>,
    tensors: Vec<Tensor>,
    names: HashMap<String, u64>,
    operators: BTreeMap<String, u64>,
    custom: BTreeSet<String>,
    sparse: Map<String, Json>,
    nodes: u64,
    graphs: u64,
    graph: Map<String, Json>,
    warnings: Vec<Warning>,
}

/// What a walk found: tensors, facts for the metadata, code, warnings.
type Found = (Vec<Tensor>, Map<String, Json>, Vec<Code>, Vec<Warning>);

impl<'a> Walk<'a> {
    pub(super) fn new(folder: &'a dyn Folder, path: &'a str, limits: &'a Limits) -> Self {
        Self {
            folder,
            path,
            limits,
            waiting: VecDeque::new(),
            functions: BTreeSet::new(),
            tensors: Vec::new(),
            names: HashMap::new(),
            operators: BTreeMap::new(),
            custom: BTreeSet::new(),
            sparse: Map::new(),
            nodes: 0,
            graphs: 0,
            graph: Map::new(),
            warnings: Vec::new(),
        }
    }

    /// Walks the main graph, then the functions.
    pub(super) fn run(&mut self, graph: &Message, functions: &[Message]) -> Result<(), FormatError> {
        for function in functions {
            let (mut domain, mut name) = (String::new(), String::new());
            for field in function.fields("onnx function")? {
                let field = field?;
                match (field.number, field.value.message()) {
                    (1, Some(text)) => name = self.name(text)?,
                    (10, Some(text)) => domain = self.name(text)?,
                    _ => {}
                }
            }
            self.functions.insert((domain, name));
        }
        self.graph(graph, 0, true)?;
        self.drain()?;
        for function in functions {
            for field in function.fields("onnx function")? {
                let field = field?;
                if let (7, Some(node)) = (field.number, field.value.message()) {
                    self.node(node, 0)?;
                }
            }
            self.drain()?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Found {
        let operators = self.operators.into_iter().map(|(name, count)| (name, count.into())).collect();
        self.graph.insert("nodes".into(), self.nodes.into());
        self.graph.insert("operators".into(), Json::Object(operators));
        if self.graphs > 1 {
            self.graph.insert("subgraphs".into(), (self.graphs - 1).into());
        }
        let mut facts = Map::from_iter([("graph".to_owned(), Json::Object(self.graph))]);
        if !self.functions.is_empty() {
            let spell = |(domain, name): &(String, String)| Json::from(format!("{domain}::{name}"));
            facts.insert("functions".into(), self.functions.iter().map(spell).collect());
        }
        if !self.sparse.is_empty() {
            facts.insert("sparse".into(), Json::Object(self.sparse));
        }
        let file = self.path;
        let code = |name| Code { file: file.to_owned(), name, way: CodeWay::Operator };
        (self.tensors, facts, self.custom.into_iter().map(code).collect(), self.warnings)
    }

    fn drain(&mut self) -> Result<(), FormatError> {
        while let Some((graph, depth)) = self.waiting.pop_front() {
            self.graph(&graph, depth, false)?;
        }
        Ok(())
    }

    fn graph(&mut self, graph: &Message, depth: u64, is_main: bool) -> Result<(), FormatError> {
        Limits::at_most("nesting of onnx graphs", depth, self.limits.depth)?;
        self.graphs += 1;
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for field in graph.fields("onnx graph")? {
            let field = field?;
            let Some(message) = field.value.message() else { continue };
            match field.number {
                1 => self.node(message, depth)?,
                2 if is_main => {
                    let name = self.name(message)?;
                    self.graph.insert("name".into(), name.into());
                }
                5 => self.tensor(message, "", "")?,
                15 => self.sparse(message, "")?,
                11 | 12 if is_main => {
                    let ends = if field.number == 11 { &mut inputs } else { &mut outputs };
                    ends.push(end(message, self.limits)?);
                    Limits::at_most("number of graph inputs", ends.len() as u64, self.limits.tensors)?;
                }
                _ => {}
            }
        }
        if is_main {
            // Before IR version 4, initialisers are inputs too, with these values by default.
            inputs.retain(|input| !input["name"].as_str().is_some_and(|name| self.names.contains_key(name)));
            self.graph.insert("inputs".into(), inputs.into());
            self.graph.insert("outputs".into(), outputs.into());
        }
        Ok(())
    }

    fn node(&mut self, node: &Message, depth: u64) -> Result<(), FormatError> {
        let (mut operator, mut domain, mut output) = (String::new(), String::new(), None);
        let mut attributes = Vec::new();
        for field in node.fields("onnx node")? {
            let field = field?;
            let Some(message) = field.value.message() else { continue };
            match field.number {
                2 if output.is_none() => output = Some(message.clone()),
                4 => operator = self.name(message)?,
                5 => {
                    attributes.push(message.clone());
                    Limits::at_most("number of attributes", attributes.len() as u64, self.limits.metadata_entries)?;
                }
                7 => domain = self.name(message)?,
                _ => {}
            }
        }
        self.nodes += 1;
        let name = if OWN_DOMAINS.contains(&domain.as_str()) {
            operator.clone()
        } else {
            let name = format!("{domain}::{operator}");
            if !self.functions.contains(&(domain.clone(), operator.clone())) {
                self.custom.insert(name.clone());
            }
            name
        };
        *self.operators.entry(name).or_default() += 1;
        Limits::at_most("number of operators", self.operators.len() as u64, self.limits.metadata_entries)?;

        let is_constant = operator == "Constant" && OWN_DOMAINS.contains(&domain.as_str());
        let output = if is_constant { output.map(|text| self.name(&text)).transpose()? } else { None };
        for attribute in attributes {
            for field in attribute.fields("onnx attribute")? {
                let field = field?;
                let Some(message) = field.value.message() else { continue };
                match (field.number, &output) {
                    (6 | 11, _) => {
                        self.waiting.push_back((message.clone(), depth + 1));
                        Limits::at_most("number of subgraphs", self.waiting.len() as u64, self.limits.members)?;
                    }
                    (5, Some(output)) => self.tensor(message, output, output)?,
                    (22, Some(output)) => self.sparse(message, output)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Notes a tensor. `called` is its name whatever it says itself; `given` the name when it says none.
    fn tensor(&mut self, message: &Message, called: &str, given: &str) -> Result<(), FormatError> {
        let mut found = tensor::read(message, given, self.folder, self.path, self.limits)?;
        if !called.is_empty() {
            found.tensor.name = called.to_owned();
        }
        if let Some((kind, text)) = found.warning {
            self.warn(kind, text);
        }
        self.push(found.tensor)
    }

    fn push(&mut self, mut tensor: Tensor) -> Result<(), FormatError> {
        let count = self.names.entry(tensor.name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            let count = *count;
            self.warn(WarningKind::Duplicate, format!("there are several tensors `{}`", tensor.name));
            tensor.name = format!("{}#{count}", tensor.name);
        }
        self.tensors.push(tensor);
        Limits::at_most("number of tensors", self.tensors.len() as u64, self.limits.tensors)
    }

    /// Notes the values and the indices of a `SparseTensorProto`.
    fn sparse(&mut self, message: &Message, given: &str) -> Result<(), FormatError> {
        let (mut values, mut indices, mut dims) = (None, None, Vec::new());
        for field in message.fields("onnx sparse tensor")? {
            let field = field?;
            match (field.number, &field.value) {
                (1, Value::Bytes(tensor)) => values = Some(tensor.clone()),
                (2, Value::Bytes(tensor)) => indices = Some(tensor.clone()),
                (3, value) => value.repeated("rank of a sparse onnx tensor", self.limits.rank, &mut dims)?,
                _ => {}
            }
        }
        let missing = FormatError::Rule { what: "sparse onnx tensor", rule: "it has values and indices" };
        let (Some(values), Some(indices)) = (values, indices) else { return Err(missing) };
        let mut values = tensor::read(&values, given, self.folder, self.path, self.limits)?;
        let mut indices = tensor::read(&indices, given, self.folder, self.path, self.limits)?;
        let name = if given.is_empty() { std::mem::take(&mut values.tensor.name) } else { given.to_owned() };
        values.tensor.name = format!("{name}.values");
        indices.tensor.name = format!("{name}.indices");
        self.sparse.insert(name, dims.into());
        self.push(values.tensor)?;
        self.push(indices.tensor)
    }

    fn name(&self, message: &Message) -> Result<String, FormatError> {
        message.text("onnx name", self.limits.name_bytes)
    }

    fn warn(&mut self, kind: WarningKind, message: String) {
        self.warnings.push(Warning { kind, file: self.path.to_owned(), message });
    }
}

/// Name, dtype and shape of a `ValueInfoProto`; extents without a number are names, or null.
fn end(message: &Message, limits: &Limits) -> Result<Json, FormatError> {
    let mut answer = Map::new();
    for field in message.fields("onnx value")? {
        let field = field?;
        match (field.number, field.value.message()) {
            (1, Some(text)) => {
                answer.insert("name".into(), text.text("onnx name", limits.name_bytes)?.into());
            }
            (2, Some(kind)) => {
                for field in kind.fields("onnx type")? {
                    let field = field?;
                    // Sequences, maps and optionals have other numbers, and only a name here.
                    if let (1 | 8, Some(kind)) = (field.number, field.value.message()) {
                        tensor_type(kind, limits, &mut answer)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(Json::Object(answer))
}

fn tensor_type(message: &Message, limits: &Limits, into: &mut Map<String, Json>) -> Result<(), FormatError> {
    for field in message.fields("onnx tensor type")? {
        let field = field?;
        match (field.number, &field.value) {
            (1, Value::Varint(code)) => {
                into.insert("dtype".into(), tensor::spelling(*code).into());
            }
            (2, Value::Bytes(shape)) => {
                let mut dims = Vec::new();
                for dim in shape.fields("onnx shape")? {
                    let dim = dim?;
                    let Some(message) = dim.value.message() else { continue };
                    dims.push(extent(message, limits)?);
                    Limits::at_most("rank of an onnx value", dims.len() as u64, limits.rank)?;
                }
                into.insert("shape".into(), dims.into());
            }
            _ => {}
        }
    }
    Ok(())
}

fn extent(message: &Message, limits: &Limits) -> Result<Json, FormatError> {
    for field in message.fields("onnx dimension")? {
        match field?.value {
            Value::Varint(extent) => return Ok(json!(extent as i64)),
            Value::Bytes(name) => return Ok(name.text("onnx name", limits.name_bytes)?.into()),
            _ => {}
        }
    }
    Ok(Json::Null)
}
