//! A tensor beside another, and what became of it.

use weighthouse_format::difference::Rounding;
use weighthouse_format::{Dtype, Tensor};

use super::{Found, Which};

/// A tensor of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorFacts {
    /// Name.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Extents, outermost first.
    pub shape: Vec<u64>,
}

/// A tensor of both sides, or of one.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorChange {
    /// On the first side.
    pub a: Option<TensorFacts>,
    /// On the second side.
    pub b: Option<TensorFacts>,
    /// How the two came together.
    pub found: Found,
    /// How the elements of the second lie, seen from the first.
    pub arrangement: Arrangement,
    /// What became of it.
    pub state: State,
    /// Whether it is a buffer: kept, but not trained.
    pub buffer: bool,
    /// The numbers, where both sides were read; of equal ones only the count.
    pub numbers: Option<Numbers>,
    /// Rank of the difference, of matrices that changed.
    pub rank: Option<Rank>,
    /// Where zeros lie, of matrices with many new ones.
    pub zeros: Option<Zeros>,
    /// The share of the third checkpoint, where there is one.
    pub blend: Option<Blend>,
}

/// How the elements of one tensor lie, seen from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Arrangement {
    /// In the same order, in whatever shape.
    #[default]
    Same,
    /// The first, seen with `shape`, has its axes in another order.
    Axes {
        /// Shape in which the first is seen; as many elements as it has.
        shape: Vec<u64>,
        /// Which of them is the first, second, … axis of the other.
        axes: Vec<usize>,
    },
    /// Only the first rows are on both sides.
    Rows(u64),
}

/// What became of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Every element has the same value.
    Equal,
    /// One side is the other rounded, element by element: this was computed again.
    Cast {
        /// How.
        rounding: Rounding,
        /// The side that has the rounded values.
        of: Which,
    },
    /// One side is the other quantised.
    Quantised {
        /// Type of the quantised side.
        dtype: Dtype,
        /// The side that is quantised.
        of: Which,
        /// How it is known.
        proof: Proof,
    },
    /// One number was added to every element, as llama.cpp has the norms of some families.
    Shifted(f64),
    /// Values differ.
    Changed,
    /// The first rows are on both sides, and the others on one.
    Resized,
    /// Under the same name lie different numbers of elements.
    Reshaped,
    /// Only on the second side.
    Added,
    /// Only on the first side.
    Removed,
    /// Only one side writes it down; it is the same as another tensor there.
    Tied(String),
    /// It could not be compared.
    Unread(String),
}

/// How it is known that a tensor was quantised from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Proof {
    /// Quantising again gives the same bytes.
    Recomputed {
        /// Rounded to this type before, if it was.
        through: Option<Dtype>,
    },
    /// Quantising again gives the same bytes for nearly all blocks.
    Nearly {
        /// Blocks that are the same.
        same: u64,
        /// Blocks.
        blocks: u64,
    },
    /// The values are as far apart as the type makes them.
    WithinError,
}

/// What the numbers of two tensors say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Numbers {
    /// Elements that were compared.
    pub elements: u64,
    /// Elements that differ.
    pub changed: u64,
    /// Bytes that differ, where the types are the same; otherwise those of elements that differ.
    pub changed_bytes: u64,
    /// Bytes on the second side.
    pub size_bytes: u64,
    /// `‖b − a‖ / ‖a‖`.
    pub relative: f64,
    /// Cosine of the angle between the two; `None` when one of them is zero.
    pub cosine: Option<f64>,
    /// Largest `|b − a|`.
    pub largest: f64,
    /// Pairs with NaN or infinities, which are left out of the other numbers.
    pub not_finite: u64,
    /// Zeros on the second side.
    pub zeros: u64,
    /// Zeros that were none on the first side.
    pub new_zeros: u64,
    /// The number that was added to every element, if it is one and the same.
    pub shift: Option<f64>,
    /// `‖a‖²`.
    pub squares_a: f64,
    /// `‖b − a‖²`.
    pub squares: f64,
}

/// Rank of a difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rank {
    /// The number of singular values that stand out of the noise, if those are few.
    pub low: Option<u64>,
    /// Effective rank: the exponential of the entropy of the singular values (Roy and Vetterli 2007).
    pub effective: f64,
    /// Singular values that were looked at: those of a sample of rows and columns, unless `exact`.
    pub of: u64,
    /// Whether the whole matrix was looked at.
    pub exact: bool,
}

/// Where the zeros of a matrix lie, by a sample of its rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Zeros {
    /// Share of rows that are all zeros.
    pub rows: f64,
    /// Share of columns that are all zeros.
    pub columns: f64,
    /// Whether of each four neighbours two and more are zeros.
    pub two_of_four: bool,
}

/// A tensor as a mixture of two others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blend {
    /// Share of the third checkpoint, on a line.
    pub linear: f64,
    /// What the line leaves, as a share of the tensor's norm.
    pub linear_rest: f64,
    /// Share of the third checkpoint, on an arc; `None` when the two are too close to tell it from a line.
    pub spherical: Option<f64>,
    /// What the arc leaves.
    pub spherical_rest: Option<f64>,
}

impl TensorChange {
    /// Name on the second side, or on the first if it is only there.
    #[must_use]
    pub fn name(&self) -> &str {
        self.b.as_ref().or(self.a.as_ref()).map_or("", |tensor| tensor.name.as_str())
    }

    /// Whether it has another name on the other side.
    #[must_use]
    pub fn is_renamed(&self) -> bool {
        matches!((&self.a, &self.b), (Some(a), Some(b)) if a.name != b.name)
    }

    /// Whether its element type is another one on the other side.
    #[must_use]
    pub fn dtype_changed(&self) -> bool {
        matches!((&self.a, &self.b), (Some(a), Some(b)) if a.dtype != b.dtype)
    }

    /// Elements, of the larger side.
    #[must_use]
    pub fn elements(&self) -> u64 {
        let of = |tensor: &Option<TensorFacts>| {
            tensor.as_ref().map_or(0, |tensor| Tensor::checked_elements(&tensor.shape).unwrap_or(0))
        };
        of(&self.a).max(of(&self.b))
    }

    /// Whether the difference may be trusted to be one of a matrix: two axes and more, and not just a few elements.
    #[must_use]
    pub fn is_matrix(&self) -> bool {
        let of = |tensor: &TensorFacts| tensor.shape.iter().filter(|&&extent| extent > 1).count() > 1;
        self.elements() >= 64 && self.a.as_ref().or(self.b.as_ref()).is_some_and(of)
    }
}

impl State {
    /// The spelling in our output.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Cast { .. } => "cast",
            Self::Quantised { .. } => "quantised",
            Self::Shifted(_) => "shifted",
            Self::Changed => "changed",
            Self::Resized => "resized",
            Self::Reshaped => "reshaped",
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Tied(_) => "tied",
            Self::Unread(_) => "unread",
        }
    }

    /// Whether the weights are the same but for the way they are written down.
    #[must_use]
    pub const fn is_same(&self) -> bool {
        matches!(self, Self::Equal | Self::Cast { .. } | Self::Quantised { .. } | Self::Shifted(_) | Self::Tied(_))
    }
}

impl Arrangement {
    /// One word for it, if there is one to say.
    #[must_use]
    pub fn as_str(&self) -> Option<&'static str> {
        match self {
            Self::Same => None,
            Self::Axes { shape, axes } if shape.len() == axes.len() && axes.iter().rev().copied().eq(0..axes.len()) => {
                Some("transposed")
            }
            Self::Axes { .. } => Some("permuted"),
            Self::Rows(_) => Some("first rows"),
        }
    }
}
