//! NumPy arrays: npy and npz.
//!
//! | part of an npy file | bytes |
//! |---|---|
//! | magic `\x93NUMPY`, version (1.0, 2.0 or 3.0) | 6 + 2 |
//! | header length | 2, from version 2.0 on 4 |
//! | header: a Python literal with `descr`, `fortran_order`, `shape` | |
//! | elements | |
//!
//! A tensor is named by its file or member without `.npy`; the fields of a structured array follow after a dot. Arrays of
//! Python objects are pickles: they are reported and never read.
//!
//! # Source
//! NEP 1 and `numpy.lib.format` of NumPy 2.4.

mod descr;
mod literal;
mod npy;
mod npz;
pub mod write;

pub(crate) use descr::number_type;
pub use npy::read_npy;
pub use npz::read_npz;

#[cfg(test)]
mod tests;
