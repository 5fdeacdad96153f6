//! What is fuzzed: one target per reader, each a function of any bytes that returns.
//!
//! The program of `fuzz/` runs them under libFuzzer, and `crates/format/tests/corpus.rs` over the committed corpus.

mod folder;
mod follow;
mod parts;

use weighthouse_format::torch::{dcp, deepspeed, fsdp, megatron};
use weighthouse_format::{Contents, Folder, FormatError, Limits, Section, checkpoint, flax, gguf, h5, keras, numpy};
use weighthouse_format::{onnx, orbax, other, safetensors, tf, tflite, torch};

use folder::{cut, one, zipped};
use follow::{contents, tensors};

/// A reader under a name.
#[derive(Clone, Copy)]
pub struct Target {
    /// Name, and that of its folder in the corpus.
    pub name: &'static str,
    /// Reads the bytes; whatever they are, it returns.
    pub run: fn(&[u8]),
}

/// Limits that keep a run short; what a reader may allocate follows from them.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.header_bytes = 4 << 20;
    limits.tensors = 1 << 14;
    limits.metadata_entries = 1 << 12;
    limits.members = 1 << 14;
    limits.decoded_bytes = 8 << 20;
    limits.text_bytes = 2 << 20;
    limits
}

/// Reads the bytes as one file, and what it describes.
fn file(data: &[u8], name: &str, read: fn(&Section, &Limits) -> Result<Contents, FormatError>) {
    let limits = limits();
    let folder = one(name, data);
    if let Ok(section) = folder.open(name) {
        contents(&folder, read(&section, &limits), &limits);
    }
}

/// Reads the bytes as a folder, and what it describes.
fn whole(data: &[u8], argument: &str, read: fn(&dyn Folder, &str, &Limits) -> Result<Contents, FormatError>) {
    let limits = limits();
    let folder = cut(data);
    contents(&folder, read(&folder, argument, &limits), &limits);
}

/// Reads the bytes as one file that may name others.
fn named(data: &[u8], name: &str, read: fn(&dyn Folder, &str, &Limits) -> Result<Contents, FormatError>) {
    let limits = limits();
    let folder = one(name, data);
    contents(&folder, read(&folder, name, &limits), &limits);
}

macro_rules! targets {
    ($($name:literal => $run:expr,)*) => {
        /// All targets, by name.
        pub const TARGETS: &[Target] = &[$(Target { name: $name, run: $run },)*];
    };
}

targets! {
    "archive" => |data| archive(data),
    "checkpoint" => |data| read_checkpoint(data),
    "coreml" => |data| file(data, "a.mlmodel", other::coreml::read),
    "coreml-package" => |data| whole(data, "", other::coreml::read_package),
    "data" => parts::data,
    "dcp" => |data| whole(data, "", dcp::read),
    "deepspeed" => |data| whole(data, "", deepspeed::read),
    "executorch" => |data| file(data, "a.pte", other::executorch::read),
    "filters" => parts::filters,
    "flax" => |data| file(data, "a.msgpack", flax::read),
    "fsdp" => |data| whole(data, "", fsdp::read),
    "ggml" => |data| file(data, "a.bin", other::ggml::read),
    "gguf" => |data| file(data, "a.gguf", gguf::read),
    "gguf-split" => |data| gguf_split(data),
    "h5" => |data| file(data, "a.h5", h5::read),
    "keras" => |data| file(data, "a.keras", keras::read),
    "keras-shards" => |data| whole(data, "a.weights.json", keras::read_sharded),
    "lightgbm" => |data| file(data, "a.txt", other::lightgbm::read),
    "litertlm" => |data| file(data, "a.litertlm", other::litertlm::read),
    "mediapipe" => |data| file(data, "a.task", other::mediapipe::read),
    "megatron" => |data| whole(data, "", megatron::read),
    "nemo" => |data| file(data, "a.nemo", other::nemo::read),
    "npy" => |data| file(data, "a.npy", numpy::read_npy),
    "npz" => |data| file(data, "a.npz", numpy::read_npz),
    "numbers" => parts::numbers,
    "onnx" => |data| named(data, "a.onnx", onnx::read),
    "onnx-external" => |data| whole(data, "a.onnx", onnx::read),
    "openvino" => |data| whole(data, "a.xml", other::openvino::read),
    "orbax" => |data| whole(data, "", orbax::read),
    "paddle" => |data| named(data, "a.pdiparams", other::paddle::read),
    "pickle" => parts::pickle,
    "protobuf" => parts::protobuf,
    "safetensors" => |data| file(data, "a.safetensors", safetensors::read),
    "tar" => parts::tar,
    "tf-bundle" => |data| whole(data, "a.index", tf::read_bundle),
    "tf-saved-model" => |data| whole(data, "", tf::read_saved_model),
    "tf-table" => |data| file(data, "a", tf::read_v1),
    "tflite" => |data| file(data, "a.tflite", tflite::read),
    "torch" => |data| file(data, "a.pt", torch::read),
    "xet-chunk" => parts::xet_chunk,
    "xet-shard" => parts::xet_shard,
    "xet-xorb" => parts::xet_xorb,
    "xgboost" => |data| file(data, "a.ubj", other::xgboost::read),
    "zip" => parts::zip,
}

/// A folder of any files.
fn read_checkpoint(data: &[u8]) {
    let limits = limits();
    let folder = cut(data);
    if let Ok(checkpoint) = checkpoint::read(&folder, &limits) {
        follow::checkpoint(&folder, &checkpoint, &limits);
    }
    if let Some(first) = folder.files().first()
        && let Ok(checkpoint) = checkpoint::read_file(&folder, &first.path, &limits)
    {
        tensors(&folder, checkpoint.tensors(), &limits);
    }
}

/// An archive that is right, of members that need not be: checksums would keep a fuzzer from what lies behind them.
fn archive(data: &[u8]) {
    let limits = limits();
    let folder = one("a.zip", &zipped(&cut(data)));
    if let Ok(checkpoint) = checkpoint::read_file(&folder, "a.zip", &limits) {
        follow::checkpoint(&folder, &checkpoint, &limits);
    }
}

/// A model in several parts, from its first file on.
fn gguf_split(data: &[u8]) {
    let limits = limits();
    let folder = cut(data);
    if let Some(first) = folder.files().first() {
        contents(&folder, gguf::read_split(&folder, &first.path, &limits), &limits);
    }
}
