//! Extents of datasets, and the value of elements that were never written.

use crate::error::FormatError;
use crate::limits::Limits;

use super::File;
use super::broken;
use super::bytes::Bytes;
use super::header::{FILL, OLD_FILL, Object};

/// Extents.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) shape: Vec<u64>,
    /// Largest extents; [`u64::MAX`] has no end.
    pub(super) max: Vec<u64>,
    /// Whether there is no element at all, not even one.
    pub(super) is_null: bool,
}

impl Space {
    pub(super) fn read(bytes: &mut Bytes, limits: &Limits) -> Result<Self, FormatError> {
        let at = bytes.place();
        let version = bytes.version(&[1, 2])?;
        let rank = u64::from(bytes.u8()?);
        Limits::at_most("rank of an hdf5 dataset", rank, limits.rank)?;
        let flags = bytes.u8()?;
        let kind = bytes.u8()?;
        if version == 1 {
            bytes.skip(4)?;
        }
        let mut shape = Vec::new();
        for _ in 0..rank {
            shape.push(bytes.length()?);
        }
        let mut max = shape.clone();
        if flags & 1 != 0 {
            max.clear();
            for &extent in &shape {
                let largest = bytes.length()?;
                if largest < extent {
                    return Err(broken("hdf5 dataspace", at, format!("extent `{extent}` is above its own maximum")));
                }
                max.push(largest);
            }
        }
        Ok(Self { shape, max, is_null: version == 2 && kind == 2 })
    }
}

impl File {
    /// The bytes of one element that was never written; `None` is zeros.
    pub(super) fn fill(&self, object: &Object) -> Result<Option<Vec<u8>>, FormatError> {
        if let Some(mut bytes) = self.first(object, FILL)? {
            let is_defined = match bytes.version(&[1, 2, 3])? {
                1 => {
                    bytes.skip(3)?;
                    true
                }
                2 => {
                    bytes.skip(2)?;
                    bytes.u8()? != 0
                }
                _ => bytes.u8()? & 0x20 != 0,
            };
            if !is_defined {
                return Ok(None);
            }
            let len = bytes.u32()? as usize;
            return Ok(Some(bytes.take(len)?.to_vec()).filter(|value| !value.is_empty()));
        }
        let Some(mut bytes) = self.first(object, OLD_FILL)? else { return Ok(None) };
        let len = bytes.u32()? as usize;
        Ok(Some(bytes.take(len)?.to_vec()).filter(|value| !value.is_empty()))
    }
}
