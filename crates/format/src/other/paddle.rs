//! PaddlePaddle parameters: `.pdiparams`, tensors one after the other, and the `.pdmodel` that names them.
//!
//! ```text
//!   version (u32, 0), levels (u64), for each: bytes (u64) and so many bytes
//!   version (u32, 0), length of a description (u32), the description: data type 1, extents 2; the elements
//! ```
//!
//! Source: `lod_tensor.cc`, `tensor_util.cc` and `framework.proto` of Paddle.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::contents::{Code, CodeWay, Contents, WarningKind};
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::protobuf::{Message, Value, broken};
use crate::source::{Folder, Section};
use crate::tensor::Tensor;

use super::cursor::Cursor;

/// Describes the parameters at `path`; the program beside them, `.pdmodel`, gives their names.
///
/// # Errors
/// [`FormatError::UnknownVersion`], [`FormatError::Truncated`] and their kin when the bytes are no such parameters.
pub fn read(folder: &dyn Folder, path: &str, limits: &Limits) -> Result<Contents, FormatError> {
    let mut contents = Contents::of(Format::Paddle);
    contents.tensors = parameters(&folder.open(path)?, limits)?;
    let program = format!("{}.pdmodel", path.strip_suffix(".pdiparams").unwrap_or(path));
    if !folder.has(&program) {
        contents.warn(WarningKind::Missing, path, "without a program the tensors have no names");
        return Ok(contents);
    }
    let message = Message::new(folder.open(&program)?);
    let (names, operators) = names(&message, limits).map_err(|error| error.in_file(&program))?;
    if operators.contains_key("py_func") {
        contents.code.push(Code { file: program.clone(), name: "py_func".into(), way: CodeWay::Operator });
    }
    // Parameters are written in the order of their names.
    if names.len() == contents.tensors.len() {
        for (tensor, name) in contents.tensors.iter_mut().zip(names) {
            tensor.name = name;
        }
    } else {
        let text = format!("the program has {} parameters, the file {}", names.len(), contents.tensors.len());
        contents.warn(WarningKind::Disagreement, path, text);
    }
    let operators = operators.into_iter().map(|(name, count)| (name, count.into())).collect();
    contents.metadata.insert("operators".into(), Json::Object(operators));
    Ok(contents)
}

fn parameters(section: &Section, limits: &Limits) -> Result<Vec<Tensor>, FormatError> {
    let mut tensors = Vec::new();
    let mut cursor = Cursor::new("paddle parameters", section, 0);
    let zero = |version: u32| match version {
        0 => Ok(()),
        version => Err(FormatError::UnknownVersion { what: "paddle tensor", version: version.into() }),
    };
    while !cursor.is_at_end() {
        zero(cursor.u32()?)?;
        let levels = cursor.u64()?;
        Limits::at_most("levels of a paddle tensor", levels, limits.depth)?;
        for _ in 0..levels {
            let len = cursor.u64()?;
            cursor.part(len)?;
        }
        zero(cursor.u32()?)?;
        let len = u64::from(cursor.u32()?);
        let at = cursor.at;
        let (mut code, mut shape) = (None, Vec::new());
        for field in Message::new(cursor.part(len)?).fields("paddle tensor")? {
            match field.map(|field| (field.number, field.value))? {
                (1, Value::Varint(number)) => code = Some(number),
                (2, value) => value.repeated("rank of a paddle tensor", limits.rank, &mut shape)?,
                _ => {}
            }
        }
        let name = format!("param_{}", tensors.len());
        let code = code.ok_or_else(|| broken("paddle tensor", at, "it has no data type"))?;
        let dtype =
            dtype(code).ok_or_else(|| FormatError::UnknownDtype { tensor: name.clone(), dtype: code.to_string() })?;
        let size = Tensor::checked_elements(&shape).and_then(|elements| dtype.size_bytes(elements));
        let size = size.ok_or_else(|| FormatError::SizeOverflow { tensor: name.clone() })?;
        let stored = cursor.part(size)?.stored("paddle tensor", 0, size)?;
        tensors.push(Tensor::plain(name, dtype, shape, stored));
        Limits::at_most("number of tensors", tensors.len() as u64, limits.tensors)?;
    }
    Ok(tensors)
}

/// Our type for a code of `VarType`.
const fn dtype(code: u64) -> Option<Dtype> {
    Some(match code {
        0 => Dtype::Bool,
        1 => Dtype::I16,
        2 => Dtype::I32,
        3 => Dtype::I64,
        4 => Dtype::F16,
        5 => Dtype::F32,
        6 => Dtype::F64,
        20 => Dtype::U8,
        21 => Dtype::I8,
        22 => Dtype::BF16,
        23 => Dtype::C64,
        24 => Dtype::C128,
        _ => return None,
    })
}

/// Names of the parameters and numbers of operators of a program.
fn names(program: &Message, limits: &Limits) -> Result<(BTreeSet<String>, BTreeMap<String, u64>), FormatError> {
    let (mut names, mut operators) = (BTreeSet::new(), BTreeMap::new());
    for field in program.fields("paddle program")? {
        let field = field?;
        let (1, Some(block)) = (field.number, field.value.message()) else { continue };
        for field in block.fields("paddle block")? {
            let field = field?;
            match (field.number, field.value.message()) {
                (3, Some(variable)) => {
                    let (mut name, mut is_kept) = (String::new(), false);
                    for field in variable.fields("paddle variable")? {
                        match field.map(|field| (field.number, field.value))? {
                            (1, Value::Bytes(text)) => name = text.text("paddle name", limits.name_bytes)?,
                            (3, Value::Varint(kept)) => is_kept = kept != 0,
                            _ => {}
                        }
                    }
                    // Where inputs and outputs pass is kept too, and no parameter.
                    if is_kept && !matches!(name.as_str(), "feed" | "fetch") {
                        names.insert(name);
                        Limits::at_most("number of tensors", names.len() as u64, limits.tensors)?;
                    }
                }
                (4, Some(operator)) => {
                    for field in operator.fields("paddle operator")? {
                        if let (3, Value::Bytes(text)) = field.map(|field| (field.number, field.value))? {
                            let name = text.text("paddle operator", limits.name_bytes)?;
                            *operators.entry(name).or_default() += 1;
                        }
                    }
                    Limits::at_most("number of operators", operators.len() as u64, limits.metadata_entries)?;
                }
                _ => {}
            }
        }
    }
    Ok((names, operators))
}
