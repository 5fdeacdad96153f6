//! Header bytes to a checked [`Header`].

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, MapAccess, Visitor};

use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;

const WHAT: &str = "safetensors header";
const METADATA_KEY: &str = "__metadata__";

/// A tensor as the header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorInfo {
    /// Name, unique in the file.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Extents, outermost first; `[]` is a scalar.
    pub shape: Vec<u64>,
    /// First byte in the data section.
    pub begin: u64,
    /// One past the last byte in the data section.
    pub end: u64,
    /// Number of elements, the product of the extents.
    pub elements: u64,
}

/// Numbers of elements by element type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParameterCount {
    /// Elements of each type that occurs.
    pub by_dtype: BTreeMap<Dtype, u64>,
    /// Elements of all types.
    pub total: u64,
}

/// The checked header of a safetensors file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// Tensors in the order of their data.
    pub tensors: Vec<TensorInfo>,
    /// Free metadata of the file.
    pub metadata: BTreeMap<String, String>,
    /// Offset of the data section in the file.
    pub data_offset: u64,
    /// Length of the data section in bytes.
    pub data_len: u64,
}

/// Bytes at the start of the file that [`Header::parse`] needs, from its first eight.
///
/// # Errors
/// [`FormatError::Truncated`] with fewer than eight bytes, [`FormatError::TooLarge`] above `limits.header_bytes`.
pub fn header_len(prefix: &[u8], limits: &Limits) -> Result<u64, FormatError> {
    let Some((&length, _)) = prefix.split_first_chunk::<8>() else {
        return Err(FormatError::Truncated { what: WHAT, needed: 8, got: prefix.len() as u64 });
    };
    let length = u64::from_le_bytes(length);
    Limits::at_most("safetensors header length in bytes", length, limits.header_bytes)?;
    length.checked_add(8).ok_or(FormatError::TooLarge {
        what: "safetensors header length in bytes",
        size: length,
        limit: limits.header_bytes,
    })
}

impl Header {
    /// Reads and checks the header of a file of `file_len` bytes.
    ///
    /// `prefix` begins at the start of the file and has at least the bytes that [`header_len`] asks for.
    ///
    /// Stricter than the reference reader: no key may appear twice, descriptions have no further fields, and names,
    /// ranks and counts are bounded by `limits`.
    ///
    /// # Errors
    /// Those of [`header_len`]; [`FormatError::Truncated`], [`FormatError::Json`], [`FormatError::DuplicateKey`],
    /// [`FormatError::TooLarge`], [`FormatError::UnknownDtype`], and [`FormatError::NotTiled`],
    /// [`FormatError::OutOfBounds`], [`FormatError::ShapeMismatch`], [`FormatError::SizeOverflow`] for tensors that do
    /// not fit their data.
    pub fn parse(prefix: &[u8], file_len: u64, limits: &Limits) -> Result<Self, FormatError> {
        let data_offset = header_len(prefix, limits)?;
        let data_len = file_len.checked_sub(data_offset).ok_or(FormatError::Truncated {
            what: "safetensors file",
            needed: data_offset,
            got: file_len,
        })?;
        let json = usize::try_from(data_offset)
            .ok()
            .and_then(|end| prefix.get(8..end))
            .ok_or(FormatError::Truncated { what: WHAT, needed: data_offset, got: prefix.len() as u64 })?;
        if json.first() != Some(&b'{') {
            return Err(FormatError::Rule { what: WHAT, rule: "it begins with `{`" });
        }
        let Entries { metadata, tensors } = Entries::read(json, limits)?;
        let mut tensors =
            tensors.into_iter().map(|(name, raw)| raw.check(name, data_len, limits)).collect::<Result<Vec<_>, _>>()?;
        tensors.sort_by_key(|tensor| (tensor.begin, tensor.end));
        let mut end = 0;
        for tensor in &tensors {
            if tensor.begin != end {
                return Err(FormatError::NotTiled { tensor: tensor.name.clone(), begin: tensor.begin, expected: end });
            }
            end = tensor.end;
        }
        if end != data_len {
            return Err(FormatError::TrailingBytes { what: "the last tensor", len: data_len - end });
        }
        Ok(Self { tensors, metadata, data_offset, data_len })
    }

    /// Numbers of elements, by element type and in all.
    #[must_use]
    pub fn parameters(&self) -> ParameterCount {
        let mut count = ParameterCount::default();
        for tensor in &self.tensors {
            let of_dtype = count.by_dtype.entry(tensor.dtype).or_default();
            *of_dtype = of_dtype.saturating_add(tensor.elements);
            count.total = count.total.saturating_add(tensor.elements);
        }
        count
    }
}

