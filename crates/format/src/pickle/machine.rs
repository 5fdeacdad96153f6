//! The stack machine. It imports nothing and calls nothing: a call becomes an [`Object`] that remembers it.
//!
//! The rules are those of the C unpickler of CPython, since that is what loads: a mark is a fence that no opcode but
//! its own reaches over, `MEMOIZE` counts the places that are in use, frames are hints.

use std::collections::HashMap;

use super::globals;
use super::graph::{Coding, Graph, Node, NodeId, Object, Seq, TextKind, Way};
use super::input::{Input, Line};
use super::ops;
use super::text;
use super::trace::{Global, Oddity, Place, Trace};
use super::{Pickle, broken, raw};
use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::Section;

/// Places of the memo that lie in an array; farther ones are looked up.
const DENSE_MEMO: usize = 1 << 26;
const NO_NODE: NodeId = NodeId(u32::MAX);

pub(super) struct Machine<'a> {
    input: Input<'a>,
    section: &'a Section,
    arrays: Arrays,
    limits: &'a Limits,
    graph: Graph,
    trace: Trace,
    stack: Vec<NodeId>,
    marks: Vec<usize>,
    memo: Vec<NodeId>,
    far_memo: HashMap<u64, NodeId>,
    memo_len: u64,
    /// Numbers of the names, by what is written.
    names: HashMap<(Box<str>, Box<str>), NodeId>,
    place: Place,
    protocol: u8,
    frame_end: u64,
    /// Nodes for values that have no parts.
    none: NodeId,
    truth: NodeId,
    falsehood: NodeId,
    empty_tuple: NodeId,
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
                self.push(Node::Int(value.into()));
            }
            ops::BININT2 => {
                let value = u16::from_le_bytes(self.input.fixed()?);
                self.push(Node::Int(value.into()));
            }
            ops::BININT => {
                let value = i32::from_le_bytes(self.input.fixed()?);
                self.push(Node::Int(value.into()));
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

    /// The opcodes that do not come by the million.
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
            ops::LONG1 => {
                let len = self.input.byte()?;
                self.long(len.into())?;
            }
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
    fn push(&mut self, node: Node) {
        let id = self.graph.push(node);
        self.stack.push(id);
    }

    fn fence(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    #[inline]
    fn pop(&mut self) -> Result<NodeId, FormatError> {
        if self.stack.len() <= self.fence() {
            return Err(self.underflow());
        }
        self.stack.pop().ok_or_else(|| self.underflow())
    }

    fn top(&self) -> Result<NodeId, FormatError> {
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

    fn mark(&mut self) -> Result<usize, FormatError> {
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
    fn put(&mut self, index: u64) -> Result<(), FormatError> {
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
    fn get(&mut self, index: u64) -> Result<(), FormatError> {
        let near = usize::try_from(index).ok().and_then(|at| self.memo.get(at)).filter(|&&id| id != NO_NODE);
        match near.or_else(|| self.far_memo.get(&index)) {
            Some(&id) => {
                self.stack.push(id);
                Ok(())
            }
            None => Err(self.broken(&format!("place `{index}` of the memo is empty"))),
        }
    }

    #[inline]
    fn text(&mut self, kind: TextKind, len: u64) -> Result<(), FormatError> {
        let id = match usize::try_from(len) {
            Ok(len) if self.graph.has_room(len) => {
                let bytes = self.input.take(len)?;
                // Lone surrogates, which `pickle` writes, begin with this byte.
                if kind == TextKind::Str && str::from_utf8(bytes).is_err() && !bytes.contains(&0xed) {
                    return Err(self.broken("text is not UTF-8"));
                }
                self.graph.push_near(kind, bytes)
            }
            _ => {
                let begin = self.input.skip(len)?;
                self.graph.push_far(kind, begin, len, Coding::Plain)
            }
        };
        self.stack.push(id);
        Ok(())
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

    fn gather(&mut self, begin: usize, kind: fn(Seq) -> Node) {
        let seq = self.graph.new_seq(self.stack.get(begin..).unwrap_or_default());
        self.stack.truncate(begin);
        self.push(kind(seq));
    }

    /// Adds what lies on the stack from `begin` on to what lies under it.
    fn extend(&mut self, begin: usize, kind: Kind) -> Result<(), FormatError> {
        if begin <= self.fence() {
            return Err(self.underflow());
        }
        let Some((&target, added)) = self.stack.get(begin - 1..).and_then(<[NodeId]>::split_first) else {
            return Err(self.underflow());
        };
        if added.is_empty() && kind != Kind::Members {
            return Ok(());
        }
        let node = self.graph.node(target);
        match (node, kind) {
            (Node::List(seq), Kind::Items) => {
                let seq = self.graph.extend(seq, added);
                self.graph.set(target, Node::List(seq));
            }
            (Node::Dict(seq), Kind::Pairs) => {
                let seq = self.graph.extend(seq, added);
                self.graph.set(target, Node::Dict(seq));
            }
            (Node::Set(seq), Kind::Members) => {
                let seq = self.graph.extend(seq, added);
                self.graph.set(target, Node::Set(seq));
            }
            (Node::Object(at), _) => {
                if let Some(&object) = self.graph.objects.get(at as usize) {
                    let old = if kind == Kind::Pairs { object.pairs } else { object.items };
                    let seq = self.graph.extend(old, added);
                    if let Some(object) = self.graph.objects.get_mut(at as usize) {
                        *(if kind == Kind::Pairs { &mut object.pairs } else { &mut object.items }) = seq;
                    }
                    self.used(object.callee, |global| &mut global.extended);
                }
            }
            (Node::Global(_), _) => self.used(target, |global| &mut global.extended),
            (Node::Persistent(_) | Node::Extension(_), _) => self.trace.note(Oddity::IndirectExtend, self.place),
            _ => return Err(self.broken("items are added to a value that takes none")),
        }
        self.stack.truncate(begin);
        Ok(())
    }

    fn used(&mut self, id: NodeId, use_of: fn(&mut Global) -> &mut super::trace::Uses) {
        if let Node::Global(at) = self.graph.node(id)
            && let Some(global) = self.graph.globals.get_mut(at as usize)
        {
            use_of(global).add(self.place);
        }
    }

    fn call(&mut self, way: Way, callee: NodeId, args: NodeId, kwargs: Option<NodeId>) {
        let class = self.graph.unwrapped(callee);
        match self.graph.node(class) {
            Node::Global(_) => self.used(class, |global| &mut global.called),
            _ => self.trace.note(Oddity::IndirectCall, self.place),
        }
        let at = self.graph.objects.len() as u32;
        let (items, pairs) = (Seq::default(), Seq::default());
        self.graph.objects.push(Object { way, callee, args, kwargs, state: None, items, pairs, place: self.place });
        self.push(Node::Object(at));
    }

    fn instance(&mut self, callee: NodeId, begin: usize) {
        self.gather(begin, Node::Tuple);
        if let Some(args) = self.stack.pop() {
            self.call(Way::Instance, callee, args, None);
        }
    }

    fn build(&mut self) -> Result<(), FormatError> {
        let state = self.pop()?;
        let target = self.top()?;
        match self.graph.node(target) {
            Node::Object(at) => {
                let Some(object) = self.graph.objects.get_mut(at as usize) else { return Ok(()) };
                object.state = Some(state);
                let callee = object.callee;
                let class = self.graph.unwrapped(callee);
                self.used(class, |global| &mut global.built);
                if self.arrays == Arrays::Joblib
                    && let Some(array) = raw::array_after(&self.graph, target)
                {
                    self.array(at, &array)?;
                }
            }
            Node::Global(_) => self.used(target, |global| &mut global.altered),
            _ => self.trace.note(Oddity::IndirectBuild, self.place),
        }
        Ok(())
    }

    /// Steps over the array that follows the object in the stream, or reads the pickle that stands for it.
    fn array(&mut self, object: u32, array: &raw::RawArray) -> Result<(), FormatError> {
        let Some(len) = array.len else {
            let mut limits = *self.limits;
            limits.pickle_ops = limits.pickle_ops.saturating_sub(self.trace.ops);
            let begin = self.input.offset();
            let inner = run(self.section, begin, &limits, Arrays::Never);
            self.trace.ops += inner.trace.ops;
            for global in inner.graph.globals() {
                let id = self.global(&global.module, &global.name)?;
                if global.called.count > 0 {
                    self.used(id, |global| &mut global.called);
                }
                if global.built.count > 0 {
                    self.used(id, |global| &mut global.built);
                }
            }
            for &(oddity, _) in &inner.trace.oddities {
                self.trace.note(oddity, self.place);
            }
            self.input.skip(inner.trace.end.saturating_sub(begin))?;
            return inner.trace.error.map_or(Ok(()), Err);
        };
        // Frames end before an array.
        self.frame_end = 0;
        if array.padded {
            let padding = self.input.byte()?;
            self.input.skip(padding.into())?;
        }
        let begin = self.input.skip(len)?;
        self.graph.raw.insert(object, (begin, len));
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<NodeId, FormatError> {
        let (real_module, real_name) = match self.protocol {
            0..=2 => globals::renamed(module, name).unwrap_or((module, name)),
            _ => (module, name),
        };
        let key = (Box::<str>::from(real_module), Box::<str>::from(real_name));
        let id = match self.names.get(&key) {
            Some(&id) => id,
            None => {
                let count = self.graph.globals.len() as u64 + 1;
                Limits::at_most("number of names in a pickle", count, self.limits.metadata_entries)?;
                let written = (real_module, real_name) != (module, name);
                self.graph.globals.push(Global {
                    module: real_module.into(),
                    name: real_name.into(),
                    written: written.then(|| Box::new((module.to_owned(), name.to_owned()))),
                    imported: Default::default(),
                    called: Default::default(),
                    built: Default::default(),
                    altered: Default::default(),
                    extended: Default::default(),
                });
                let id = self.graph.push(Node::Global(count as u32 - 1));
                self.names.insert(key, id);
                id
            }
        };
        self.used(id, |global| &mut global.imported);
        Ok(id)
    }

    fn long(&mut self, len: u64) -> Result<(), FormatError> {
        if len > super::graph::NEAR_BYTES as u64 {
            let begin = self.input.skip(len)?;
            let id = self.graph.push_far(TextKind::Integer, begin, len, Coding::Plain);
            self.stack.push(id);
            return Ok(());
        }
        let bytes = self.input.take(len as usize)?.to_vec();
        self.push_integer(&bytes);
        Ok(())
    }

    fn push_integer(&mut self, bytes: &[u8]) {
        match text::small_integer(bytes) {
            Some(value) => self.push(Node::Int(value)),
            None => {
                let id = self.graph.push_near(TextKind::Integer, bytes);
                self.stack.push(id);
            }
        }
    }

    /// A line of a name; Python decodes it as UTF-8.
    fn name_line(&mut self) -> Result<String, FormatError> {
        let name = match self.input.line()? {
            Line::Near(line) if line.len() <= super::graph::NEAR_BYTES => String::from_utf8(line.to_vec()).ok(),
            _ => None,
        };
        name.ok_or_else(|| self.broken("a name is too long or not UTF-8"))
    }

    /// Opcodes with a line of digits, and `PERSID`.
    fn number(&mut self, op: u8) -> Result<(), FormatError> {
        let line = match self.input.line()? {
            Line::Near(line) if line.len() <= 8192 => line.to_vec(),
            _ => return Err(self.broken("a line is too long")),
        };
        let wrong = || broken(self.place.at, &format!("`{}` is no number", String::from_utf8_lossy(&line)));
        match op {
            ops::INT if line == b"00" => self.stack.push(self.falsehood),
            ops::INT if line == b"01" => self.stack.push(self.truth),
            ops::INT => {
                let bytes = text::integer(&line).ok_or_else(wrong)?;
                self.push_integer(&bytes);
            }
            ops::LONG => {
                let digits = line.strip_suffix(b"L").unwrap_or(&line);
                let bytes = text::integer(digits).ok_or_else(wrong)?;
                self.push_integer(&bytes);
            }
            ops::FLOAT => {
                let value = text::float(&line).ok_or_else(wrong)?;
                self.push(Node::Float(value));
            }
            ops::PERSID => {
                let id = self.graph.push_near(TextKind::Str, &line);
                self.push(Node::Persistent(id));
            }
            _ => {
                let index = str::from_utf8(line.trim_ascii()).ok().and_then(|digits| digits.parse().ok());
                let index: u64 = index.ok_or_else(wrong)?;
                if op == ops::GET { self.get(index)? } else { self.put(index)? }
            }
        }
        Ok(())
    }

    /// `STRING` and `UNICODE`: a line with escapes.
    fn spelled(&mut self, op: u8) -> Result<(), FormatError> {
        let (kind, coding) = match op {
            ops::STRING => (TextKind::OldStr, Coding::StringEscape),
            _ => (TextKind::Str, Coding::RawUnicodeEscape),
        };
        let begin = self.input.offset();
        let id = match self.input.line()? {
            Line::Near(line) => {
                let quotes = match (op, line) {
                    (ops::STRING, [first @ (b'\'' | b'"'), .., last]) if first == last => 1,
                    (ops::STRING, _) => return Err(self.broken("a string is not in quotes")),
                    _ => 0,
                };
                let inner = line.get(quotes..line.len() - quotes).unwrap_or_default();
                let decoded = match op {
                    ops::STRING => text::string_escape(inner),
                    _ => text::raw_unicode_escape(inner),
                };
                let inner_len = inner.len() as u64;
                let decoded = decoded.ok_or_else(|| broken(self.place.at, "an escape is wrong"))?;
                match self.graph.has_room(decoded.len()) {
                    true => self.graph.push_near(kind, &decoded),
                    false => self.graph.push_far(kind, begin + quotes as u64, inner_len, coding),
                }
            }
            Line::Far(begin, len) if op == ops::STRING => {
                self.graph.push_far(kind, begin + 1, len.saturating_sub(2), coding)
            }
            Line::Far(begin, len) => self.graph.push_far(kind, begin, len, coding),
        };
        self.stack.push(id);
        Ok(())
    }

    fn underflow(&self) -> FormatError {
        self.broken("the stack is empty, or a mark is in the way")
    }

    fn broken(&self, detail: &str) -> FormatError {
        broken(self.place.at, detail)
    }
}

/// What is added to a container.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Items,
    Pairs,
    Members,
}
