//! Which reader reads what.

use crate::contents::Contents;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::{Folder, Section};
use crate::torch::{self, dcp, deepspeed, fsdp, megatron};
use crate::zip::Archive;
use crate::{flax, gguf, keras, numpy, onnx, orbax, other, safetensors, tf, tflite};

/// A layout of several files that belong together.
pub(super) struct Layout {
    /// Its name.
    pub format: Format,
    /// Whether everything below the folder is its own.
    pub owns_folder: bool,
    /// Whether a folder has this layout; cheap.
    pub is: fn(&dyn Folder, &str) -> bool,
    /// Reads the folder.
    pub read: fn(&dyn Folder, &str, &Limits) -> Result<Contents, FormatError>,
}

const LAYOUTS: &[Layout] = &[
    Layout { format: Format::Orbax, owns_folder: true, is: orbax::is, read: orbax::read },
    Layout { format: Format::SavedModel, owns_folder: true, is: is_saved_model, read: tf::read_saved_model },
    Layout { format: Format::MlPackage, owns_folder: true, is: is_core_ml, read: other::coreml::read_package },
    Layout { format: Format::KerasWeights, owns_folder: false, is: has_keras_shards, read: read_keras_shards },
    Layout {
        format: Format::Dcp,
        owns_folder: false,
        is: |folder, prefix| dcp::is(folder, &below(prefix)),
        read: |folder, prefix, limits| dcp::read(folder, &below(prefix), limits),
    },
    Layout {
        format: Format::DeepSpeed,
        owns_folder: false,
        is: |folder, prefix| deepspeed::is(folder, &below(prefix)),
        read: |folder, prefix, limits| deepspeed::read(folder, &below(prefix), limits),
    },
    Layout {
        format: Format::Megatron,
        owns_folder: false,
        is: |folder, prefix| megatron::is(folder, &below(prefix)),
        read: |folder, prefix, limits| megatron::read(folder, &below(prefix), limits),
    },
    Layout {
        format: Format::FsdpRanks,
        owns_folder: false,
        is: |folder, prefix| fsdp::is(folder, &below(prefix)),
        read: |folder, prefix, limits| fsdp::read(folder, &below(prefix), limits),
    },
];

/// `prefix/`, or nothing for the root.
pub(super) fn below(prefix: &str) -> String {
    if prefix.is_empty() { String::new() } else { format!("{prefix}/") }
}

fn is_saved_model(folder: &dyn Folder, prefix: &str) -> bool {
    let names = ["saved_model.pb", "saved_model.pbtxt", "saved_model.cpb"];
    names.iter().any(|name| folder.has(&format!("{}{name}", below(prefix))))
}

/// The index of sharded Keras weights in a folder.
fn keras_index(folder: &dyn Folder, prefix: &str) -> Option<String> {
    let prefix = below(prefix);
    let mut names = folder.under(&prefix).iter().filter_map(|file| file.path.strip_prefix(&prefix));
    names.find(|name| name.ends_with(".weights.json") && !name.contains('/')).map(|name| format!("{prefix}{name}"))
}

fn has_keras_shards(folder: &dyn Folder, prefix: &str) -> bool {
    keras_index(folder, prefix).is_some()
}

fn read_keras_shards(folder: &dyn Folder, prefix: &str, limits: &Limits) -> Result<Contents, FormatError> {
    let index = keras_index(folder, prefix).ok_or_else(|| FormatError::NoFile { path: prefix.to_owned() })?;
    keras::read_sharded(folder, &index, limits)
}

fn is_core_ml(folder: &dyn Folder, prefix: &str) -> bool {
    let prefix = below(prefix);
    let data = format!("{prefix}Data/");
    folder.has(&format!("{prefix}Manifest.json")) && !folder.under(&data).is_empty()
}

/// Folders with a layout, the outermost first.
pub(super) fn layouts(folder: &dyn Folder) -> Vec<(&'static Layout, String)> {
    let mut prefixes = std::collections::BTreeSet::from([String::new()]);
    for file in folder.files() {
        let mut path = &*file.path;
        while let Some((parent, _)) = path.rsplit_once('/') {
            if !prefixes.insert(parent.to_owned()) {
                break;
            }
            path = parent;
        }
    }
    let found = prefixes.into_iter().filter_map(|prefix| {
        let layout = LAYOUTS.iter().find(|layout| (layout.is)(folder, &prefix))?;
        Some((layout, prefix))
    });
    found.collect()
}

