//! Planned files as bytes, for the tests of writers; and files for the libraries to read.

use proptest::prelude::*;

use crate::contents::Contents;
use crate::data::Elements;
use crate::dtype::Dtype;
use crate::limits::Limits;
use crate::output::{Checksum, OutputFile, OutputTensor, Part, torch_id};
use crate::source::{Folder, MemoryFolder, Section};
use crate::tensor::{Stored, Tensor};

/// Elements of an output tensor that is not cast.
pub(crate) fn elements(folder: &dyn Folder, tensor: &OutputTensor) -> Vec<u8> {
    let source = &tensor.recipe.source;
    assert_eq!((source.dtype, tensor.recipe.steps.len()), (tensor.dtype, 0), "`{}` would be cast", tensor.name);
    let all = Elements::new(folder, source, &Limits::default()).unwrap().read_all().unwrap();
    let Some(rows) = &tensor.recipe.rows else { return all };
    let width = all.len() / source.shape[0] as usize;
    rows.iter().flat_map(|row| all[*row as usize * width..][..width].to_vec()).collect()
}

/// The bytes of a planned file.
pub(crate) fn bytes(folder: &dyn Folder, tensors: &[OutputTensor], file: &OutputFile) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for part in &file.parts {
        let sum = |range: &std::ops::Range<usize>| crate::zip::crc(&parts[range.clone()].concat());
        let bytes = match part {
            Part::Bytes(bytes) => bytes.to_vec(),
            Part::Tensor(number) => elements(folder, &tensors[*number]),
            Part::Crc32(range) => sum(range).to_le_bytes().to_vec(),
            Part::TorchId { names, members } => {
                let sums = members.iter().map(|member| match member {
                    Checksum::Known(sum) => *sum,
                    Checksum::Of(range) => sum(range),
                });
                torch_id(*names, sums).into_bytes()
            }
        };
        assert_eq!(bytes.len() as u64, part.size_bytes(tensors), "{part:?}");
        parts.push(bytes);
    }
    parts.concat()
}

/// Planned files in a folder.
pub(crate) fn folder(source: &dyn Folder, tensors: &[OutputTensor], files: &[OutputFile]) -> MemoryFolder {
    MemoryFolder::new(
        files.iter().map(|file| Section::of_bytes(file.path.as_str(), bytes(source, tensors, file))).collect(),
    )
}

/// Tensors of zeros, for plans alone.
pub(crate) fn zeros(all: &[(&str, Dtype, &[u64])]) -> Vec<OutputTensor> {
    let one = |(name, dtype, shape): &(&str, Dtype, &[u64])| {
        let unit = vec![0; dtype.block_bytes() as usize];
        OutputTensor::same(&Tensor::plain(*name, *dtype, shape.to_vec(), Stored::Fill(unit.into())))
    };
    all.iter().map(one).collect()
}

/// Tensors of these types with any names, shapes and bytes, and the folder that they are read from.
pub(crate) fn any_tensors(dtypes: &'static [Dtype]) -> impl Strategy<Value = (Vec<OutputTensor>, Vec<u8>)> {
    let name = prop_oneof!["[a-c]{1,2}", "[a-z.]{0,9}", "\\PC{0,6}", "[\\x00-\\x20\"\\\\/\u{7f}\u{202e}]{1,4}"];
    let one = (name, prop::sample::select(dtypes), prop::collection::vec(0u64..5, 0..4));
    (prop::collection::vec(one, 0..12), any::<u64>()).prop_map(|(all, seed)| {
        let mut bytes = Vec::new();
        let mut tensors: Vec<OutputTensor> = Vec::new();
        for (name, dtype, mut shape) in all {
            if dtype.block_elements() > 1 {
                shape.push(dtype.block_elements());
            }
            if tensors.iter().any(|tensor| tensor.name == name) {
                continue;
            }
            let begin = bytes.len() as u64;
            let len = dtype.size_bytes(shape.iter().product()).unwrap();
            bytes.extend((begin..begin + len).map(|at| (at.wrapping_mul(seed | 1) >> 7) as u8));
            let stored = Stored::File { file: "source".into(), begin, end: begin + len };
            tensors.push(OutputTensor::same(&Tensor::plain(name, dtype, shape, stored)));
        }
        (tensors, bytes)
    })
}

/// A folder with one file.
pub(crate) fn source(bytes: Vec<u8>) -> MemoryFolder {
    MemoryFolder::new(vec![Section::of_bytes("source", bytes)])
}

/// Checks that the tensors that were read are those that were written, in any order.
pub(crate) fn assert_same((written, from): (&[OutputTensor], &dyn Folder), (read, back): (&Contents, &dyn Folder)) {
    assert_eq!(
        read.warnings.iter().filter(|warning| warning.kind.as_str() != "name").collect::<Vec<_>>(),
        Vec::<&_>::new()
    );
    assert_eq!(read.tensors.len(), written.len());
    for tensor in written {
        let found = read.tensors.iter().find(|found| found.name == tensor.name);
        let found = found.unwrap_or_else(|| panic!("`{}` is gone", tensor.name.escape_debug()));
        assert_eq!((found.dtype, &found.shape), (tensor.dtype, &tensor.shape), "{}", tensor.name);
        let all = Elements::new(back, found, &Limits::default()).unwrap().read_all().unwrap();
        assert!(all == elements(from, tensor), "`{}` differs", tensor.name);
    }
}

