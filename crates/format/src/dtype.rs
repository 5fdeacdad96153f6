//! Element types of tensors.

use std::fmt;

/// Defines the enum and its tables from one list.
macro_rules! dtypes {
    ($($(#[$doc:meta])* $variant:ident $text:literal $bits:literal;)*) => {
        /// Element type of a tensor, as safetensors spells it.
        ///
        /// The order is that of the reference reader, roughly by width.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Dtype {
            $($(#[$doc])* $variant,)*
        }

        impl Dtype {
            /// All element types.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Width of one element in bits.
            #[must_use]
            pub const fn bits(self) -> u64 {
                match self { $(Self::$variant => $bits,)* }
            }

            /// The spelling in safetensors headers.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The element type with this spelling, which is case-sensitive.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

dtypes! {
    /// Boolean, one byte each.
    Bool "BOOL" 8;
    /// 4-bit float of the OCP microscaling formats.
    F4 "F4" 4;
    /// 6-bit float, 2 exponent and 3 mantissa bits (OCP microscaling formats).
    F6E2M3 "F6_E2M3" 6;
    /// 6-bit float, 3 exponent and 2 mantissa bits (OCP microscaling formats).
    F6E3M2 "F6_E3M2" 6;
    /// Unsigned byte.
    U8 "U8" 8;
    /// Signed byte.
    I8 "I8" 8;
    /// 8-bit float, 5 exponent and 2 mantissa bits (arXiv:2209.05433).
    F8E5M2 "F8_E5M2" 8;
    /// 8-bit float, 4 exponent and 3 mantissa bits (arXiv:2209.05433).
    F8E4M3 "F8_E4M3" 8;
    /// 8-bit scale of exponent bits only (OCP microscaling formats).
    F8E8M0 "F8_E8M0" 8;
    /// 8-bit float, 4 exponent and 3 mantissa bits, finite, one zero (arXiv:2206.02915).
    F8E4M3Fnuz "F8_E4M3FNUZ" 8;
    /// 8-bit float, 5 exponent and 2 mantissa bits, finite, one zero (arXiv:2206.02915).
    F8E5M2Fnuz "F8_E5M2FNUZ" 8;
    /// Signed 16-bit integer.
    I16 "I16" 16;
    /// Unsigned 16-bit integer.
    U16 "U16" 16;
    /// IEEE half precision.
    F16 "F16" 16;
    /// The upper half of an `F32`.
    BF16 "BF16" 16;
    /// Signed 32-bit integer.
    I32 "I32" 32;
    /// Unsigned 32-bit integer.
    U32 "U32" 32;
    /// IEEE single precision.
    F32 "F32" 32;
    /// Complex number of two `F32`.
    C64 "C64" 64;
    /// IEEE double precision.
    F64 "F64" 64;
    /// Signed 64-bit integer.
    I64 "I64" 64;
    /// Unsigned 64-bit integer.
    U64 "U64" 64;
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Dtype;

    #[test]
    fn every_dtype_is_read_from_its_spelling() {
        for &dtype in Dtype::ALL {
            assert_eq!(Dtype::parse(&dtype.to_string()), Some(dtype));
        }
        assert_eq!(Dtype::ALL.len(), 22);
        assert_eq!(Dtype::parse("f32"), None);
    }
}
