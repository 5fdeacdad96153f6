//! Numbers of element types and of file types.

use crate::dtype::Dtype;

/// What the number of an element type stands for.
pub(super) enum ElementType {
    /// A type of today.
    Known(Dtype),
    /// A type that ggml has taken out.
    Removed(&'static str),
    /// A number that ggml had not given when this was written.
    Unknown,
}

/// The element type with this number.
pub(super) const fn element_type(id: u32) -> ElementType {
    ElementType::Known(match id {
        0 => Dtype::F32,
        1 => Dtype::F16,
        2 => Dtype::Q40,
        3 => Dtype::Q41,
        6 => Dtype::Q50,
        7 => Dtype::Q51,
        8 => Dtype::Q80,
        9 => Dtype::Q81,
        10 => Dtype::Q2K,
        11 => Dtype::Q3K,
        12 => Dtype::Q4K,
        13 => Dtype::Q5K,
        14 => Dtype::Q6K,
        15 => Dtype::Q8K,
        16 => Dtype::IQ2XXS,
        17 => Dtype::IQ2XS,
        18 => Dtype::IQ3XXS,
        19 => Dtype::IQ1S,
        20 => Dtype::IQ4NL,
        21 => Dtype::IQ3S,
        22 => Dtype::IQ2S,
        23 => Dtype::IQ4XS,
        24 => Dtype::I8,
        25 => Dtype::I16,
        26 => Dtype::I32,
        27 => Dtype::I64,
        28 => Dtype::F64,
        29 => Dtype::IQ1M,
        30 => Dtype::BF16,
        34 => Dtype::TQ10,
        35 => Dtype::TQ20,
        39 => Dtype::MXFP4,
        40 => Dtype::NVFP4,
        41 => Dtype::Q10,
        4 => return ElementType::Removed("Q4_2"),
        5 => return ElementType::Removed("Q4_3"),
        31 => return ElementType::Removed("Q4_0_4_4"),
        32 => return ElementType::Removed("Q4_0_4_8"),
        33 => return ElementType::Removed("Q4_0_8_8"),
        36 => return ElementType::Removed("IQ4_NL_4_4"),
        37 => return ElementType::Removed("IQ4_NL_4_8"),
        38 => return ElementType::Removed("IQ4_NL_8_8"),
        _ => return ElementType::Unknown,
    })
}

/// Name of the mixture of types that `general.file_type` gives by number.
pub(super) const fn file_type(id: u64) -> Option<&'static str> {
    Some(match id {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4_MOE",
        39 => "NVFP4",
        40 => "Q1_0",
        _ => return None,
    })
}
