//! Modules by layers.

/// A stack of layers, and what became of each module in each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// What the names begin with before the number of the layer.
    pub stack: String,
    /// Numbers of the layers, ascending.
    pub layers: Vec<u64>,
    /// Modules in a layer.
    pub modules: Vec<String>,
    /// A row for each layer, with a cell for each module.
    pub cells: Vec<Vec<Option<Cell>>>,
}

/// A module that is in no layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Outside {
    /// Name of the module.
    pub module: String,
    /// What became of it.
    pub cell: Cell,
}

/// What became of a module: all of its tensors together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cell {
    /// Tensors.
    pub tensors: u64,
    /// Elements.
    pub elements: u64,
    /// Elements that differ.
    pub changed: u64,
    /// `‖a‖²` over all.
    pub squares_a: f64,
    /// `‖b − a‖²` over all.
    pub squares: f64,
    /// Tensors that are only on the second side.
    pub added: u64,
    /// Tensors that are only on the first side.
    pub removed: u64,
    /// Tensors that are rounded or quantised from the other side.
    pub encoded: u64,
    /// Tensors whose shape changed, or that could not be read.
    pub other: u64,
}

impl Cell {
    /// `‖b − a‖ / ‖a‖`.
    #[must_use]
    pub fn relative(&self) -> f64 {
        if self.squares == 0.0 { 0.0 } else { (self.squares / self.squares_a).sqrt() }
    }

    /// Whether every tensor is on both sides with the same values.
    #[must_use]
    pub const fn is_equal(&self) -> bool {
        self.changed + self.added + self.removed + self.other == 0
    }
}
