//! Safetensors files, planned byte for byte as the reference writer makes them.
//!
//! Tensors are sorted by dtype, the largest rank first, then by name; the header is JSON without spaces, padded with spaces
//! to a multiple of eight bytes. Of several metadata entries the reference has no order (it iterates a hash map); here they
//! are sorted.
//!
//! Sources: safetensors 0.8 (`serialize`); huggingface_hub 2.4 (`split_state_dict_into_shards_factory`); transformers 5.23 and
//! diffusers 0.42 (`save_pretrained`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::output::{OutputFile, OutputTensor, Part};

/// Longest header that the reference reader takes, in bytes.
const HEADER_BYTES: u64 = 100_000_000;
/// Key of the metadata among the tensors.
const METADATA: &str = "__metadata__";

/// How the tensors of a model are spread over files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Name of the files without number and extension: `model`, `diffusion_pytorch_model`, `adapter_model`.
    pub stem: String,
    /// Bytes of tensors that a file should not exceed; a larger tensor has a file of its own. `None` is one file.
    pub max_shard_bytes: Option<u64>,
    /// Number of parameters that the index states. `None` counts all elements, and states nothing for the stem of
    /// diffusers, which does not.
    pub total_parameters: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { stem: "model".to_owned(), max_shard_bytes: None, total_parameters: None }
    }
}

/// Plans the files of a model: one, or numbered shards with an index.
///
/// Tensors that share their elements must have been resolved before: each of `tensors` is written.
///
/// # Errors
/// As [`file()`].
pub fn plan(
    tensors: &[OutputTensor],
    metadata: &BTreeMap<String, String>,
    options: &Options,
) -> Result<Vec<OutputFile>, FormatError> {
    let shards = shards(tensors, options.max_shard_bytes.unwrap_or(u64::MAX))?;
    let stem = &options.stem;
    let [one] = shards.as_slice() else {
        let mut files = Vec::with_capacity(shards.len() + 1);
        let mut places = BTreeMap::new();
        for (shard, number) in shards.iter().zip(1u64..) {
            let path = format!("{stem}-{number:05}-of-{:05}.safetensors", shards.len());
            for tensor in shard.iter().filter_map(|number| tensors.get(*number)) {
                if places.insert(tensor.name.as_str(), path.clone()).is_some() {
                    return Err(FormatError::DuplicateKey { key: tensor.name.clone() });
                }
            }
            files.push(of(path, tensors, shard, metadata)?);
        }
        let index = index(tensors, &places, options);
        files.push(OutputFile {
            path: format!("{stem}.safetensors.index.json"),
            parts: vec![Part::bytes(index.into_bytes())],
        });
        return Ok(files);
    };
    Ok(vec![of(format!("{stem}.safetensors"), tensors, one, metadata)?])
}

/// Plans one file with all tensors.
///
/// # Errors
/// [`FormatError::Unsupported`] for a dtype that safetensors does not have, with what to do; [`FormatError::DuplicateKey`]
/// for a name that stands twice; [`FormatError::Rule`] for a name that means something else;
/// [`FormatError::SizeOverflow`]; [`FormatError::TooLarge`] for a header that no reader takes.
pub fn file(
    path: &str,
    tensors: &[OutputTensor],
    metadata: &BTreeMap<String, String>,
) -> Result<OutputFile, FormatError> {
    of(path.to_owned(), tensors, &(0..tensors.len()).collect::<Vec<_>>(), metadata)
}

