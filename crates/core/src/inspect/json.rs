//! An inspection as JSON, schema `weighthouse.inspect/1`; documented in `docs/reference/inspect.md`.

use serde_json::{Map, Value, json};
use weighthouse_format::Tensor;
use weighthouse_format::stats::{Read, Stats};

use super::Inspection;

/// The document. `target` is what was inspected, in the words of the person who asked.
#[must_use]
pub fn json(inspection: &Inspection, target: &str) -> Value {
    let checkpoint = &inspection.checkpoint;
    let contents = &checkpoint.contents;
    let parameters = checkpoint.parameters();
    let by_dtype: Map<String, Value> =
        parameters.by_dtype.iter().map(|(dtype, count)| (dtype.to_string(), json!(count))).collect();
    let weights = contents.tensors.len();
    let tensors: Vec<Value> =
        contents.tensors.iter().enumerate().map(|(number, one)| tensor(one, inspection.read(number))).collect();
    let optimizer = contents.optimizer.as_ref().map(|optimizer| {
        let state = optimizer.tensors.iter().enumerate();
        let state: Vec<Value> = state.map(|(number, one)| tensor(one, inspection.read(weights + number))).collect();
        json!({"kind": optimizer.kind, "step": optimizer.step, "groups": optimizer.groups, "tensors": state})
    });
    let architecture = &contents.architecture;
    json!({
        "schema": "weighthouse.inspect/1",
        "target": target,
        "formats": contents.formats.iter().map(|format| format.as_str()).collect::<Vec<_>>(),
        "size_bytes": checkpoint.size_bytes(),
        "files": checkpoint.files.iter().map(|file| json!({
            "path": file.path,
            "size_bytes": file.size_bytes,
            "formats": file.formats.iter().map(|format| format.as_str()).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "architecture": {
            "family": architecture.family,
            "class": architecture.class,
            "sizes": architecture.sizes,
            "config": architecture.config,
        },
        "parameters": {
            "total": parameters.total,
            "by_dtype": by_dtype,
            "buffers": parameters.buffers,
            "shared": parameters.shared,
        },
        "quantization": inspection.quantisation(),
        "license": inspection.license(),
        "base_models": inspection.base_models(),
        "tensors": tensors,
        "aliases": checkpoint.aliases(),
        "optimizer": optimizer,
        "metadata": contents.metadata,
        "card": inspection.card,
        "code": contents.code.iter().map(|code| json!({
            "file": code.file,
            "name": code.name,
            "way": code.way.as_str(),
        })).collect::<Vec<_>>(),
        "others": checkpoint.others.iter().map(|other| json!({
            "format": other.format.as_str(),
            "files": other.files,
            "tensors": other.tensors,
            "elements": other.elements,
        })).collect::<Vec<_>>(),
        "warnings": contents.warnings.iter().map(|warning| json!({
            "kind": warning.kind.as_str(),
            "file": warning.file,
            "message": warning.message,
        })).collect::<Vec<_>>(),
    })
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
