//! What can be wrong with stored blocks and with what a caller asks.

/// A failure of the codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The bytes break the layout.
    #[error("a coded tensor is damaged: {what}")]
    Damaged {
        /// The part that cannot be right.
        what: &'static str,
    },
    /// A checksum differs.
    #[error("a coded tensor is damaged: the checksum of its {what} is {found:08x}, not {stored:08x}")]
    Checksum {
        /// What was summed up.
        what: &'static str,
        /// The checksum on record.
        stored: u32,
        /// That of the bytes.
        found: u32,
    },
    /// The layout is newer than this program, or the codec or element type is unknown.
    #[error("a coded tensor has {what} {found}, which this version does not know")]
    Unknown {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u32,
    },
    /// A block is coded against a base, and none of the right length was given.
    #[error("a block needs {wanted} bytes of its base; there are {found}")]
    Base {
        /// Bytes of the same elements of the base.
        wanted: u64,
        /// Bytes given.
        found: u64,
    },
    /// The caller's bytes do not fit type and shape.
    #[error("{elements} elements of {dtype} are not {found} bytes")]
    Size {
        /// Elements of the shape.
        elements: u64,
        /// Element type.
        dtype: &'static str,
        /// Bytes given.
        found: u64,
    },
}
