//! Element types of tensors, and the block types of quantised ones.
//!
//! One list for all formats. The first 22 are those of safetensors, in its order and spelling; then what other formats
//! have besides; then the block types of GGUF, whose elements have no width of their own: a block of so many elements
//! has so many bytes, scales included.

use std::fmt;

/// Defines the enum and its tables from one list.
macro_rules! dtypes {
    ($($(#[$doc:meta])* $variant:ident $text:literal $elements:literal $bytes:literal;)*) => {
        /// Element type or block type of a tensor.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Dtype {
            $($(#[$doc])* $variant,)*
        }

        impl Dtype {
            /// All element types.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Elements of one block: 1 but for packed and quantised types.
            #[must_use]
            pub const fn block_elements(self) -> u64 {
                match self { $(Self::$variant => $elements,)* }
            }

            /// Bytes of one block; 0 for text, whose elements differ in length.
            #[must_use]
            pub const fn block_bytes(self) -> u64 {
                match self { $(Self::$variant => $bytes,)* }
            }

            /// The spelling in our output; that of safetensors or of GGUF where they have the type.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The type with this spelling, which is case-sensitive.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

dtypes! {
    /// Boolean, one byte each.
    Bool "BOOL" 1 1;
    /// 4-bit float of the OCP microscaling formats.
    F4 "F4" 2 1;
    /// 6-bit float, 2 exponent and 3 mantissa bits (OCP microscaling formats).
    F6E2M3 "F6_E2M3" 4 3;
    /// 6-bit float, 3 exponent and 2 mantissa bits (OCP microscaling formats).
    F6E3M2 "F6_E3M2" 4 3;
    /// Unsigned byte.
    U8 "U8" 1 1;
    /// Signed byte.
    I8 "I8" 1 1;
    /// 8-bit float, 5 exponent and 2 mantissa bits (arXiv:2209.05433).
    F8E5M2 "F8_E5M2" 1 1;
    /// 8-bit float, 4 exponent and 3 mantissa bits (arXiv:2209.05433).
    F8E4M3 "F8_E4M3" 1 1;
    /// 8-bit scale of exponent bits only (OCP microscaling formats).
    F8E8M0 "F8_E8M0" 1 1;
    /// 8-bit float, 4 exponent and 3 mantissa bits, finite, one zero (arXiv:2206.02915).
    F8E4M3Fnuz "F8_E4M3FNUZ" 1 1;
    /// 8-bit float, 5 exponent and 2 mantissa bits, finite, one zero (arXiv:2206.02915).
    F8E5M2Fnuz "F8_E5M2FNUZ" 1 1;
    /// Signed 16-bit integer.
    I16 "I16" 1 2;
    /// Unsigned 16-bit integer.
    U16 "U16" 1 2;
    /// IEEE half precision.
    F16 "F16" 1 2;
    /// The upper half of an `F32`.
    BF16 "BF16" 1 2;
    /// Signed 32-bit integer.
    I32 "I32" 1 4;
    /// Unsigned 32-bit integer.
    U32 "U32" 1 4;
    /// IEEE single precision.
    F32 "F32" 1 4;
    /// Complex number of two `F32`.
    C64 "C64" 1 8;
    /// IEEE double precision.
    F64 "F64" 1 8;
    /// Signed 64-bit integer.
    I64 "I64" 1 8;
    /// Unsigned 64-bit integer.
    U64 "U64" 1 8;
    /// Complex number of two `F16`.
    C32 "C32" 1 4;
    /// Complex number of two `F64`.
    C128 "C128" 1 16;
    /// 8-bit float, 4 exponent and 3 mantissa bits, exponent bias 11 (arXiv:2206.02915).
    F8E4M3B11Fnuz "F8_E4M3B11FNUZ" 1 1;
    /// Signed 4-bit integer, low nibble first.
    I4 "I4" 2 1;
    /// Unsigned 4-bit integer, low nibble first.
    U4 "U4" 2 1;
    /// Signed 2-bit integer, low bits first.
    I2 "I2" 4 1;
    /// Unsigned 2-bit integer, low bits first.
    U2 "U2" 4 1;
    /// Quantised signed byte of torch; scale and zero point stand in the metadata.
    QI8 "QI8" 1 1;
    /// Quantised unsigned byte of torch.
    QU8 "QU8" 1 1;
    /// Quantised signed 32-bit integer of torch.
    QI32 "QI32" 1 4;
    /// IEEE quadruple or x87 extended precision, as NumPy writes its long double.
    F128 "F128" 1 16;
    /// Text or bytes of differing length.
    Text "STRING" 1 0;
    /// GGUF block type `Q4_0`.
    Q40 "Q4_0" 32 18;
    /// GGUF block type `Q4_1`.
    Q41 "Q4_1" 32 20;
    /// GGUF block type `Q5_0`.
    Q50 "Q5_0" 32 22;
    /// GGUF block type `Q5_1`.
    Q51 "Q5_1" 32 24;
    /// GGUF block type `Q8_0`.
    Q80 "Q8_0" 32 34;
    /// GGUF block type `Q8_1`.
    Q81 "Q8_1" 32 40;
    /// GGUF block type `Q2_K`.
    Q2K "Q2_K" 256 84;
    /// GGUF block type `Q3_K`.
    Q3K "Q3_K" 256 110;
    /// GGUF block type `Q4_K`.
    Q4K "Q4_K" 256 144;
    /// GGUF block type `Q5_K`.
    Q5K "Q5_K" 256 176;
    /// GGUF block type `Q6_K`.
    Q6K "Q6_K" 256 210;
    /// GGUF block type `Q8_K`.
    Q8K "Q8_K" 256 292;
    /// GGUF block type `IQ2_XXS`.
    IQ2XXS "IQ2_XXS" 256 66;
    /// GGUF block type `IQ2_XS`.
    IQ2XS "IQ2_XS" 256 74;
    /// GGUF block type `IQ3_XXS`.
    IQ3XXS "IQ3_XXS" 256 98;
    /// GGUF block type `IQ1_S`.
    IQ1S "IQ1_S" 256 50;
    /// GGUF block type `IQ4_NL`.
    IQ4NL "IQ4_NL" 32 18;
    /// GGUF block type `IQ3_S`.
    IQ3S "IQ3_S" 256 110;
    /// GGUF block type `IQ2_S`.
    IQ2S "IQ2_S" 256 82;
    /// GGUF block type `IQ4_XS`.
    IQ4XS "IQ4_XS" 256 136;
    /// GGUF block type `IQ1_M`.
    IQ1M "IQ1_M" 256 56;
    /// GGUF block type `TQ1_0`.
    TQ10 "TQ1_0" 256 54;
    /// GGUF block type `TQ2_0`.
    TQ20 "TQ2_0" 256 66;
    /// GGUF block type `MXFP4`.
    MXFP4 "MXFP4" 32 17;
    /// GGUF block type `NVFP4`.
    NVFP4 "NVFP4" 64 36;
    /// GGUF block type `Q1_0`.
    Q10 "Q1_0" 128 18;
}

impl Dtype {
    /// The types that safetensors has.
    #[must_use]
    pub fn is_safetensors(self) -> bool {
        self <= Self::U64
    }

    /// Whether elements lie in blocks with scales, as GGUF quantises.
    #[must_use]
    pub fn is_quantised(self) -> bool {
        self >= Self::Q40
    }

    /// Width of one element in bits; 0 for text and for quantised blocks, whose elements have no width of their own.
    #[must_use]
    pub const fn bits(self) -> u64 {
        match self.block_elements() {
            elements @ 1..=4 => self.block_bytes() * 8 / elements,
            _ => 0,
        }
    }

    /// Bytes of `elements` elements, packed ones rounded up; `None` when it overflows or a quantised block would not be
    /// full.
    #[must_use]
    pub const fn size_bytes(self, elements: u64) -> Option<u64> {
        let whole = match (elements / self.block_elements()).checked_mul(self.block_bytes()) {
            Some(whole) => whole,
            None => return None,
        };
        match (elements % self.block_elements(), self.bits()) {
            (0, _) => Some(whole),
            (_, 0) => None,
            (rest, bits) => whole.checked_add((rest * bits).div_ceil(8)),
        }
    }
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
        assert_eq!(Dtype::ALL.iter().filter(|dtype| dtype.is_safetensors()).count(), 22);
        assert_eq!(Dtype::ALL.iter().filter(|dtype| dtype.is_quantised()).count(), 26);
        assert_eq!(Dtype::parse("f32"), None);
    }

    #[test]
    fn sizes_round_up_packed_elements_and_refuse_broken_blocks() {
        assert_eq!(Dtype::F32.size_bytes(3), Some(12));
        assert_eq!(Dtype::F4.size_bytes(6), Some(3));
        assert_eq!(Dtype::F4.size_bytes(5), Some(3));
        assert_eq!(Dtype::F6E2M3.size_bytes(9), Some(7));
        assert_eq!(Dtype::Q4K.size_bytes(255), None);
        assert_eq!(Dtype::Q4K.size_bytes(512), Some(288));
        assert_eq!(Dtype::U64.size_bytes(1 << 62), None);
        assert_eq!((Dtype::F4.bits(), Dtype::F6E2M3.bits(), Dtype::Q80.bits(), Dtype::BF16.bits()), (4, 6, 0, 16));
    }
}