/// Reads one file as `format`; `None` for formats that hold no part of a checkpoint by themselves.
pub(super) fn read(
    folder: &dyn Folder,
    path: &str,
    format: Format,
    limits: &Limits,
) -> Result<Option<Contents>, FormatError> {
    let section = folder.open(path)?;
    Ok(Some(match format {
        Format::Safetensors => safetensors::read(&section, limits)?,
        Format::Zip => return read_zip(&section, limits),
        Format::TorchLegacy | Format::TorchTar | Format::Pickle | Format::Joblib => torch::read(&section, limits)?,
        Format::Gzip => read_gzip(&section, limits)?,
        Format::Gguf => gguf::read(&section, limits)?,
        Format::Ggml => other::ggml::read(&section, limits)?,
        Format::Npy => numpy::read_npy(&section, limits)?,
        Format::Flax => flax::read(&section, limits)?,
        Format::Onnx => onnx::read(folder, path, limits)?,
        Format::TensorBundle => read_table(folder, path, &section, limits)?,
        Format::Hdf5 => keras::read(&section, limits)?,
        Format::Tflite => tflite::read(&section, limits)?,
        Format::Tar => read_tar(&section, limits)?,
        Format::CoreMl => other::coreml::read(&section, limits)?,
        Format::ExecuTorch => other::executorch::read(&section, limits)?,
        Format::LiteRtLm => other::litertlm::read(&section, limits)?,
        Format::OpenVino => other::openvino::read(folder, path, limits)?,
        Format::Paddle => other::paddle::read(folder, path, limits)?,
        Format::XgBoost => other::xgboost::read(&section, limits)?,
        Format::LightGbm => other::lightgbm::read(&section, limits)?,
        _ => return Ok(None),
    }))
}

/// A tar is NeMo's, or torch's oldest, which is refused with a way out.
fn read_tar(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    match torch::read(section, limits) {
        Err(FormatError::Unsupported { .. }) if section.head("tar", 8)?.starts_with(b"sys_info") => {
            torch::read(section, limits)
        }
        _ => other::nemo::read(section, limits),
    }
}

/// Gzip holds a tar of NeMo, or a pickle of joblib.
fn read_gzip(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    other::nemo::read(section, limits).or_else(|_| torch::read(section, limits))
}

/// A zip is what its members make it.
fn read_zip(section: &Section, limits: &Limits) -> Result<Option<Contents>, FormatError> {
    let mut archive = Archive::read(section, limits)?;
    let names: Vec<&str> = archive.entries().iter().map(|entry| entry.name.as_str()).collect();
    let has = |name: &str| names.contains(&name);
    let ends = |end: &str| names.iter().any(|name| name.ends_with(end));
    let is_keras = has("config.json") && (has("model.weights.h5") || has("metadata.json"));
    Ok(Some(if has("_stable_baselines3_version") || ends("/data.pkl") || ends("archive_format") {
        torch::read(section, limits)?
    } else if !names.is_empty() && names.iter().all(|name| name.ends_with(".npy")) {
        numpy::read_npz(section, limits)?
    } else if is_keras {
        keras::read(section, limits)?
    } else if ends(".tflite") || has("TF_LITE_PREFILL_DECODE") {
        other::mediapipe::read(section, limits)?
    } else {
        // Nothing that we know, and perhaps something that another program takes for a checkpoint.
        let mut contents = Contents::of(Format::Zip);
        contents.metadata.insert("members".to_owned(), archive.entries().len().into());
        archive.check();
        contents.warnings = archive.take_warnings();
        contents
    }))
}

/// The index of a bundle has data beside it; a checkpoint of the first saver has everything inside.
fn read_table(folder: &dyn Folder, path: &str, section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    let data = format!("{}.data-", path.strip_suffix(".index").unwrap_or(path));
    if !folder.under(&data).is_empty() {
        return tf::read_bundle(folder, path, limits);
    }
    tf::read_v1(section, limits)
}
