//! Types of a whole file, and which of its tensors get which.
//!
//! | asked for | matrices | a row that is no multiple of the block |
//! |---|---|---|
//! | `F32`, `F16`, `BF16` | that type | – |
//! | `Q8_0`, `Q4_0`, `Q5_0` | that type, embedding and head too | `F16` |
//! | `Q4_K`, `Q5_K`, `Q6_K` | that type, embedding and head too | `Q5_0`, `Q8_0`, `Q8_0`; `F16` where 32 does not divide it |
//! | `Q4_K_M`, `Q5_K_M` | llama.cpp's mixtures: head, and half of `attn_v` and `ffn_down`, `Q6_K` | as above |
//!
//! Whatever is asked for, these stay `F32`, because the loader computes with them as they are: tensors of one dimension,
//! norms, biases, routers of experts, positions, types of tokens, factors of rotations.
//!
//! # Source
//! llama.cpp's converter (what stays `F32`, `F16` where rows do not fit) and its quantiser (mixtures, fallbacks of the K
//! types); the quantiser has `Q5_1` for `Q5_K`, which is not written here.

use crate::dtype::Dtype;

/// What a file's tensors are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileType {
    /// 32-bit floats.
    F32,
    /// Half precision.
    F16,
    /// Upper halves of 32-bit floats.
    BF16,
    /// 8 bits.
    Q80,
    /// 4 bits.
    Q40,
    /// 5 bits.
    Q50,
    /// 4 bits, in superblocks.
    Q4K,
    /// 5 bits, in superblocks.
    Q5K,
    /// 6 bits, in superblocks.
    Q6K,
    /// 4 bits in superblocks, 6 where it matters most.
    Q4KM,
    /// 5 bits in superblocks, 6 where it matters most.
    Q5KM,
}

/// What is known of a tensor when its type is chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Name in the GGUF file.
    pub(super) name: &'a str,
    /// Outermost first.
    pub(super) shape: &'a [u64],
    /// Block it belongs to.
    pub(super) block: Option<u64>,
    /// Number of blocks.
    pub(super) blocks: u64,
    /// Number of experts; 0 for none.
    pub(super) experts: u64,
    /// Whether the embedding is the head too.
    pub(super) tied: bool,
}

/// Ends of names, without the block, of what stays `F32`.
const SINGLE: &[&str] = &[
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_inp_shexp.weight",
    "position_embd.weight",
    "token_types.weight",
    "rope_freqs.weight",
    "rope_factors_long.weight",
    "rope_factors_short.weight",
];