/// Plans a file with the tensors of these numbers.
fn of(
    path: String,
    tensors: &[OutputTensor],
    numbers: &[usize],
    metadata: &BTreeMap<String, String>,
) -> Result<OutputFile, FormatError> {
    let mut chosen: Vec<(usize, &OutputTensor)> =
        numbers.iter().filter_map(|&number| Some((number, tensors.get(number)?))).collect();
    chosen.sort_by(|(_, one), (_, other)| other.dtype.cmp(&one.dtype).then_with(|| one.name.cmp(&other.name)));
    let mut names = BTreeSet::new();
    let mut header = String::from("{");
    if !metadata.is_empty() {
        header += &text(METADATA)?;
        header.push(':');
        let json = serde_json::to_string(metadata);
        header += &json.map_err(|source| FormatError::Json { what: "metadata of a safetensors file", source })?;
    }
    let mut begin = 0u64;
    for (_, tensor) in &chosen {
        if tensor.name == METADATA {
            return Err(FormatError::Rule { what: "name of a tensor", rule: "it is not `__metadata__`" });
        }
        if !names.insert(tensor.name.as_str()) {
            return Err(FormatError::DuplicateKey { key: tensor.name.clone() });
        }
        let overflow = || FormatError::SizeOverflow { tensor: tensor.name.clone() };
        let end = begin.checked_add(size_bytes(tensor)?).ok_or_else(overflow)?;
        if header.len() > 1 {
            header.push(',');
        }
        header += &text(&tensor.name)?;
        // Numbers without spaces, as in the rest.
        let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
        let (dtype, shape) = (tensor.dtype, shape.join(","));
        let _ = write!(header, r#":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{begin},{end}]}}"#);
        begin = end;
    }
    header.push('}');
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let len = header.len() as u64;
    crate::Limits::at_most("header of a safetensors file in bytes", len, HEADER_BYTES)?;
    let mut parts = vec![Part::bytes([len.to_le_bytes().as_slice(), header.as_bytes()].concat())];
    parts.extend(chosen.into_iter().map(|(number, _)| Part::Tensor(number)));
    Ok(OutputFile { path, parts })
}

/// A string as the JSON of the header spells it.
fn text(text: &str) -> Result<String, FormatError> {
    serde_json::to_string(text).map_err(|source| FormatError::Json { what: "name of a tensor", source })
}

/// Length of a tensor in bytes.
///
/// # Errors
/// [`FormatError::Unsupported`] for what safetensors cannot hold, with what to do.
fn size_bytes(tensor: &OutputTensor) -> Result<u64, FormatError> {
    let (name, dtype) = (&tensor.name, tensor.dtype);
    if !dtype.is_safetensors() {
        let instead = match dtype {
            _ if dtype.is_quantised() => "ask for a dtype such as `BF16`, which it is dequantised to, or for GGUF",
            Dtype::C32 | Dtype::C128 => "ask for the dtype `C64`, or for a torch file",
            Dtype::F128 => "ask for the dtype `F64`",
            Dtype::F8E4M3B11Fnuz => "ask for a dtype such as `F32`",
            Dtype::Text => "it is text, which only the metadata can hold",
            _ => "ask for a dtype such as `I8` or `F32`",
        };
        let detail = format!("tensor `{name}` is {dtype}: {instead}");
        return Err(FormatError::Unsupported { what: "this type in safetensors", detail });
    }
    let overflow = || FormatError::SizeOverflow { tensor: name.clone() };
    let elements = tensor.elements();
    if !(u128::from(elements) * u128::from(dtype.bits())).is_multiple_of(8) {
        let detail = format!("tensor `{name}`: {elements} elements of {dtype} do not fill whole bytes");
        return Err(FormatError::Unsupported { what: "this shape in safetensors", detail });
    }
    tensor.size_bytes().ok_or_else(overflow)
}

/// Numbers of the tensors of each file, in order: a file is closed when the next tensor would not fit.
fn shards(tensors: &[OutputTensor], most: u64) -> Result<Vec<Vec<usize>>, FormatError> {
    let (mut shards, mut shard, mut shard_bytes) = (Vec::new(), Vec::new(), 0u64);
    let mut empty = Vec::new();
    for (number, tensor) in tensors.iter().enumerate() {
        let bytes = size_bytes(tensor)?;
        if bytes == 0 {
            // All empty tensors are one storage to the splitter, and stay with the first of them.
            empty.push(number);
            if empty.len() > 1 {
                continue;
            }
        }
        if bytes > most {
            shards.push(vec![number]);
            continue;
        }
        if shard_bytes.checked_add(bytes).is_none_or(|sum| sum > most) {
            shards.push(std::mem::take(&mut shard));
            shard_bytes = 0;
        }
        shard.push(number);
        shard_bytes += bytes;
    }
    if !shard.is_empty() || shards.is_empty() {
        shards.push(shard);
    }
    if let Some((first, others)) = empty.split_first()
        && let Some(shard) = shards.iter_mut().find(|shard| shard.contains(first))
    {
        shard.extend(others);
    }
    Ok(shards)
}

/// The index of a sharded model, as Python's `json.dumps(index, indent=2, sort_keys=True)` and a line feed.
fn index(tensors: &[OutputTensor], places: &BTreeMap<&str, String>, options: &Options) -> String {
    let sum =
        |size: fn(&OutputTensor) -> u64| tensors.iter().fold(0u64, |sum, tensor| sum.saturating_add(size(tensor)));
    let counted = (!options.stem.starts_with("diffusion_pytorch_model")).then(|| sum(OutputTensor::elements));
    let mut json = String::from("{\n  \"metadata\": {\n");
    if let Some(parameters) = options.total_parameters.or(counted) {
        let _ = writeln!(json, "    \"total_parameters\": {parameters},");
    }
    let size = sum(|tensor| tensor.size_bytes().unwrap_or(0));
    let _ = write!(json, "    \"total_size\": {size}\n  }},\n  \"weight_map\": {{");
    for (number, (name, path)) in places.iter().enumerate() {
        json += if number == 0 { "\n    " } else { ",\n    " };
        push_ascii(&mut json, name);
        json += ": ";
        push_ascii(&mut json, path);
    }
    json += "\n  }\n}\n";
    json
}

/// A string as Python's `json` spells it: in ASCII.
fn push_ascii(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            ' '..='~' => json.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(json, "\\u{unit:04x}");
                }
            }
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests;
