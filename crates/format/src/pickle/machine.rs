//! The stack machine. It imports nothing and calls nothing: a call becomes an object that remembers it.
//!
//! The rules are those of the C unpickler of CPython, since that is what loads: a mark is a fence that no opcode but
//! its own reaches over, `MEMOIZE` counts the places that are in use, frames are hints.

use std::collections::HashMap;

use super::graph::{Graph, Node, NodeId, Seq, TextKind, Way};
use super::input::Input;
use super::objects::Kind;
use super::ops;
use super::trace::{Oddity, Place, Trace};
use super::{Pickle, broken};
use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::Section;

/// Places of the memo that lie in an array; farther ones are looked up.
const DENSE_MEMO: usize = 1 << 26;
const NO_NODE: NodeId = NodeId(u32::MAX);

pub(super) struct Machine<'a> {
    pub(super) input: Input<'a>,
    pub(super) section: &'a Section,
    pub(super) arrays: Arrays,
    pub(super) limits: &'a Limits,
    pub(super) graph: Graph,
    pub(super) trace: Trace,
    pub(super) stack: Vec<NodeId>,
    pub(super) marks: Vec<usize>,
    pub(super) memo: Vec<NodeId>,
    pub(super) far_memo: HashMap<u64, NodeId>,
    pub(super) memo_len: u64,
    /// Numbers of the names, by what is written.
    pub(super) names: HashMap<(Box<str>, Box<str>), NodeId>,
    pub(super) place: Place,
    pub(super) protocol: u8,
    pub(super) frame_end: u64,
    /// Nodes for values that have no parts.
    pub(super) none: NodeId,
    pub(super) truth: NodeId,
    pub(super) falsehood: NodeId,
    pub(super) empty_tuple: NodeId,
    /// Those of integers of one byte, once they occur: lists of them are long, and memory takes longer than opcodes do.
    bytes: [NodeId; 256],
}

/// Whether raw arrays can stand in the stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrays {
    /// As joblib writes them.
    Joblib,
    /// Not: the pickle is one that joblib hands to the plain unpickler.
    Never,
}

/// Reads one pickle from `begin` on.
pub(super) fn run(section: &Section, begin: u64, limits: &Limits, arrays: Arrays) -> Pickle {
    let mut graph = Graph::default();
    let (none, truth) = (graph.push(Node::None), graph.push(Node::Bool(true)));
    let (falsehood, empty_tuple) = (graph.push(Node::Bool(false)), graph.push(Node::Tuple(Seq::default())));
    let mut machine = Machine {
        input: Input::new(section, begin),
        section,
        arrays,
        limits,
        graph,
        trace: Trace::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        far_memo: HashMap::new(),
        memo_len: 0,
        names: HashMap::new(),
        place: Place { op: 0, at: begin },
        protocol: 0,
        frame_end: 0,
        none,
        truth,
        falsehood,
        empty_tuple,
        bytes: [NO_NODE; 256],
    };
    let answer = machine.run();
    let Machine { input, graph, mut trace, place, .. } = machine;
    trace.end = if answer.is_ok() { input.offset() } else { place.at };
    let (root, error) = match answer {
        Ok(root) => (Some(root), None),
        Err(error) => (None, Some(error)),
    };
    trace.error = error;
    Pickle { graph, root, trace }
}

