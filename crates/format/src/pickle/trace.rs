//! What a pickle did, in the order in which it would have done it.

use crate::error::FormatError;

/// Place of an opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Number of the opcode in its pickle, from 0.
    pub op: u64,
    /// Offset of the opcode in the section.
    pub at: u64,
}

/// How often something was done, and where first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Number of times.
    pub count: u64,
    /// First place.
    pub first: Option<Place>,
}

impl Uses {
    pub(super) fn add(&mut self, place: Place) {
        self.count += 1;
        self.first.get_or_insert(place);
    }
}

/// A name that a pickle imports, and what it does with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Module as Python 3 looks it up.
    pub module: Box<str>,
    /// Name in the module; with dots for an attribute of an attribute.
    pub name: Box<str>,
    /// Module and name as they are written, where the mapping of Python 2 names changed them.
    pub written: Option<Box<(String, String)>>,
    /// It is looked up.
    pub imported: Uses,
    /// It is called, or an instance of it is made.
    pub called: Uses,
    /// State is set on an instance of it.
    pub built: Uses,
    /// State is set on the thing itself, which changes the class for everyone.
    pub altered: Uses,
    /// Items are added to it, or to an instance of it: a method of it is called.
    pub extended: Uses,
}

impl Global {
    /// Module and name with a dot between.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}.{}", self.module, self.name)
    }

    /// Whether it is this name of this module.
    #[must_use]
    pub fn is(&self, module: &str, name: &str) -> bool {
        *self.module == *module && *self.name == *name
    }
}

/// Something that well-behaved writers do not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Oddity {
    /// A number of the extension registry stands for a name: what it is depends on the program that loads.
    Extension(u32),
    /// The result of a call is called.
    IndirectCall,
    /// State is set on something that is no instance of a class.
    IndirectBuild,
    /// Items are added to something that is no container.
    IndirectExtend,
    /// A name is no text that stands in the pickle, or longer than a kilobyte.
    ComputedName,
    /// State is set on an object that has some already; what was set first has had its effect.
    StateReplaced,
    /// An opcode reaches over the end of its frame; readers differ there.
    FrameCrossed,
    /// A place of the memo is written twice.
    MemoOverwritten,
    /// The protocol is announced in the middle.
    LateProtocol,
    /// Values are left on the stack at the end.
    StackLeft,
}

impl Oddity {
    /// Says it in words: a sentence fragment.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Extension(_) => "a name comes from the extension registry",
            Self::IndirectCall => "the result of a call is called",
            Self::IndirectBuild => "state is set on something that is no instance",
            Self::IndirectExtend => "items are added to something that is no container",
            Self::ComputedName => "a name is computed, or is no short text",
            Self::StateReplaced => "state is set twice on one object",
            Self::FrameCrossed => "an opcode crosses the end of its frame",
            Self::MemoOverwritten => "a place of the memo is written twice",
            Self::LateProtocol => "the protocol is announced again",
            Self::StackLeft => "values are left on the stack",
        }
    }
}

/// What a pickle did.
#[derive(Debug, Default)]
pub struct Trace {
    /// Highest protocol that is announced; 0 when none is.
    pub protocol: u8,
    /// Opcodes that were run.
    pub ops: u64,
    /// Offset in the section of the first byte after the pickle, or of the error.
    pub end: u64,
    /// Pickles inside this one that joblib writes for arrays of objects: begin and end in the section. What they import
    /// and call is noted here too; their values are not in the graph.
    pub inner: Vec<(u64, u64)>,
    /// Odd things, each kind with its number and first place.
    pub oddities: Vec<(Oddity, Uses)>,
    /// Why the pickle could not be read to its end. What came before it has happened.
    pub error: Option<FormatError>,
}

impl Trace {
    pub(super) fn note(&mut self, oddity: Oddity, place: Place) {
        if let Some((_, uses)) = self.oddities.iter_mut().find(|(known, _)| *known == oddity) {
            uses.add(place);
        } else if self.oddities.len() < 256 {
            // Only extension codes could make the list long.
            self.oddities.push((oddity, Uses { count: 1, first: Some(place) }));
        }
    }
}
