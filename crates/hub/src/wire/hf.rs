//! Shapes of the Hugging Face Hub API, by subject.
//!
//! Every struct can be written (server) and read (client). Members that the Hub leaves out are
//! `Option`s which are skipped when `None`; unknown members are ignored when reading, since the
//! Hub and its clients add some with every release.

pub mod manage;
pub mod refs;
pub mod repo;
pub mod tree;
pub mod upload;
pub mod user;

use serde::{Deserialize, Deserializer};

/// Reads a boolean sent as `true`, `"true"`, `"True"`, `"1"` or `1`.
///
/// # Errors
/// A value that is none of these, with serde's place.
pub fn lenient_bool<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Spelled {
        Bool(bool),
        Number(u64),
        Text(String),
    }
    match Spelled::deserialize(from)? {
        Spelled::Bool(flag) => Ok(flag),
        Spelled::Number(0) => Ok(false),
        Spelled::Number(1) => Ok(true),
        Spelled::Number(other) => Err(not_a_bool(&other)),
        Spelled::Text(text) => super::query::parse_bool(&text).ok_or_else(|| not_a_bool(&text)),
    }
}

fn not_a_bool<E: serde::de::Error>(value: &impl std::fmt::Display) -> E {
    E::custom(format_args!("expected true or false, not `{value}`"))
}