impl Machine<'_> {
    fn run(&mut self) -> Result<NodeId, FormatError> {
        loop {
            self.place = Place { op: self.trace.ops, at: self.input.offset() };
            if self.trace.ops >= self.limits.pickle_ops {
                return Err(FormatError::TooLarge {
                    what: "number of opcodes of a pickle",
                    size: self.trace.ops + 1,
                    limit: self.limits.pickle_ops,
                });
            }
            let op = self.input.byte()?;
            self.trace.ops += 1;
            if op == ops::STOP {
                let root = self.pop()?;
                if !self.stack.is_empty() {
                    self.trace.note(Oddity::StackLeft, self.place);
                }
                return Ok(root);
            }
            self.step(op)?;
            let end = self.input.offset();
            if end > self.frame_end && self.place.at < self.frame_end {
                self.trace.note(Oddity::FrameCrossed, self.place);
            }
        }
    }

    #[inline]
    fn step(&mut self, op: u8) -> Result<(), FormatError> {
        match op {
            ops::BINPUT => {
                let index = self.input.byte()?;
                self.put(index.into())?;
            }
            ops::BINGET => {
                let index = self.input.byte()?;
                self.get(index.into())?;
            }
            ops::LONG_BINPUT => {
                let index = u32::from_le_bytes(self.input.fixed()?);
                self.put(index.into())?;
            }
            ops::LONG_BINGET => {
                let index = u32::from_le_bytes(self.input.fixed()?);
                self.get(index.into())?;
            }
            ops::MEMOIZE => self.put(self.memo_len)?,
            ops::BININT1 => {
                let value = self.input.byte()?;
                self.push_byte(value);
            }
            ops::BININT2 => {
                let value = u16::from_le_bytes(self.input.fixed()?);
                self.push(Node::Int(value.into()));
            }
            ops::BININT => {
                let value = i32::from_le_bytes(self.input.fixed()?);
                self.push(Node::Int(value.into()));
            }
            ops::LONG1 => {
                let len = self.input.byte()?;
                self.long(len.into())?;
            }
            ops::BINFLOAT => {
                let value = f64::from_be_bytes(self.input.fixed()?);
                self.push(Node::Float(value));
            }
            ops::SHORT_BINUNICODE => {
                let len = self.input.byte()?;
                self.text(TextKind::Str, len.into())?;
            }
            ops::BINUNICODE => {
                let len = u32::from_le_bytes(self.input.fixed()?);
                self.text(TextKind::Str, len.into())?;
            }
            ops::BINUNICODE8 => {
                let len = u64::from_le_bytes(self.input.fixed()?);
                self.text(TextKind::Str, len)?;
            }
            ops::SHORT_BINBYTES => {
                let len = self.input.byte()?;
                self.text(TextKind::Bytes, len.into())?;
            }
            ops::BINBYTES => {
                let len = u32::from_le_bytes(self.input.fixed()?);
                self.text(TextKind::Bytes, len.into())?;
            }
            ops::BINBYTES8 => {
                let len = u64::from_le_bytes(self.input.fixed()?);
                self.text(TextKind::Bytes, len)?;
            }
            ops::BYTEARRAY8 => {
                let len = u64::from_le_bytes(self.input.fixed()?);
                self.text(TextKind::ByteArray, len)?;
            }
            ops::SHORT_BINSTRING => {
                let len = self.input.byte()?;
                self.text(TextKind::OldStr, len.into())?;
            }
            ops::BINSTRING => {
                let len = i32::from_le_bytes(self.input.fixed()?);
                let len = u64::try_from(len).map_err(|_| self.broken("a string has a negative length"))?;
                self.text(TextKind::OldStr, len)?;
            }
            ops::NONE => self.stack.push(self.none),
            ops::NEWTRUE => self.stack.push(self.truth),
            ops::NEWFALSE => self.stack.push(self.falsehood),
            ops::EMPTY_TUPLE => self.stack.push(self.empty_tuple),
            ops::EMPTY_LIST => self.push(Node::List(Seq::default())),
            ops::EMPTY_DICT => self.push(Node::Dict(Seq::default())),
            ops::EMPTY_SET => self.push(Node::Set(Seq::default())),
            ops::MARK => self.marks.push(self.stack.len()),
            ops::TUPLE1 => self.tuple(1)?,
            ops::TUPLE2 => self.tuple(2)?,
            ops::TUPLE3 => self.tuple(3)?,
            ops::TUPLE => self.collect(Node::Tuple)?,
            ops::LIST => self.collect(Node::List)?,
            ops::FROZENSET => self.collect(Node::FrozenSet)?,
            ops::DICT => {
                self.even("DICT")?;
                self.collect(Node::Dict)?;
            }
            ops::APPEND => {
                let begin = self.below(1)?;
                self.extend(begin, Kind::Items)?;
            }
            ops::SETITEM => {
                let begin = self.below(2)?;
                self.extend(begin, Kind::Pairs)?;
            }
            ops::APPENDS => {
                let begin = self.mark()?;
                self.extend(begin, Kind::Items)?;
            }
            ops::SETITEMS => {
                self.even("SETITEMS")?;
                let begin = self.mark()?;
                self.extend(begin, Kind::Pairs)?;
            }
            ops::ADDITEMS => {
                let begin = self.mark()?;
                self.extend(begin, Kind::Members)?;
            }
            _ => return self.step_rarely(op),
        }
        Ok(())
    }

    /// The opcodes that do not come by the million; apart, so that the others need no room for what these need.
    #[inline(never)]
    fn step_rarely(&mut self, op: u8) -> Result<(), FormatError> {
        match op {
            ops::PROTO => {
                let protocol = self.input.byte()?;
                if protocol > 5 {
                    return Err(FormatError::UnknownVersion { what: "pickle", version: protocol.into() });
                }
                if self.place.op > 0 {
                    self.trace.note(Oddity::LateProtocol, self.place);
                }
                self.protocol = protocol;
                self.trace.protocol = self.trace.protocol.max(protocol);
            }
            ops::FRAME => {
                let len = u64::from_le_bytes(self.input.fixed()?);
                if len > self.input.remaining() {
                    return Err(FormatError::Truncated {
                        what: "frame of a pickle",
                        needed: len,
                        got: self.input.remaining(),
                    });
                }
                let begin = self.input.offset();
                if begin < self.frame_end {
                    self.trace.note(Oddity::FrameCrossed, self.place);
                }
                self.frame_end = begin + len;
            }
            ops::POP => {
                // A mark right on top goes instead of a value.
                match self.marks.last() {
                    Some(&mark) if mark == self.stack.len() => _ = self.marks.pop(),
                    _ => _ = self.pop()?,
                }
            }
            ops::POP_MARK => {
                let begin = self.mark()?;
                self.stack.truncate(begin);
            }
            ops::DUP => {
                let top = self.top()?;
                self.stack.push(top);
            }
            ops::INT | ops::LONG | ops::FLOAT | ops::GET | ops::PUT | ops::PERSID => self.number(op)?,
            ops::STRING | ops::UNICODE => self.spelled(op)?,
            ops::LONG4 => {
                let len = i32::from_le_bytes(self.input.fixed()?);
                let len = u64::try_from(len).map_err(|_| self.broken("an integer has a negative length"))?;
                self.long(len)?;
            }
            ops::BINPERSID => {
                let id = self.pop()?;
                self.push(Node::Persistent(id));
            }
            ops::GLOBAL => {
                let (module, name) = (self.name_line()?, self.name_line()?);
                let id = self.global(&module, &name)?;
                self.stack.push(id);
            }
            ops::STACK_GLOBAL => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id| self.graph.str(id).map(ToOwned::to_owned);
                let (Some(module), Some(name)) = (text(module), text(name)) else {
                    self.trace.note(Oddity::ComputedName, self.place);
                    return Err(self.broken("STACK_GLOBAL names something that is no short text"));
                };
                let id = self.global(&module, &name)?;
                self.stack.push(id);
            }
            ops::INST => {
                let (module, name) = (self.name_line()?, self.name_line()?);
                let callee = self.global(&module, &name)?;
                let begin = self.mark()?;
                self.instance(callee, begin);
            }
            ops::OBJ => {
                let begin = self.mark()?;
                let Some(&callee) = self.stack.get(begin) else {
                    return Err(self.broken("OBJ has no class"));
                };
                self.instance(callee, begin + 1);
                // The class lies under the arguments.
                self.stack.swap_remove(begin);
            }
            ops::REDUCE | ops::NEWOBJ => {
                let (args, callee) = (self.pop()?, self.pop()?);
                let way = if op == ops::REDUCE { Way::Reduce } else { Way::New };
                self.call(way, callee, args, None);
            }
            ops::NEWOBJ_EX => {
                let (kwargs, args, callee) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(Way::New, callee, args, Some(kwargs));
            }
            ops::BUILD => self.build()?,
            ops::EXT1 | ops::EXT2 | ops::EXT4 => {
                let code = match op {
                    ops::EXT1 => self.input.byte()?.into(),
                    ops::EXT2 => u16::from_le_bytes(self.input.fixed()?).into(),
                    _ => u32::from_le_bytes(self.input.fixed()?),
                };
                self.trace.note(Oddity::Extension(code), self.place);
                self.push(Node::Extension(code));
            }
            ops::NEXT_BUFFER => {
                return Err(FormatError::Unsupported {
                    what: "pickle with buffers beside it",
                    detail: format!("opcode NEXT_BUFFER at byte {}", self.place.at),
                });
            }
            ops::READONLY_BUFFER => _ = self.top()?,
            _ => return Err(self.broken(&format!("`0x{op:02x}` is no opcode"))),
        }
        Ok(())
    }

    #[inline]
    pub(super) fn push(&mut self, node: Node) {
        let id = self.graph.push(node);
        self.stack.push(id);
    }

    #[inline]
    fn push_byte(&mut self, value: u8) {
        let Some(known) = self.bytes.get_mut(usize::from(value)) else { return };
        if *known == NO_NODE {
            *known = self.graph.push(Node::Int(value.into()));
        }
        self.stack.push(*known);
    }

    #[inline]
    pub(super) fn fence(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Result<NodeId, FormatError> {
        if self.stack.len() <= self.fence() {
            return Err(self.underflow());
        }
        self.stack.pop().ok_or_else(|| self.underflow())
    }

    pub(super) fn top(&self) -> Result<NodeId, FormatError> {
        match self.stack.last() {
            Some(&top) if self.stack.len() > self.fence() => Ok(top),
            _ => Err(self.underflow()),
        }
    }

    /// Where the topmost `count` values begin.
    fn below(&self, count: usize) -> Result<usize, FormatError> {
        let begin = self.stack.len().checked_sub(count).filter(|&begin| begin >= self.fence());
        begin.ok_or_else(|| self.underflow())
    }

    pub(super) fn mark(&mut self) -> Result<usize, FormatError> {
        self.marks.pop().ok_or_else(|| self.broken("there is no mark"))
    }

    fn even(&self, op: &str) -> Result<(), FormatError> {
        match self.marks.last() {
            Some(mark) if !(self.stack.len() - mark).is_multiple_of(2) => {
                Err(self.broken(&format!("{op} has a key without a value")))
            }
            _ => Ok(()),
        }
    }

    #[inline]
    pub(super) fn put(&mut self, index: u64) -> Result<(), FormatError> {
        let top = self.top()?;
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        // The array grows only where places are used one after the other; a far one costs what one entry costs.
        let before = if at < DENSE_MEMO && at <= self.memo.len() + 4096 {
            if at >= self.memo.len() {
                self.memo.resize(at + 1, NO_NODE);
            }
            self.far_memo_into_array(index);
            self.memo.get_mut(at).map(|slot| std::mem::replace(slot, top)).filter(|&old| old != NO_NODE)
        } else {
            self.far_memo.insert(index, top)
        };
        match before {
            None => self.memo_len += 1,
            Some(_) => self.trace.note(Oddity::MemoOverwritten, self.place),
        }
        Ok(())
    }

    /// A place that was far when it was written may be within the array now.
    fn far_memo_into_array(&mut self, index: u64) {
        if !self.far_memo.is_empty()
            && let Some(old) = self.far_memo.remove(&index)
            && let Some(slot) = self.memo.get_mut(index as usize)
        {
            *slot = old;
        }
    }

    #[inline]
    pub(super) fn get(&mut self, index: u64) -> Result<(), FormatError> {
        let near = usize::try_from(index).ok().and_then(|at| self.memo.get(at)).filter(|&&id| id != NO_NODE);
        match near.or_else(|| self.far_memo.get(&index)) {
            Some(&id) => {
                self.stack.push(id);
                Ok(())
            }
            None => Err(self.broken(&format!("place `{index}` of the memo is empty"))),
        }
    }

    fn tuple(&mut self, count: usize) -> Result<(), FormatError> {
        let begin = self.below(count)?;
        self.gather(begin, Node::Tuple);
        Ok(())
    }

    fn collect(&mut self, kind: fn(Seq) -> Node) -> Result<(), FormatError> {
        let begin = self.mark()?;
        self.gather(begin, kind);
        Ok(())
    }

    pub(super) fn gather(&mut self, begin: usize, kind: fn(Seq) -> Node) {
        let seq = self.graph.new_seq(self.stack.get(begin..).unwrap_or_default());
        self.stack.truncate(begin);
        self.push(kind(seq));
    }

    #[cold]
    pub(super) fn underflow(&self) -> FormatError {
        self.broken("the stack is empty, or a mark is in the way")
    }

    #[cold]
    pub(super) fn broken(&self, detail: &str) -> FormatError {
        broken(self.place.at, detail)
    }
}
