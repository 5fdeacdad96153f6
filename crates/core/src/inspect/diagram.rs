//! The architecture as blocks: modules in the order that data take through them, repeated ones once.

use weighthouse_format::Tensor;

use super::modules::{Modules, Row, RowKind};

/// Blocks of one level that are shown; the smallest of more are put together.
const MAX_BLOCKS: usize = 14;
/// Levels that are shown.
const MAX_DEPTH: usize = 4;

/// A module, or several that are alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Name below the block around it, such as `self_attn` or `layers.0–31`.
    pub label: String,
    /// Name of the module, the first of those that are alike; empty for a rest that was put together.
    pub module: String,
    /// What it most likely does, by its name.
    pub role: Role,
    /// Number of modules that are alike.
    pub alike: u64,
    /// Parameters and buffers, over all that are alike.
    pub elements: u64,
    /// Tensors, over all that are alike.
    pub tensors: u64,
    /// Blocks in it, of the first of those that are alike.
    pub inner: Vec<Block>,
}

/// What a module does, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Turns tokens, positions, pixels or sound into vectors.
    Embedding,
    /// Convolution.
    Convolution,
    /// Attention.
    Attention,
    /// Feed-forward layer, experts among them.
    FeedForward,
    /// Normalisation.
    Norm,
    /// Gives the answer.
    Head,
    /// Anything else.
    Other,
}

impl Role {
    /// One word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Convolution => "convolution",
            Self::Attention => "attention",
            Self::FeedForward => "feed-forward",
            Self::Norm => "norm",
            Self::Head => "head",
            Self::Other => "module",
        }
    }

    /// The role of a module of this name.
    #[must_use]
    pub fn of(label: &str) -> Self {
        let label = label.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| label.contains(word));
        let last = label.rsplit(['.', '/']).next().unwrap_or(&label);
        let is = |words: &[&str]| words.contains(&last);
        if has(&["lm_head", "classifier", "pooler", "logit", "score", "predictions", "output_proj"])
            || is(&["head", "heads", "fc", "output", "cls"])
        {
            Self::Head
        } else if has(&["embed", "patch", "positional", "position_ids", "token_type"]) || is(&["wte", "wpe", "wpt"]) {
            Self::Embedding
        } else if has(&["norm", "ln_", "_ln"]) || is(&["ln", "bn", "bn1", "bn2", "bn3"]) {
            Self::Norm
        } else if has(&["attn", "attention", "q_proj", "k_proj", "v_proj", "o_proj", "out_proj", "qkv"]) {
            Self::Attention
        } else if has(&["mlp", "ffn", "feed_forward", "expert", "dense", "intermediate", "gate_proj", "ff."])
            || is(&["ff", "moe", "fc1", "fc2"])
        {
            Self::FeedForward
        } else if has(&["conv", "stem", "downsample"]) {
            Self::Convolution
        } else {
            Self::Other
        }
    }

    /// Where data come by: inputs first, answers last, the rest in the order of names.
    const fn stage(self) -> u8 {
        match self {
            Self::Embedding => 0,
            Self::Head => 2,
            _ => 1,
        }
    }
}

/// The blocks of these tensors, whose names `modules` has sorted.
#[must_use]
pub fn diagram(modules: &Modules, tensors: &[Tensor]) -> Vec<Block> {
    let tree = Tree { modules, tensors };
    let names = modules.level(tensors, "", true);
    // A single module around everything is no news.
    match names.as_slice() {
        [Row { kind: RowKind::Module { name, .. }, alike: 1, .. }] => tree.blocks(name, 1),
        _ => tree.blocks("", 1),
    }
}

struct Tree<'a> {
    modules: &'a Modules,
    tensors: &'a [Tensor],
}

impl Tree<'_> {
    fn blocks(&self, module: &str, depth: usize) -> Vec<Block> {
        let mut rows = self.modules.level(self.tensors, module, true);
        let mut rest = Vec::new();
        if rows.len() > MAX_BLOCKS {
            // The largest stay, in their order.
            let mut sizes: Vec<u64> = rows.iter().map(|row| row.elements).collect();
            sizes.sort_unstable_by(|one, other| other.cmp(one));
            let least = sizes.get(MAX_BLOCKS - 2).copied().unwrap_or(0);
            let mut kept = 0;
            (rows, rest) = rows.into_iter().partition(|row| {
                let keep = row.elements >= least && kept < MAX_BLOCKS - 1;
                kept += usize::from(keep);
                keep
            });
        }
        let mut blocks: Vec<Block> = rows.into_iter().map(|row| self.block(row, depth)).collect();
        blocks.sort_by_key(|block| (block.role.stage(), block.role == Role::Norm && depth == 1));
        if !rest.is_empty() {
            blocks.push(Block {
                label: format!("{} more", rest.len()),
                module: String::new(),
                role: Role::Other,
                alike: 1,
                elements: rest.iter().fold(0, |sum, row| sum.saturating_add(row.elements)),
                tensors: rest.iter().map(|row| row.tensors).sum(),
                inner: Vec::new(),
            });
        }
        blocks
    }

    fn block(&self, row: Row, depth: usize) -> Block {
        let (module, inner) = match row.kind {
            RowKind::Module { name, .. } if depth < MAX_DEPTH => {
                let inner = self.blocks(&name, depth + 1);
                (name, inner)
            }
            RowKind::Module { name, .. } => (name, Vec::new()),
            RowKind::Tensor(_) => (String::new(), Vec::new()),
        };
        // A module with nothing but its own tensors has no blocks in it.
        let inner = if inner.iter().all(|block| block.module.is_empty()) { Vec::new() } else { inner };
        Block {
            role: Role::of(&row.label),
            label: row.label,
            module,
            alike: row.alike,
            elements: row.elements,
            tensors: row.tensors,
            inner,
        }
    }
}
