//! Formats that are no archives and no pickles: what each can make its reader do.

mod arrays;
mod described;
mod hdf5;
mod onnx;
mod tensorflow;

pub(super) use arrays::{gguf, npy, safetensors};
pub(super) use described::{judge as described, protobuf, tflite};
pub(super) use hdf5::judge as hdf5;
pub(super) use tensorflow::text as graph_text;
