//! What a torch file or a distributed checkpoint is to hold: a tree of plain values around tensors.

/// A value that is to be written.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum State {
    /// The tensor of this number. Where one number stands twice, two tensors share one storage, as tied weights do.
    Tensor(usize),
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<State>),
    /// A tuple.
    Tuple(Vec<State>),
    /// A dictionary in the order of its entries.
    Dict(Vec<(Key, State)>),
    /// A `collections.OrderedDict`, which state dictionaries of modules are.
    OrderedDict(Vec<(Key, State)>),
}

/// Key of a dictionary.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// Text.
    Text(String),
    /// An integer, such as the number of a parameter in an optimizer's state.
    Int(i64),
}

impl State {
    /// A state dictionary: each tensor under its name, in order.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self::OrderedDict(
            names.into_iter().zip(0..).map(|(name, number)| (name.into(), Self::Tensor(number))).collect(),
        )
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Key {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for State {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
