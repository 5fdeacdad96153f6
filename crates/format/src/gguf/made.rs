//! Files made in memory, for tests: the plainest way to follow a recipe.

use crate::data::Elements;
use crate::dtype::Dtype;
use crate::limits::Limits;
use crate::number::{Numbers, numbers};
use crate::output::{OutputFile, OutputTensor, Part, Step};
use crate::source::Folder;

/// The numbers that a recipe gives.
pub(super) fn floats(folder: &dyn Folder, tensor: &OutputTensor) -> Vec<f64> {
    let source = &tensor.recipe.source;
    let bytes = Elements::new(folder, source, &Limits::default()).unwrap().read_all().unwrap();
    let mut out: Vec<f64> = match numbers(source.dtype, &bytes).unwrap() {
        Numbers::Single(numbers) => numbers.into_iter().map(f64::from).collect(),
        Numbers::Double(numbers) => numbers,
    };
    if let Some(rows) = &tensor.recipe.rows {
        let width = out.len() / rows.len();
        out = rows.iter().flat_map(|&row| out[row as usize * width..][..width].to_vec()).collect();
    }
    for step in &tensor.recipe.steps {
        for number in &mut out {
            *number = match step {
                Step::Add(term) => f64::from(*number as f32 + *term as f32),
                other => panic!("{other:?}"),
            };
        }
    }
    assert_eq!(out.len() as u64, tensor.elements(), "{}", tensor.name);
    out
}

/// The bytes of a file whose tensors are floats.
pub(super) fn file(folder: &dyn Folder, file: &OutputFile, tensors: &[OutputTensor]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in &file.parts {
        match part {
            Part::Bytes(bytes) => out.extend_from_slice(bytes),
            Part::Tensor(number) => {
                let tensor = &tensors[*number];
                for number in floats(folder, tensor) {
                    match tensor.dtype {
                        Dtype::F32 => out.extend((number as f32).to_le_bytes()),
                        // Enough for tests, whose numbers these types hold exactly.
                        Dtype::BF16 => out.extend(((number as f32).to_bits() >> 16).to_le_bytes()[..2].iter()),
                        other => panic!("{other}"),
                    }
                }
            }
            other => panic!("{other:?} in GGUF"),
        }
    }
    assert_eq!(out.len() as u64, file.size_bytes(tensors));
    out
}
