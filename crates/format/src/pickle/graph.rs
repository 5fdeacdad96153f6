//! Values of a pickle: an arena of nodes that name each other by number.
//!
//! What a pickle shares stays shared, cycles included, so whoever walks must not follow nodes without an end: see
//! [`super::walk`]. Short text is kept; long text and bytes are ranges of the input.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use super::trace::{Global, Place};
use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::Section;

/// Longest text or bytes that are kept in memory.
pub(super) const NEAR_BYTES: usize = 1024;
/// Most bytes of text that are kept in memory altogether; what comes later is ranges.
const NEAR_TOTAL: usize = 1 << 30;

/// Dictionaries up to this size are searched from end to end.
const SCANNED: usize = 32;

/// Number of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(super) u32);

/// Numbers of nodes that lie side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seq {
    begin: u32,
    len: u32,
    room: u32,
}

/// What text or bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// Text in UTF-8; lone surrogates have three bytes.
    Str,
    /// Eight-bit text of Python 2: text or bytes.
    OldStr,
    /// Bytes.
    Bytes,
    /// Bytes that can be changed.
    ByteArray,
    /// An integer of more than 64 bits: little-endian two's complement.
    Integer,
}

/// How the bytes of far text are spelled in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As they are.
    Plain,
    /// With the escapes of a Python bytes literal.
    StringEscape,
    /// In Latin-1 with `\u` escapes.
    RawUnicodeEscape,
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Node {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer of 64 bits.
    Int(i64),
    /// A float.
    Float(f64),
    /// Short text, bytes, or a long integer; see [`Graph::data`].
    Near(TextKind, u32, u32),
    /// Long text or bytes; see [`Graph::data`].
    Far(TextKind, u32),
    /// List.
    List(Seq),
    /// Tuple.
    Tuple(Seq),
    /// Dictionary: keys and values in turn, as they were set.
    Dict(Seq),
    /// Set.
    Set(Seq),
    /// Frozen set.
    FrozenSet(Seq),
    /// Name that was looked up: its place among [`Graph::globals`].
    Global(u32),
    /// What a call or a class gave: its place among [`Graph::objects`].
    Object(u32),
    /// What the loading program puts in the place of this id.
    Persistent(NodeId),
    /// What the extension registry has under this number.
    Extension(u32),
}

/// How an object came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The callee was called.
    Reduce,
    /// `cls.__new__(cls, …)`.
    New,
    /// Protocol 0 and 1: the class was called, or an instance made without a call.
    Instance,
}

/// What a call or a class gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// How it came to be.
    pub way: Way,
    /// Function or class.
    pub callee: NodeId,
    /// Arguments: a tuple, unless the pickle is odd.
    pub args: NodeId,
    /// Keyword arguments.
    pub kwargs: Option<NodeId>,
    /// The state that was set last.
    pub state: Option<NodeId>,
    /// Items that were appended or added.
    pub items: Seq,
    /// Keys and values that were set, in turn.
    pub pairs: Seq,
    /// Opcode that made it.
    pub place: Place,
}

/// Bytes of text, bytes, or a long integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// In memory, decoded.
    Near(&'a [u8]),
    /// In the input.
    Far {
        /// Offset in the section of the pickle.
        begin: u64,
        /// Length in bytes.
        len: u64,
        /// How they are spelled.
        coding: Coding,
    },
}

/// Values by key of a large dictionary.
type Index = HashMap<Box<str>, NodeId>;

/// All values of a pickle.
#[derive(Debug, Default)]
pub struct Graph {
    indexes: Mutex<HashMap<NodeId, Index>>,
    nodes: Vec<Node>,
    children: Vec<NodeId>,
    text: Vec<u8>,
    far: Vec<(u64, u64, Coding)>,
    pub(super) objects: Vec<Object>,
    pub(super) globals: Vec<Global>,
    /// Raw bytes that follow the state of an object in the stream (joblib): offset and length, by the object's place.
    pub(super) raw: BTreeMap<u32, (u64, u64)>,
}

impl Graph {
    /// The value with this number.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Node {
        self.nodes.get(id.0 as usize).copied().unwrap_or(Node::None)
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Numbers of all values, in the order in which they were made.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// Everything that was called or made, in that order.
    #[must_use]
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// Numbers of nodes that lie side by side.
    #[must_use]
    pub fn seq(&self, seq: Seq) -> &[NodeId] {
        let begin = seq.begin as usize;
        self.children.get(begin..begin + seq.len as usize).unwrap_or_default()
    }

