//! What can be wrong with bytes from strangers.

use crate::xet::hash::XetHash;

/// Why bytes were not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Input ends before the structure it announces.
    #[error("{what} needs {needed} bytes; only {got} are there")]
    Truncated {
        /// The structure that was being read.
        what: &'static str,
        /// Bytes the structure needs.
        needed: u64,
        /// Bytes that were there.
        got: u64,
    },
    /// Bytes follow where the structure should end.
    #[error("{len} bytes follow the end of {what}")]
    TrailingBytes {
        /// The structure that had ended.
        what: &'static str,
        /// Number of bytes after its end.
        len: u64,
    },
    /// Some quantity is above its limit.
    #[error("{what} is {size}; the limit is {limit}")]
    TooLarge {
        /// What was measured, with its unit.
        what: &'static str,
        /// The claimed or counted size.
        size: u64,
        /// The largest accepted size.
        limit: u64,
    },
    /// Something that must have content has none.
    #[error("{what} is empty")]
    Empty {
        /// The structure without content.
        what: &'static str,
    },
    /// A fixed byte pattern is missing.
    #[error("this is no {what}: its magic bytes are missing")]
    BadMagic {
        /// The format that was expected.
        what: &'static str,
    },
    /// A version or kind byte that this program does not know.
    #[error("{what} has the unknown version {version}")]
    UnknownVersion {
        /// The structure that carries the version.
        what: &'static str,
        /// The version found.
        version: u64,
    },
    /// A chunk names a compression scheme that does not exist.
    #[error("chunk has the unknown compression scheme {scheme}")]
    UnknownScheme {
        /// The scheme byte found.
        scheme: u8,
    },
    /// Two statements of one length disagree.
    #[error("{what} is {actual}; {expected} was announced")]
    LengthMismatch {
        /// What was measured, with its unit.
        what: &'static str,
        /// The announced length.
        expected: u64,
        /// The length found.
        actual: u64,
    },
    /// A computed hash is not the expected one.
    #[error("{what} hashes to `{actual}`; `{expected}` was expected")]
    HashMismatch {
        /// What was hashed.
        what: &'static str,
        /// The announced hash.
        expected: XetHash,
        /// The hash of the bytes received.
        actual: XetHash,
    },
    /// A checksum inside a compressed frame is wrong.
    #[error("{what} has checksum {actual:#010x}; {expected:#010x} was announced")]
    ChecksumMismatch {
        /// What was summed.
        what: &'static str,
        /// The announced checksum.
        expected: u32,
        /// The checksum of the bytes.
        actual: u32,
    },
    /// Text that is not a 64-digit lower-case Xet hash.
    #[error("a Xet hash has 64 lower-case hexadecimal digits; this text of {len} bytes is none")]
    NotAHash {
        /// Length of the text in bytes.
        len: usize,
    },
    /// A compressed block that cannot be decoded.
    #[error("compressed block cannot be decoded")]
    Lz4 {
        /// What the block decoder found.
        source: lz4_flex::block::DecompressError,
    },
    /// A block that could not be compressed although the output has room.
    #[error("block cannot be compressed")]
    Lz4Encode {
        /// What the block encoder found.
        source: lz4_flex::block::CompressError,
    },
    /// Some place in a file is not what the format says.
    #[error("{what} at byte {at}: {detail}")]
    Broken {
        /// The structure at fault.
        what: &'static str,
        /// Offset in the file or stream that is being read.
        at: u64,
        /// What is wrong, with the offending value in backticks.
        detail: String,
    },
    /// The bytes may be right, but this program does not read them.
    #[error("{what} is not supported: {detail}")]
    Unsupported {
        /// The feature or structure.
        what: &'static str,
        /// Which one, and what to do instead if there is something.
        detail: String,
    },
    /// The source of the bytes failed.
    #[error("reading {what} failed")]
    Io {
        /// What was being read.
        what: &'static str,
        /// What the source said.
        source: std::io::Error,
    },
    /// A checkpoint names a file that is not there.
    #[error("there is no file `{path}`")]
    NoFile {
        /// Path below the checkpoint's folder.
        path: String,
    },
    /// An error in one file of several.
    #[error("`{file}`: {source}")]
    In {
        /// Path below the checkpoint's folder.
        file: String,
        /// What is wrong there.
        source: Box<FormatError>,
    },
    /// A rule of the format is broken.
    #[error("{what} breaks the rule that {rule}")]
    Rule {
        /// The structure at fault.
        what: &'static str,
        /// The rule, as a clause.
        rule: &'static str,
    },
    /// A header is not the JSON it should be.
    #[error("{what} is not the expected JSON")]
    Json {
        /// The structure that should be JSON.
        what: &'static str,
        /// What the JSON reader found.
        source: serde_json::Error,
    },
    /// A key appears twice in one JSON object.
    #[error("key `{key}` appears twice")]
    DuplicateKey {
        /// The repeated key.
        key: String,
    },
    /// A tensor has an element type that is not known.
    #[error("tensor `{tensor}` has the unknown dtype `{dtype}`")]
    UnknownDtype {
        /// Name of the tensor.
        tensor: String,
        /// The spelling found.
        dtype: String,
    },
    /// The bytes of a tensor do not begin where the bytes before them end.
    #[error("tensor `{tensor}` begins at byte {begin} of the data section; {expected} was expected")]
    NotTiled {
        /// Name of the tensor.
        tensor: String,
        /// Its first byte.
        begin: u64,
        /// End of the bytes before it.
        expected: u64,
    },
    /// The bytes of a tensor leave the data section or run backwards.
    #[error("tensor `{tensor}`: bytes {begin}..{end} leave the data section of {len} bytes")]
    OutOfBounds {
        /// Name of the tensor.
        tensor: String,
        /// Its first byte.
        begin: u64,
        /// One past its last byte.
        end: u64,
        /// Length of the data section.
        len: u64,
    },
    /// Shape and dtype do not give the length of the data.
    #[error("tensor `{tensor}` occupies {actual} bytes; its shape and dtype give {expected} bits")]
    ShapeMismatch {
        /// Name of the tensor.
        tensor: String,
        /// Bits by shape and dtype.
        expected: u64,
        /// Bytes by offsets.
        actual: u64,
    },
    /// Shape and dtype give a size that no file can have.
    #[error("the size of tensor `{tensor}` overflows")]
    SizeOverflow {
        /// Name of the tensor.
        tensor: String,
    },
}

/// An error with its causes in one line; a cause that the text ends with is not said twice.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

/// What a caller can do about a [`FormatError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes break the format; nothing but other bytes will help.
    Malformed,
    /// The bytes may be right, but this program does not know their version or type.
    Unsupported,
    /// The source of the bytes failed; asking again may help.
    Io,
    /// A fault of this program.
    Internal,
}

impl FormatError {
    /// The same error, with the file it is in.
    #[must_use]
    pub fn in_file(self, file: &str) -> Self {
        match self {
            Self::In { .. } | Self::NoFile { .. } => self,
            source => Self::In { file: file.to_owned(), source: Box::new(source) },
        }
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownVersion { .. }
            | Self::UnknownScheme { .. }
            | Self::UnknownDtype { .. }
            | Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Io { .. } => ErrorKind::Io,
            Self::In { source, .. } => source.kind(),
            Self::Lz4Encode { .. } => ErrorKind::Internal,
            _ => ErrorKind::Malformed,
        }
    }
}