/// Every file in the folder `in` below the folder that `WEIGHTHOUSE_WRITERS` names is read and written again by every
/// writer that takes it, for Python to compare.
#[test]
#[ignore = "writes files for the libraries; see WEIGHTHOUSE_WRITERS"]
fn write_for_the_libraries() {
    use crate::torch::state::State;
    let root = std::path::PathBuf::from(std::env::var_os("WEIGHTHOUSE_WRITERS").unwrap());
    let limits = Limits::default();
    for entry in std::fs::read_dir(root.join("in")).unwrap() {
        let path = entry.unwrap().path();
        let (stem, name) = (path.file_stem().unwrap().to_str().unwrap(), path.file_name().unwrap().to_str().unwrap());
        let section = Section::of_bytes(name, std::fs::read(&path).unwrap());
        let from = MemoryFolder::new(vec![section.clone()]);
        let contents = crate::torch::read(&section, &limits).or_else(|_| crate::safetensors::read(&section, &limits));
        let contents = contents.unwrap();
        let tensors: Vec<OutputTensor> = contents.tensors.iter().map(OutputTensor::same).collect();
        let state = State::named(tensors.iter().map(|tensor| tensor.name.as_str()));
        let save = |what: &str, plan: Result<(Vec<OutputTensor>, Vec<OutputFile>), crate::FormatError>| {
            let (tensors, files) = match plan {
                Ok(plan) => plan,
                Err(error) => return println!("{name}: {what}: {error}"),
            };
            for file in files {
                let path = root.join("out").join(stem).join(what).join(&file.path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes(&from, &tensors, &file)).unwrap();
            }
        };
        let with = |files: Result<Vec<OutputFile>, crate::FormatError>| files.map(|files| (tensors.clone(), files));
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        let mut options = crate::safetensors::write::Options::default();
        save("safetensors", with(crate::safetensors::write::plan(&tensors, &metadata, &options)));
        for (stem, most) in [("model", 100), ("model", 1000), ("diffusion_pytorch_model", 300)] {
            (options.stem, options.max_shard_bytes) = (stem.to_owned(), Some(most));
            save(&format!("{stem}-{most}"), with(crate::safetensors::write::plan(&tensors, &metadata, &options)));
        }
        save("torch", with(crate::torch::write::plan(&format!("{stem}.pt"), &state, &tensors).map(|file| vec![file])));
        let plain = match &state {
            State::OrderedDict(entries) => State::Dict(entries.clone()),
            _ => unreachable!(),
        };
        save("plain", with(crate::torch::write::plan(&format!("{stem}.pt"), &plain, &tensors).map(|file| vec![file])));
        let nested = nested(&state, tensors.len());
        save("nested", with(crate::torch::write::plan("nested.pt", &nested, &tensors).map(|file| vec![file])));
        save("npz", with(crate::numpy::write::npz(&format!("{stem}.npz"), &tensors).map(|file| vec![file])));
        for (number, tensor) in tensors.iter().enumerate() {
            let one = std::slice::from_ref(tensor);
            let file = crate::numpy::write::npy(&format!("{number}.npy"), tensor);
            save("npy", file.map(|file| (one.to_vec(), vec![file])));
        }
        for ranks in [1, 3] {
            save(&format!("dcp{ranks}"), crate::torch::dcp_write::cut_above(&nested, &tensors, ranks, 16));
        }
    }
}

/// A checkpoint of training around a model.
#[cfg(test)]
pub(crate) fn nested(model: &crate::torch::state::State, tensors: usize) -> crate::torch::state::State {
    use crate::torch::state::{Key, State};
    let text = |text: &str| Key::from(text);
    let slots =
        |number: usize| State::Dict(vec![(text("step"), State::Float(3.5)), (text("exp_avg"), State::Tensor(number))]);
    let state = (0..tensors).map(|number| (Key::Int(number as i64), slots(number))).collect();
    let group = State::Dict(vec![
        (text("lr"), State::Float(1e-3)),
        (text("betas"), State::Tuple(vec![State::Float(0.9), State::Float(0.999)])),
        (text("foreach"), State::None),
        (text("amsgrad"), State::Bool(false)),
        (text("params"), State::List((0..tensors as i64).map(State::Int).collect())),
    ]);
    let optimizer = vec![(text("state"), State::Dict(state)), (text("param_groups"), State::List(vec![group]))];
    State::Dict(vec![
        (text("model"), model.clone()),
        (text("optimizer"), State::Dict(optimizer)),
        (
            text("numbers"),
            State::List([0, 255, 256, 65_535, 65_536, -1, 1 << 40, i64::MIN, i64::MAX].map(State::Int).into()),
        ),
        (
            text("tuples"),
            State::Tuple(vec![State::Tuple(vec![]), State::Tuple(vec![State::from("ü\u{0}\u{1f600}"); 5])]),
        ),
        (text("many"), State::List((0..2001).map(State::Int).collect())),
        (text("empty"), State::List(vec![])),
    ])
}