impl FileType {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q80,
        Self::Q40,
        Self::Q50,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Q4KM,
        Self::Q5KM,
    ];

    /// The spelling of llama.cpp.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q80 => "Q8_0",
            Self::Q40 => "Q4_0",
            Self::Q50 => "Q5_0",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Q4KM => "Q4_K_M",
            Self::Q5KM => "Q5_K_M",
        }
    }

    /// The type with this spelling, in capital letters or small ones.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.as_str().eq_ignore_ascii_case(text))
    }

    /// What `general.file_type` says. `Q4_K` and `Q5_K` without a mixture go by the number of their small mixture, for
    /// want of one of their own.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::BF16 => 32,
            Self::Q80 => 7,
            Self::Q40 => 2,
            Self::Q50 => 8,
            Self::Q4K => 14,
            Self::Q5K => 16,
            Self::Q6K => 18,
            Self::Q4KM => 15,
            Self::Q5KM => 17,
        }
    }

    /// The type of most matrices.
    #[must_use]
    pub const fn matrices(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::BF16 => Dtype::BF16,
            Self::Q80 => Dtype::Q80,
            Self::Q40 => Dtype::Q40,
            Self::Q50 => Dtype::Q50,
            Self::Q4K | Self::Q4KM => Dtype::Q4K,
            Self::Q5K | Self::Q5KM => Dtype::Q5K,
            Self::Q6K => Dtype::Q6K,
        }
    }

    /// The type of one tensor, and the one it would have had if its rows were whole blocks.
    pub(super) fn of(self, place: &Place<'_>) -> (Dtype, Option<Dtype>) {
        let Place { name, shape, .. } = *place;
        if shape.len() <= 1 || !name.ends_with(".weight") || SINGLE.iter().any(|end| name.ends_with(end)) {
            return (Dtype::F32, None);
        }
        let wanted = self.mixture(place).unwrap_or(self.matrices());
        let row = shape.last().copied().unwrap_or(0);
        let fits = |dtype: Dtype| row.is_multiple_of(dtype.block_elements());
        if fits(wanted) {
            return (wanted, None);
        }
        let smaller = match wanted {
            Dtype::Q4K => Dtype::Q50,
            Dtype::Q5K | Dtype::Q6K => Dtype::Q80,
            _ => Dtype::F16,
        };
        (if fits(smaller) { smaller } else { Dtype::F16 }, Some(wanted))
    }

    /// The type that a mixture has for a tensor.
    fn mixture(self, place: &Place<'_>) -> Option<Dtype> {
        if !matches!(self, Self::Q4KM | Self::Q5KM) {
            return None;
        }
        let last = place.name.strip_suffix(".weight").unwrap_or(place.name);
        let kind = last.rsplit_once('.').map_or(last, |(_, kind)| kind);
        let eight = place.experts == 8;
        // The first and the last eighth of the blocks, and every third between.
        let important = place.block.is_some_and(|block| {
            let eighth = place.blocks / 8;
            block < eighth || block >= 7 * place.blocks / 8 || block.saturating_sub(eighth) % 3 == 2
        });
        match kind {
            "output" => Some(Dtype::Q6K),
            "token_embd" if place.tied => Some(Dtype::Q6K),
            "attn_v" if eight => Some(Dtype::Q80),
            "attn_k" if eight => Some(Dtype::Q80),
            "attn_v" if important => Some(Dtype::Q6K),
            "ffn_down" | "ffn_down_exps" if important => Some(Dtype::Q6K),
            "attn_qkv" => Some(if self == Self::Q4KM { Dtype::Q5K } else { Dtype::Q6K }),
            "attn_output" if eight && self == Self::Q4KM => Some(Dtype::Q5K),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place<'a>(name: &'a str, shape: &'a [u64]) -> Place<'a> {
        Place { name, shape, block: None, blocks: 32, experts: 0, tied: false }
    }

    #[test]
    fn what_the_loader_computes_with_stays_single() {
        for (name, shape) in [
            ("blk.0.attn_norm.weight", &[64, 64][..]),
            ("blk.0.attn_q.bias", &[64]),
            ("blk.0.ffn_gate_inp.weight", &[4, 64]),
            ("position_embd.weight", &[64, 64]),
            ("token_types.weight", &[2, 64]),
        ] {
            assert_eq!(FileType::Q80.of(&place(name, shape)), (Dtype::F32, None), "{name}");
        }
        assert_eq!(FileType::Q80.of(&place("token_embd.weight", &[10, 64])), (Dtype::Q80, None));
    }

    #[test]
    fn rows_that_do_not_fit_get_a_smaller_block() {
        let of = |kind: FileType, row: u64| kind.of(&place("blk.0.attn_q.weight", &[8, row]));
        assert_eq!(of(FileType::Q4K, 512), (Dtype::Q4K, None));
        assert_eq!(of(FileType::Q4K, 96), (Dtype::Q50, Some(Dtype::Q4K)));
        assert_eq!(of(FileType::Q6K, 96), (Dtype::Q80, Some(Dtype::Q6K)));
        assert_eq!(of(FileType::Q6K, 40), (Dtype::F16, Some(Dtype::Q6K)));
        assert_eq!(of(FileType::Q40, 40), (Dtype::F16, Some(Dtype::Q40)));
    }

    #[test]
    fn mixtures_keep_more_of_what_matters() {
        let of = |name, block| {
            let shape = [256, 256];
            FileType::Q4KM.of(&Place { block: Some(block), ..place(name, &shape) }).0
        };
        let better: Vec<u64> = (0..32).filter(|&block| of("blk.0.ffn_down.weight", block) == Dtype::Q6K).collect();
        assert_eq!(better, [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]);
        assert_eq!(of("blk.0.ffn_up.weight", 0), Dtype::Q4K);
        assert_eq!(of("output.weight", 0), Dtype::Q6K);
    }

    #[test]
    fn every_type_is_read_from_its_spelling() {
        for &kind in FileType::ALL {
            assert_eq!(FileType::parse(&kind.as_str().to_lowercase()), Some(kind));
        }
        assert_eq!(FileType::parse("Q3_K"), None);
    }
}
