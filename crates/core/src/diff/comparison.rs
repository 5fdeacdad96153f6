//! What a comparison finds: facts without borrowed parts, to be kept, shown and sent.

mod papers;
mod table;
mod tensor;

use serde_json::{Map, Value};
use weighthouse_format::{Dtype, Format};

pub use papers::{ConfigChange, ConfigChanges, TokenizerChange};
pub use table::{Cell, Outside, Table};
pub use tensor::{Arrangement, Blend, Numbers, Proof, Rank, State, TensorChange, TensorFacts, Zeros};

/// Two checkpoints beside each other.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// The first checkpoint: what was before.
    pub a: SideFacts,
    /// The second one.
    pub b: SideFacts,
    /// A third one, that the second may be mixed from.
    pub with: Option<SideFacts>,
    /// What it comes to.
    pub verdict: Verdict,
    /// Differences of the configurations.
    pub config: ConfigChanges,
    /// Differences of the tokenizers; `None` when neither has one.
    pub tokenizer: Option<TokenizerChange>,
    /// Every tensor of either side; those of the second in its order, then what is only in the first.
    pub tensors: Vec<TensorChange>,
    /// Layers and their modules, one table for each stack of layers.
    pub tables: Vec<Table>,
    /// Modules that are in no layer.
    pub outside: Vec<Outside>,
    /// Sums over all tensors.
    pub totals: Totals,
    /// What a person should know of the comparison itself.
    pub remarks: Vec<String>,
}

/// One side, in a few words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SideFacts {
    /// Formats, the bytes first.
    pub formats: Vec<Format>,
    /// Family of the architecture.
    pub family: Option<String>,
    /// Class of the architecture.
    pub class: Option<String>,
    /// Parameters.
    pub parameters: u64,
    /// Tensors.
    pub tensors: u64,
    /// Bytes of all files.
    pub size_bytes: u64,
    /// Element types, most parameters first.
    pub dtypes: Vec<Dtype>,
}

/// What a comparison comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Kind, for programs.
    pub kind: Kind,
    /// One sentence with the numbers, without a full stop.
    pub sentence: String,
    /// Whether every weight has the same value on both sides, whatever its name, type, shard or format.
    pub equal: bool,
    /// The numbers of the sentence, for programs.
    pub facts: Map<String, Value>,
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// The spelling in our output.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

words! {
    /// Kinds of verdicts.
    Kind {
        /// The same weights, bit for bit, under the same names.
        Identical "identical",
        /// The same weights in another format, sharding, naming, or a type that holds each value exactly.
        Reencoded "re-encoded",
        /// The same weights, rounded to a shorter type.
        Cast "cast",
        /// The same weights, quantised.
        Quantised "quantised",
        /// The same weights but for a new head.
        NewHead "new-head",
        /// The same weights but for the number of embedded tokens.
        Vocabulary "vocabulary",
        /// Layers were taken out or put in.
        Layers "layers",
        /// Weights became zero.
        Pruned "pruned",
        /// Everything but the head or the last layers is the same.
        FrozenBackbone "frozen-backbone",
        /// The differences of matrices have a low rank.
        LowRank "low-rank",
        /// A mixture of the first and the third checkpoint.
        Merge "merge",
        /// Every tensor is about as far from the first checkpoint: a mixture of it and something else.
        Mixture "mixture",
        /// Trained further.
        FineTune "fine-tune",
        /// An adapter beside a model.
        Adapter "adapter",
        /// Nothing in common.
        Unrelated "unrelated",
        /// There is nothing to compare.
        Incomparable "incomparable",
    }
}

words! {
    /// One of the two sides.
    Which {
        /// The first.
        A "a",
        /// The second.
        B "b",
    }
}

words! {
    /// How two tensors came to be compared.
    Found {
        /// They have the same name.
        Name "name",
        /// Their names are the same but for what they begin with.
        Prefix "prefix",
        /// Their names are the same but for the number of the layer.
        Layer "layer",
        /// Their values are alike.
        Values "values",
        /// There is no other.
        Alone "alone",
    }
}

/// Sums over all tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Tensors on both sides with the same values.
    pub equal: u64,
    /// Tensors that are rounded or quantised from the other side.
    pub encoded: u64,
    /// Tensors whose values or shapes differ.
    pub changed: u64,
    /// Tensors only on the second side.
    pub added: u64,
    /// Tensors only on the first side.
    pub removed: u64,
    /// Tensors that only one side writes down, because they are the same as others.
    pub tied: u64,
    /// Tensors that could not be compared.
    pub unread: u64,
    /// Tensors with another name on the other side.
    pub renamed: u64,
    /// Elements that were compared.
    pub elements: u64,
    /// Elements that differ.
    pub changed_elements: u64,
    /// Bytes of tensors that were compared, on the second side.
    pub size_bytes: u64,
    /// Bytes that differ.
    pub changed_bytes: u64,
}
