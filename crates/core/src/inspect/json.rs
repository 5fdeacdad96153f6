//! An inspection as JSON, schema `weighthouse.inspect/1`; documented in `docs/reference/inspect.md`.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};
use weighthouse_format::Tensor;
use weighthouse_format::stats::{Read, Stats};

use super::Inspection;

/// The document, written as it is serialised: a million tensors do not pile up in memory.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// What was found.
    pub inspection: &'a Inspection,
    /// What was inspected, in the words of the person who asked.
    pub target: &'a str,
    /// Bytes of files that came over the network, if there was one.
    pub wire_bytes: Option<u64>,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let found = self.inspection;
        let checkpoint = &found.checkpoint;
        let contents = &checkpoint.contents;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema", "weighthouse.inspect/1")?;
        map.serialize_entry("target", self.target)?;
        let formats: Vec<&str> = contents.formats.iter().map(|format| format.as_str()).collect();
        map.serialize_entry("formats", &formats)?;
        map.serialize_entry("size_bytes", &checkpoint.size_bytes())?;
        map.serialize_entry("files", &files(found))?;
        let architecture = &contents.architecture;
        map.serialize_entry(
            "architecture",
            &json!({
                "family": architecture.family,
                "class": architecture.class,
                "sizes": architecture.sizes,
                "config": architecture.config,
            }),
        )?;
        map.serialize_entry("parameters", &parameters(found))?;
        map.serialize_entry("quantization", &found.quantisation())?;
        map.serialize_entry("license", &found.license())?;
        map.serialize_entry("base_models", &found.base_models())?;
        map.serialize_entry("tensors", &Tensors { inspection: found, tensors: &contents.tensors, first: 0 })?;
        map.serialize_entry("aliases", &checkpoint.aliases())?;
        map.serialize_entry("optimizer", &contents.optimizer.as_ref().map(|_| State(found)))?;
        map.serialize_entry("metadata", &contents.metadata)?;
        map.serialize_entry("card", &found.card)?;
        map.serialize_entry("code", &code(found))?;
        map.serialize_entry("others", &others(found))?;
        map.serialize_entry("warnings", &warnings(found))?;
        if let Some(bytes) = self.wire_bytes {
            map.serialize_entry("wire_bytes", &bytes)?;
        }
        map.end()
    }
}

/// Tensors, one after the other; `first` is the place of their first among all that were read.
struct Tensors<'a> {
    inspection: &'a Inspection,
    tensors: &'a [Tensor],
    first: usize,
}

impl Serialize for Tensors<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let numbered = self.tensors.iter().enumerate();
        serializer.collect_seq(numbered.map(|(at, one)| tensor(one, self.inspection.read(self.first + at))))
    }
}

/// State of the optimizer.
struct State<'a>(&'a Inspection);

impl Serialize for State<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let contents = &self.0.checkpoint.contents;
        let optimizer = contents.optimizer.as_ref();
        let tensors = optimizer.map_or(&[][..], |optimizer| &optimizer.tensors);
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("kind", &optimizer.and_then(|optimizer| optimizer.kind.as_deref()))?;
        map.serialize_entry("step", &optimizer.and_then(|optimizer| optimizer.step))?;
        map.serialize_entry("groups", &optimizer.map(|optimizer| &optimizer.groups))?;
        map.serialize_entry("tensors", &Tensors { inspection: self.0, tensors, first: contents.tensors.len() })?;
        map.end()
    }
}

fn files(found: &Inspection) -> Vec<Value> {
    let files = found.checkpoint.files.iter().map(|file| {
        let formats: Vec<&str> = file.formats.iter().map(|format| format.as_str()).collect();
        json!({"path": file.path, "size_bytes": file.size_bytes, "formats": formats})
    });
    files.collect()
}

fn parameters(found: &Inspection) -> Value {
    let parameters = found.checkpoint.parameters();
    let by_dtype: Map<String, Value> =
        parameters.by_dtype.iter().map(|(dtype, count)| (dtype.to_string(), json!(count))).collect();
    json!({
        "total": parameters.total,
        "by_dtype": by_dtype,
        "buffers": parameters.buffers,
        "shared": parameters.shared,
    })
}

fn code(found: &Inspection) -> Vec<Value> {
    let code = found.checkpoint.contents.code.iter();
    code.map(|code| json!({"file": code.file, "name": code.name, "way": code.way.as_str()})).collect()
}

fn others(found: &Inspection) -> Vec<Value> {
    let others = found.checkpoint.others.iter().map(|other| {
        json!({
            "format": other.format.as_str(),
            "files": other.files,
            "tensors": other.tensors,
            "elements": other.elements,
        })
    });
    others.collect()
}

fn warnings(found: &Inspection) -> Vec<Value> {
    let warnings = found
        .checkpoint
        .contents
        .warnings
        .iter()
        .map(|warning| json!({"kind": warning.kind.as_str(), "file": warning.file, "message": warning.message}));
    warnings.collect()
}

fn tensor(tensor: &Tensor, read: Option<&Result<Read, String>>) -> Value {
    let place = tensor.place();
    let mut value = json!({
        "name": tensor.name,
        "dtype": tensor.dtype.as_str(),
        "shape": tensor.shape,
        "bytes": tensor.size_bytes(),
        "file": place.map(|(file, _)| &**file),
        "offset": place.map(|(_, offset)| offset),
    });
    let Some(map) = value.as_object_mut() else { return value };
    match read {
        Some(Ok(read)) => {
            if let Some(sha256) = read.sha256 {
                map.insert("sha256".to_owned(), json!(hex::encode(sha256)));
            }
            if let Some(stats) = read.stats {
                map.insert("stats".to_owned(), numbers(&stats));
            }
        }
        Some(Err(error)) => {
            map.insert("error".to_owned(), json!(error));
        }
        None => {}
    }
    value
}

fn numbers(stats: &Stats) -> Value {
    let some = stats.finite > 0;
    json!({
        "min": some.then_some(stats.min),
        "max": some.then_some(stats.max),
        "mean": some.then_some(stats.mean),
        "std": some.then(|| stats.std()),
        "norm": some.then(|| stats.norm()),
        "zeros": stats.zeros,
        "nan": stats.nan,
        "infinite": stats.infinite,
    })
}
