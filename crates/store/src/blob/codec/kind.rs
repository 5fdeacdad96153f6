//! How the bytes of each element type are taken apart, and the number by which a stored block names the type.

use weighthouse_format::Dtype;

use super::error::CodecError;

/// How elements of one type are laid out for coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Bytes of a number that is taken whole: 1, 2, 4 or 8.
    pub word: usize,
    /// What the words are.
    pub number: Number,
    /// Bytes of each run of a quantised block that goes into a plane of its own; empty for plain numbers.
    pub runs: &'static [usize],
}

/// What the bits of a word mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Sign, exponent, then so many bits of mantissa.
    Float {
        /// Width of the mantissa.
        mantissa: u32,
    },
    /// An integer, or bits of no order that we use.
    Integer,
}

impl Kind {
    /// The layout for a type.
    pub fn of(dtype: Dtype) -> Self {
        let float = |word, mantissa| Self { word, number: Number::Float { mantissa }, runs: &[] };
        let integer = |word| Self { word, number: Number::Integer, runs: &[] };
        match dtype {
            Dtype::F64 | Dtype::C128 => float(8, 52),
            Dtype::F32 | Dtype::C64 => float(4, 23),
            Dtype::BF16 => float(2, 7),
            Dtype::F16 | Dtype::C32 => float(2, 10),
            Dtype::F8E5M2 | Dtype::F8E5M2Fnuz => float(1, 2),
            Dtype::F8E4M3 | Dtype::F8E4M3Fnuz | Dtype::F8E4M3B11Fnuz => float(1, 3),
            Dtype::I64 | Dtype::U64 => integer(8),
            Dtype::I32 | Dtype::U32 | Dtype::QI32 => integer(4),
            Dtype::I16 | Dtype::U16 => integer(2),
            quantised => Self { runs: runs(quantised), ..integer(1) },
        }
    }

    /// Bytes that cannot be parted: a word, or a quantised block.
    pub fn unit(self) -> usize {
        self.runs.iter().sum::<usize>().max(self.word)
    }
}

/// The fields of a quantised block in the order of ggml's structs; the two bytes of a half-precision scale apart.
fn runs(dtype: Dtype) -> &'static [usize] {
    match dtype {
        Dtype::Q40 | Dtype::IQ4NL => &[1, 1, 16],
        Dtype::Q41 => &[1, 1, 1, 1, 16],
        Dtype::Q50 => &[1, 1, 4, 16],
        Dtype::Q51 => &[1, 1, 1, 1, 4, 16],
        Dtype::Q80 => &[1, 1, 32],
        Dtype::Q2K => &[16, 64, 1, 1, 1, 1],
        Dtype::Q3K => &[32, 64, 12, 1, 1],
        Dtype::Q4K => &[1, 1, 1, 1, 12, 128],
        Dtype::Q5K => &[1, 1, 1, 1, 12, 32, 128],
        Dtype::Q6K => &[128, 64, 16, 1, 1],
        Dtype::IQ4XS => &[1, 1, 2, 4, 128],
        Dtype::MXFP4 => &[1, 16],
        _ => &[],
    }
}

/// The number of each type in a descriptor. A number is never given to another type.
const CODES: [(u8, Dtype); 60] = [
    (0, Dtype::Bool),
    (1, Dtype::F4),
    (2, Dtype::F6E2M3),
    (3, Dtype::F6E3M2),
    (4, Dtype::U8),
    (5, Dtype::I8),
    (6, Dtype::F8E5M2),
    (7, Dtype::F8E4M3),
    (8, Dtype::F8E8M0),
    (9, Dtype::F8E4M3Fnuz),
    (10, Dtype::F8E5M2Fnuz),
    (11, Dtype::I16),
    (12, Dtype::U16),
    (13, Dtype::F16),
    (14, Dtype::BF16),
    (15, Dtype::I32),
    (16, Dtype::U32),
    (17, Dtype::F32),
    (18, Dtype::C64),
    (19, Dtype::F64),
    (20, Dtype::I64),
    (21, Dtype::U64),
    (22, Dtype::C32),
    (23, Dtype::C128),
    (24, Dtype::F8E4M3B11Fnuz),
    (25, Dtype::I4),
    (26, Dtype::U4),
    (27, Dtype::I2),
    (28, Dtype::U2),
    (29, Dtype::QI8),
    (30, Dtype::QU8),
    (31, Dtype::QI32),
    (32, Dtype::F128),
    (33, Dtype::Text),
    (64, Dtype::Q40),
    (65, Dtype::Q41),
    (66, Dtype::Q50),
    (67, Dtype::Q51),
    (68, Dtype::Q80),
    (69, Dtype::Q81),
    (70, Dtype::Q2K),
    (71, Dtype::Q3K),
    (72, Dtype::Q4K),
    (73, Dtype::Q5K),
    (74, Dtype::Q6K),
    (75, Dtype::Q8K),
    (76, Dtype::IQ2XXS),
    (77, Dtype::IQ2XS),
    (78, Dtype::IQ3XXS),
    (79, Dtype::IQ1S),
    (80, Dtype::IQ4NL),
    (81, Dtype::IQ3S),
    (82, Dtype::IQ2S),
    (83, Dtype::IQ4XS),
    (84, Dtype::IQ1M),
    (85, Dtype::TQ10),
    (86, Dtype::TQ20),
    (87, Dtype::MXFP4),
    (88, Dtype::NVFP4),
    (89, Dtype::Q10),
];

/// The number of a type in a descriptor.
pub fn code(dtype: Dtype) -> u8 {
    CODES.iter().find(|(_, known)| *known == dtype).map_or(4, |(code, _)| *code)
}

/// The type with this number.
///
/// # Errors
/// [`CodecError::Unknown`] when no version up to this one gives the number.
pub fn dtype(code: u8) -> Result<Dtype, CodecError> {
    let found = CODES.iter().find(|(known, _)| *known == code);
    found.map(|(_, dtype)| *dtype).ok_or(CodecError::Unknown { what: "element type", found: code.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_number_of_its_own_and_runs_that_fill_its_block() {
        for &known in Dtype::ALL {
            assert_eq!(dtype(code(known)).unwrap(), known, "{known}");
            let kind = Kind::of(known);
            if !kind.runs.is_empty() {
                assert_eq!(kind.unit() as u64, known.block_bytes(), "{known}");
            }
        }
        assert!(dtype(255).is_err());
    }
}
