//! Attributes: small values beside objects.

use serde_json::{Map, Value as Json, json};

use crate::error::FormatError;
use crate::limits::Limits;

use super::bytes::Bytes;
use super::datatype::{Datatype, Kind};
use super::header::{ATTRIBUTE, ATTRIBUTE_INFO, DATASPACE, DATATYPE, Object};
use super::space::Space;
use super::{File, is_defined};

/// Name and value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Name.
    pub name: String,
    /// Text, numbers, booleans, lists of them; null for other types.
    pub value: Json,
}

impl File {
    /// Attributes of an object.
    ///
    /// # Errors
    /// [`FormatError::Broken`] and its kin for structures that lie, [`FormatError::TooLarge`] beyond the limits.
    pub fn attributes(&self, object: &Object) -> Result<Vec<Attribute>, FormatError> {
        let mut found = Vec::new();
        for message in object.all(ATTRIBUTE) {
            found.push(self.attribute(&mut self.over("hdf5 attribute", &message.body, message.at))?);
        }
        if let Some(mut info) = self.first(object, ATTRIBUTE_INFO)? {
            info.version(&[0])?;
            let flags = info.u8()?;
            info.skip(if flags & 1 == 0 { 0 } else { 2 })?;
            let (heap, names) = (info.offset()?, info.offset()?);
            if is_defined(heap) && is_defined(names) {
                let heap = self.fractal_heap(heap)?;
                for mut record in self.btree2(names)?.records {
                    // Behind the id stand flags, the order of creation, and a hash: nine bytes.
                    let len = record.left().saturating_sub(9);
                    let at = record.place();
                    let id = record.take(len)?.to_vec();
                    found.push(self.attribute(&mut self.heap_object(&heap, &id, at)?)?);
                }
            }
        }
        Limits::at_most("number of hdf5 attributes", found.len() as u64, self.limits.metadata_entries)?;
        Ok(found)
    }

    /// Attributes as JSON; parts that were split because they were long (`name0`, `name1`, …) stay apart.
    #[must_use]
    pub fn json(&self, attributes: &[Attribute]) -> Map<String, Json> {
        attributes.iter().map(|attribute| (attribute.name.clone(), attribute.value.clone())).collect()
    }

    fn attribute(&self, bytes: &mut Bytes) -> Result<Attribute, FormatError> {
        let version = bytes.version(&[1, 2, 3])?;
        let flags = bytes.u8()?;
        let (name_bytes, type_bytes, space_bytes) =
            (usize::from(bytes.u16()?), usize::from(bytes.u16()?), usize::from(bytes.u16()?));
        if version == 3 {
            bytes.skip(1)?;
        }
        // Version 1 pads each part.
        let padded = |len: usize| if version == 1 { len.next_multiple_of(8) } else { len };
        let name = bytes.take(padded(name_bytes))?;
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        Limits::at_most("hdf5 name in bytes", name.len() as u64, self.limits.name_bytes)?;
        let name = String::from_utf8_lossy(name).into_owned();
        let is_shared = |flag: u8| version > 1 && flags & flag != 0;
        let mut part = |len: usize, is_shared: bool, kind: u16| {
            let at = bytes.place();
            let mut part = self.over("hdf5 attribute", bytes.take(padded(len))?, at);
            if is_shared { self.shared(&mut part, kind) } else { Ok(part) }
        };
        let mut kind = part(type_bytes, is_shared(1), DATATYPE)?;
        let mut space = part(space_bytes, is_shared(2), DATASPACE)?;
        let kind = Datatype::read(&mut kind, &self.limits)?;
        let space = Space::read(&mut space, &self.limits)?;
        let value = self.value(&kind, &space, bytes)?;
        Ok(Attribute { name, value })
    }

    /// The value as JSON.
    fn value(&self, kind: &Datatype, space: &Space, bytes: &mut Bytes) -> Result<Json, FormatError> {
        if space.is_null {
            return Ok(Json::Null);
        }
        let count = space.shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent));
        let at = bytes.place();
        let len = count.and_then(|count| count.checked_mul(kind.size));
        let len = len.ok_or(FormatError::Truncated { what: "hdf5 attribute", needed: u64::MAX, got: 0 })?;
        let data = bytes.take_long(len)?;
        let count = if kind.size == 0 { 0 } else { count.unwrap_or(0) };
        let mut values = Vec::new();
        for element in data.chunks_exact(usize::try_from(kind.size.max(1)).unwrap_or(usize::MAX)) {
            values.push(self.element(kind, element, at)?);
        }
        Ok(match (space.shape.as_slice(), values.len()) {
            ([], 1) => values.pop().unwrap_or(Json::Null),
            _ if count == 0 => Json::Array(Vec::new()),
            _ => Json::Array(values),
        })
    }

    fn element(&self, kind: &Datatype, element: &[u8], at: u64) -> Result<Json, FormatError> {
        let number = |element: &[u8]| {
            let fold = |value: u64, &byte: &u8| value << 8 | u64::from(byte);
            if kind.is_big_endian { element.iter().fold(0, fold) } else { element.iter().rev().fold(0, fold) }
        };
        Ok(match &kind.kind {
            Kind::Text { is_space_padded } => {
                let end = element.iter().position(|&byte| byte == 0).unwrap_or(element.len());
                let text = String::from_utf8_lossy(element.get(..end).unwrap_or_default()).into_owned();
                if *is_space_padded { text.trim_end_matches(' ').into() } else { text.into() }
            }
            Kind::Variable => {
                let mut bytes = self.over("hdf5 text", element, at);
                let (len, address, index) = (bytes.u32()?, bytes.offset()?, bytes.u32()?);
                if address == 0 || !is_defined(address) {
                    return Ok(String::new().into());
                }
                let mut text = self.global(address, index)?;
                text.truncate(len as usize);
                Limits::at_most("hdf5 text in bytes", text.len() as u64, self.limits.text_bytes)?;
                String::from_utf8_lossy(&text).into_owned().into()
            }
            Kind::Integer { is_signed: true, .. } if element.len() <= 8 && !element.is_empty() => {
                let unused = 64 - 8 * element.len() as u32;
                json!((number(element) << unused) as i64 >> unused)
            }
            Kind::Integer { .. } if element.len() <= 8 => json!(number(element)),
            Kind::Float { exponent: 8, mantissa: 23 } if element.len() == 4 => {
                json!(f32::from_bits(number(element) as u32))
            }
            Kind::Float { exponent: 11, mantissa: 52 } if element.len() == 8 => json!(f64::from_bits(number(element))),
            Kind::Enumeration { base, names } if names.len() == 2 && element.len() == 1 && base.size == 1 => {
                json!(element.first() == Some(&1))
            }
            Kind::Enumeration { base, .. } => match base.kind {
                Kind::Enumeration { .. } => Json::Null,
                _ => self.element(base, element, at)?,
            },
            _ => Json::Null,
        })
    }
}