/// A description as it stands in the JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl RawTensor {
    fn check(self, name: String, data_len: u64, limits: &Limits) -> Result<TensorInfo, FormatError> {
        let Self { dtype, shape, data_offsets: [begin, end] } = self;
        Limits::at_most("rank of a tensor", shape.len() as u64, limits.rank)?;
        let Some(dtype) = Dtype::parse(&dtype).filter(|dtype| dtype.is_safetensors()) else {
            return Err(FormatError::UnknownDtype { tensor: name, dtype });
        };
        if begin > end || end > data_len {
            return Err(FormatError::OutOfBounds { tensor: name, begin, end, len: data_len });
        }
        let size = shape
            .iter()
            .try_fold(1u64, |product, &extent| product.checked_mul(extent))
            .and_then(|elements| Some((elements, elements.checked_mul(dtype.bits())?)));
        let Some((elements, bits)) = size else {
            return Err(FormatError::SizeOverflow { tensor: name });
        };
        if !bits.is_multiple_of(8) || bits / 8 != end - begin {
            return Err(FormatError::ShapeMismatch { tensor: name, expected: bits, actual: end - begin });
        }
        Ok(TensorInfo { name, dtype, shape, begin, end, elements })
    }
}

/// All entries of the header, with unique keys.
#[derive(Default)]
struct Entries {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, RawTensor)>,
}

impl Entries {
    fn read(json: &[u8], limits: &Limits) -> Result<Self, FormatError> {
        let mut fault = None;
        let mut reader = serde_json::Deserializer::from_slice(json);
        let read = Top { limits, fault: &mut fault }.deserialize(&mut reader);
        let read = read.and_then(|entries| reader.end().map(|()| entries));
        // A fault of our own has passed through the JSON reader and is the better answer.
        read.map_err(|source| fault.unwrap_or(FormatError::Json { what: WHAT, source }))
    }
}

/// Reads the outer object; leaves its own finding in `fault`, since serde errors carry only text.
struct Top<'a> {
    limits: &'a Limits,
    fault: &'a mut Option<FormatError>,
}

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = Entries;

    fn deserialize<D: de::Deserializer<'de>>(self, reader: D) -> Result<Entries, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries, M::Error> {
        let Self { limits, fault } = self;
        let mut entries = Entries::default();
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if let Err(found) = new_key(&key, &seen, limits) {
                return Err(stop(fault, found));
            }
            if key == METADATA_KEY {
                entries.metadata = map.next_value_seed(Metadata { limits, fault })?;
            } else {
                if let Err(found) =
                    Limits::at_most("number of tensors", entries.tensors.len() as u64 + 1, limits.tensors)
                {
                    return Err(stop(fault, found));
                }
                entries.tensors.push((key.clone(), map.next_value()?));
            }
            seen.insert(key);
        }
        Ok(entries)
    }
}

/// Reads the object of strings under `__metadata__`.
struct Metadata<'a> {
    limits: &'a Limits,
    fault: &'a mut Option<FormatError>,
}

impl<'de> DeserializeSeed<'de> for Metadata<'_> {
    type Value = BTreeMap<String, String>;

    fn deserialize<D: de::Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Metadata<'_> {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let Self { limits, fault } = self;
        let mut metadata = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            let entries = metadata.len() as u64 + 1;
            let checked = Limits::at_most("metadata key length in bytes", key.len() as u64, limits.name_bytes)
                .and_then(|()| Limits::at_most("number of metadata entries", entries, limits.metadata_entries));
            if let Err(found) = checked {
                return Err(stop(fault, found));
            }
            if metadata.contains_key(&key) {
                return Err(stop(fault, FormatError::DuplicateKey { key }));
            }
            metadata.insert(key, value);
        }
        Ok(metadata)
    }
}

fn new_key(key: &str, seen: &HashSet<String>, limits: &Limits) -> Result<(), FormatError> {
    Limits::at_most("tensor name length in bytes", key.len() as u64, limits.name_bytes)?;
    if seen.contains(key) { Err(FormatError::DuplicateKey { key: key.to_owned() }) } else { Ok(()) }
}

/// Remembers `found` and gives an error that ends the reading.
fn stop<E: de::Error>(fault: &mut Option<FormatError>, found: FormatError) -> E {
    *fault = Some(found);
    E::custom("refused")
}
