//! Formats that are recognised, listed and scanned, and not converted.
//!
//! Each answers what the file is, its parts with their sizes, the tensors where they cost little to find, and what would
//! run. Elements of quantised types that we have no name for are left out, and a warning says so.

pub mod coreml;
pub mod executorch;
pub mod ggml;
pub mod lightgbm;
pub mod litertlm;
pub mod mediapipe;
pub mod nemo;
pub mod openvino;
pub mod paddle;
pub mod tar;
pub mod xgboost;

mod cursor;
mod ubjson;

#[cfg(test)]
mod tests;