    /// Items of a list, tuple or set, or those that were added to an object; nothing for anything else.
    #[must_use]
    pub fn items(&self, id: NodeId) -> &[NodeId] {
        match self.node(id) {
            Node::List(seq) | Node::Tuple(seq) | Node::Set(seq) | Node::FrozenSet(seq) => self.seq(seq),
            Node::Object(at) => self.objects.get(at as usize).map_or(&[], |object| self.seq(object.items)),
            _ => &[],
        }
    }

    /// Keys and values of a dictionary, or those that were set on an object; nothing for anything else.
    ///
    /// As they were set: a key may come again, and then the later value counts.
    pub fn pairs(&self, id: NodeId) -> impl DoubleEndedIterator<Item = (NodeId, NodeId)> + ExactSizeIterator + '_ {
        let seq = match self.node(id) {
            Node::Dict(seq) => self.seq(seq),
            Node::Object(at) => self.objects.get(at as usize).map_or(&[][..], |object| self.seq(object.pairs)),
            _ => &[],
        };
        seq.as_chunks::<2>().0.iter().map(|&[key, value]| (key, value))
    }

    /// The value under this key in [`Graph::pairs`].
    ///
    /// Large dictionaries get an index when they are first asked, since one may be asked again under a million names.
    #[must_use]
    pub fn get(&self, id: NodeId, key: &str) -> Option<NodeId> {
        if self.pairs(id).len() <= SCANNED {
            return self.pairs(id).rev().find(|&(name, _)| self.str(name) == Some(key)).map(|(_, value)| value);
        }
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        let index = indexes.entry(id).or_insert_with(|| {
            self.pairs(id).filter_map(|(name, value)| Some((self.str(name)?.into(), value))).collect()
        });
        index.get(key).copied()
    }

    /// What a call or class gave, if it is that.
    #[must_use]
    pub fn object(&self, id: NodeId) -> Option<&Object> {
        match self.node(id) {
            Node::Object(at) => self.objects.get(at as usize),
            _ => None,
        }
    }

    /// The name, if it is one.
    #[must_use]
    pub fn global(&self, id: NodeId) -> Option<&Global> {
        match self.node(id) {
            Node::Global(at) => self.globals.get(at as usize),
            _ => None,
        }
    }

    /// All names that were looked up, in the order of first use.
    #[must_use]
    pub fn globals(&self) -> &[Global] {
        &self.globals
    }

    /// The name whose call gave the object, or whose instance it is.
    ///
    /// Old torch files wrap the class in a persistent id, `("module", class, file, source)`, to carry its source along.
    #[must_use]
    pub fn class(&self, id: NodeId) -> Option<&Global> {
        let callee = self.object(id)?.callee;
        self.global(self.unwrapped(callee))
    }

    /// The class inside the persistent id of a class with its source, or the node itself.
    pub(super) fn unwrapped(&self, id: NodeId) -> NodeId {
        let Node::Persistent(inner) = self.node(id) else { return id };
        match self.items(inner) {
            [tag, class, ..] if self.str(*tag) == Some("module") => *class,
            _ => id,
        }
    }

    /// Short text that is valid UTF-8.
    #[must_use]
    pub fn str(&self, id: NodeId) -> Option<&str> {
        match self.node(id) {
            Node::Near(TextKind::Str | TextKind::OldStr, begin, len) => str::from_utf8(self.near(begin, len)).ok(),
            _ => None,
        }
    }

    /// The integer, if it is one of 64 bits.
    #[must_use]
    pub fn int(&self, id: NodeId) -> Option<i64> {
        match self.node(id) {
            Node::Int(value) => Some(value),
            Node::Bool(value) => Some(value.into()),
            _ => None,
        }
    }

    /// The integer, if it is one that is not negative.
    #[must_use]
    pub fn unsigned(&self, id: NodeId) -> Option<u64> {
        self.int(id).and_then(|value| u64::try_from(value).ok())
    }

    /// Whether it is `None`.
    #[must_use]
    pub fn is_none(&self, id: NodeId) -> bool {
        self.node(id) == Node::None
    }

    /// Bytes of text, bytes or a long integer, with their kind.
    #[must_use]
    pub fn data(&self, id: NodeId) -> Option<(TextKind, Data<'_>)> {
        match self.node(id) {
            Node::Near(kind, begin, len) => Some((kind, Data::Near(self.near(begin, len)))),
            Node::Far(kind, at) => {
                let &(begin, len, coding) = self.far.get(at as usize)?;
                Some((kind, Data::Far { begin, len, coding }))
            }
            _ => None,
        }
    }

    /// Text of any length, read from the section of the pickle where it is not in memory; what is not UTF-8 is replaced.
    ///
    /// # Errors
    /// [`FormatError::TooLarge`] above `limits.text_bytes`, [`FormatError::Io`] when the source fails.
    pub fn text(&self, id: NodeId, section: &Section, limits: &Limits) -> Result<Option<String>, FormatError> {
        let bytes = match self.data(id) {
            Some((TextKind::Str | TextKind::OldStr, data)) => self.bytes(data, section, limits.text_bytes)?,
            _ => return Ok(None),
        };
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Decoded bytes of any length.
    ///
    /// # Errors
    /// [`FormatError::TooLarge`] above `limit`, [`FormatError::Broken`] for a wrong escape, [`FormatError::Io`] when
    /// the source fails.
    pub fn bytes(&self, data: Data<'_>, section: &Section, limit: u64) -> Result<Vec<u8>, FormatError> {
        match data {
            Data::Near(bytes) => Ok(bytes.to_vec()),
            Data::Far { begin, len, coding } => {
                Limits::at_most("text of a pickle in bytes", len, limit)?;
                let bytes = section.read("text of a pickle", begin, len)?;
                let decoded = match coding {
                    Coding::Plain => Some(bytes),
                    Coding::StringEscape => super::text::string_escape(&bytes),
                    Coding::RawUnicodeEscape => super::text::raw_unicode_escape(&bytes),
                };
                decoded.ok_or_else(|| super::broken(begin, "an escape is wrong"))
            }
        }
    }

    /// Raw bytes that follow the object in the stream, as joblib writes arrays: offset in the section, and length.
    #[must_use]
    pub fn raw(&self, id: NodeId) -> Option<(u64, u64)> {
        match self.node(id) {
            Node::Object(at) => self.raw.get(&at).copied(),
            _ => None,
        }
    }

    fn near(&self, begin: u32, len: u32) -> &[u8] {
        let begin = begin as usize;
        self.text.get(begin..begin + len as usize).unwrap_or_default()
    }

    #[inline]
    pub(super) fn push(&mut self, node: Node) -> NodeId {
        // The number of opcodes is bounded far below 2^32, and an opcode makes two nodes at most.
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(node);
        id
    }

    pub(super) fn set(&mut self, id: NodeId, node: Node) {
        if let Some(slot) = self.nodes.get_mut(id.0 as usize) {
            *slot = node;
        }
    }

    #[inline]
    pub(super) fn has_room(&self, len: usize) -> bool {
        len <= NEAR_BYTES && self.text.len() < NEAR_TOTAL
    }

    #[inline]
    pub(super) fn push_near(&mut self, kind: TextKind, bytes: &[u8]) -> NodeId {
        let begin = self.text.len() as u32;
        self.text.extend_from_slice(bytes);
        self.push(Node::Near(kind, begin, bytes.len() as u32))
    }

    pub(super) fn push_far(&mut self, kind: TextKind, begin: u64, len: u64, coding: Coding) -> NodeId {
        let at = self.far.len() as u32;
        self.far.push((begin, len, coding));
        self.push(Node::Far(kind, at))
    }

    pub(super) fn new_seq(&mut self, items: &[NodeId]) -> Seq {
        let begin = self.children.len() as u32;
        self.children.extend_from_slice(items);
        Seq { begin, len: items.len() as u32, room: items.len() as u32 }
    }

    /// Adds items at the end of a run; moves it to fresh room, twice as much each time, when others follow it.
    pub(super) fn extend(&mut self, seq: Seq, items: &[NodeId]) -> Seq {
        let (end, len) = ((seq.begin + seq.len) as usize, seq.len + items.len() as u32);
        if end == self.children.len() {
            self.children.extend_from_slice(items);
            return Seq { len, room: len, ..seq };
        }
        if let Some(slots) = self.children.get_mut(end..end + items.len()).filter(|_| len <= seq.room) {
            slots.copy_from_slice(items);
            return Seq { len, ..seq };
        }
        let begin = self.children.len() as u32;
        self.children.extend_from_within(seq.begin as usize..end);
        self.children.extend_from_slice(items);
        // Small runs are most often complete; large ones get room so that adding stays cheap.
        let room = if seq.len < 4 { len } else { len * 2 };
        self.children.resize(begin as usize + room as usize, NodeId(0));
        Seq { begin, len, room }
    }
}
