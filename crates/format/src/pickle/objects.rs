//! Names, calls, and what is set on or added to the values of a machine.

use super::globals;
use super::graph::{Node, NodeId, Object, Seq, Way};
use super::machine::{Arrays, Machine, run};
use super::raw;
use super::trace::{Global, Oddity, Uses};
use crate::error::FormatError;
use crate::limits::Limits;

/// What is added to a container.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Items,
    Pairs,
    Members,
}

impl Machine<'_> {
    /// Adds what lies on the stack from `begin` on to what lies under it.
    pub(super) fn extend(&mut self, begin: usize, kind: Kind) -> Result<(), FormatError> {
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

    pub(super) fn used(&mut self, id: NodeId, use_of: fn(&mut Global) -> &mut Uses) {
        if let Node::Global(at) = self.graph.node(id)
            && let Some(global) = self.graph.globals.get_mut(at as usize)
        {
            use_of(global).add(self.place);
        }
    }

    pub(super) fn call(&mut self, way: Way, callee: NodeId, args: NodeId, kwargs: Option<NodeId>) {
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

    pub(super) fn instance(&mut self, callee: NodeId, begin: usize) {
        self.gather(begin, Node::Tuple);
        if let Some(args) = self.stack.pop() {
            self.call(Way::Instance, callee, args, None);
        }
    }

    pub(super) fn build(&mut self) -> Result<(), FormatError> {
        let state = self.pop()?;
        let target = self.top()?;
        match self.graph.node(target) {
            Node::Object(at) => {
                let Some(object) = self.graph.objects.get_mut(at as usize) else { return Ok(()) };
                let replaced = object.state.replace(state).is_some();
                let callee = object.callee;
                if replaced {
                    self.trace.note(Oddity::StateReplaced, self.place);
                }
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
    pub(super) fn array(&mut self, object: u32, array: &raw::RawArray) -> Result<(), FormatError> {
        // Frames end before an array, and before a pickle that stands for one.
        self.frame_end = 0;
        let Some(len) = array.len else {
            let mut limits = *self.limits;
            limits.pickle_ops = limits.pickle_ops.saturating_sub(self.trace.ops);
            let begin = self.input.offset();
            let inner = run(self.section, begin, &limits, Arrays::Never);
            self.trace.ops += inner.trace.ops;
            self.trace.inner.push((begin, inner.trace.end));
            for global in inner.graph.globals() {
                let id = self.global(&global.module, &global.name)?;
                if global.called.count > 0 {
                    self.used(id, |global| &mut global.called);
                }
                if global.built.count > 0 {
                    self.used(id, |global| &mut global.built);
                }
                if global.altered.count > 0 {
                    self.used(id, |global| &mut global.altered);
                }
                if global.extended.count > 0 {
                    self.used(id, |global| &mut global.extended);
                }
            }
            for &(oddity, _) in &inner.trace.oddities {
                self.trace.note(oddity, self.place);
            }
            self.input.skip(inner.trace.end.saturating_sub(begin))?;
            return inner.trace.error.map_or(Ok(()), Err);
        };
        if array.padded {
            let padding = self.input.byte()?;
            self.input.skip(padding.into())?;
        }
        let begin = self.input.skip(len)?;
        self.graph.raw.insert(object, (begin, len));
        Ok(())
    }

    pub(super) fn global(&mut self, module: &str, name: &str) -> Result<NodeId, FormatError> {
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
}
