//! What a name is used for: the same name can build data or do harm, depending on its arguments.

use weighthouse_format::pickle::{Graph, Node, NodeId, Object, Way};

use super::super::report::Finding;
use super::super::rules;
use super::super::verdict::{Severity, Verdict};
use super::names::Standing;
use super::show;

/// Largest buffer that a pickle may ask for by a number.
const MAX_BUFFER_BYTES: i64 = 1 << 31;

/// What is to be checked where a name is called; found once for each name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Nothing: any arguments build data.
    Nothing,
    /// `_codecs.encode`: only with the codec that writers use.
    Encode,
    /// `bytes`, `bytearray`: a number asks for memory.
    Buffer,
    /// `copyreg._reconstructor(class, base, state)`.
    Reconstructor,
    /// `torch._tensor._rebuild_from_type_v2(function, class, arguments, state)`.
    FromType,
    /// The first argument is a class.
    OfClass,
    /// `functools.partial`.
    Partial,
    /// `getattr`: a member of an enum.
    Attribute,
    /// A class of a library.
    Constructor,
    /// A function that is only referred to.
    Reference,
}

/// What is to be checked for a name.
pub(super) fn check_of(module: &str, name: &str, standing: Standing) -> Check {
    match (standing, module, name) {
        (Standing::HigherOrder, "functools", _) => Check::Partial,
        (Standing::HigherOrder, ..) => Check::Attribute,
        (Standing::Class | Standing::Library(_), ..) => Check::Constructor,
        (Standing::Function, ..) => Check::Reference,
        (_, "_codecs", "encode") => Check::Encode,
        (_, "builtins", "bytes" | "bytearray") => Check::Buffer,
        (_, "copyreg", "_reconstructor") => Check::Reconstructor,
        (_, "torch._tensor", "_rebuild_from_type_v2") => Check::FromType,
        (_, "torch._utils", "_rebuild_wrapper_subclass")
        | (_, "numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Check::OfClass,
        _ => Check::Nothing,
    }
}

/// The names of a graph with their standings.
pub(super) struct Names<'a> {
    pub(super) graph: &'a Graph,
    pub(super) standings: &'a [Standing],
}

impl Names<'_> {
    /// The standing of the name that a value is, or of the class whose source stands beside it.
    pub(super) fn of(&self, id: NodeId) -> Option<Standing> {
        match self.graph.node(id) {
            Node::Global(at) => self.standings.get(at as usize).copied(),
            _ => None,
        }
    }

    fn is_name(&self, id: Option<&NodeId>, path: &[&str]) -> bool {
        let global = id.and_then(|&id| self.graph.global(id));
        global.is_some_and(|global| path.contains(&global.path().as_str()))
    }

    /// A class that may be made: data or of a library.
    fn is_class(&self, id: Option<&NodeId>) -> bool {
        let standing = id.and_then(|&id| self.of(id));
        matches!(standing, Some(Standing::Data | Standing::Class | Standing::Library(_)))
    }

    /// Judges a call by its arguments.
    pub(super) fn call(&self, check: Check, id: NodeId, object: &Object) -> Option<Finding> {
        let args = self.graph.items(object.args);
        let wrong = |verdict, what: &str| {
            let detail = format!("calls `{}`: {what}", show::call(self.graph, id));
            Some(Finding::of(rules::PICKLE_ARGUMENT, verdict, detail))
        };
        match check {
            Check::Nothing => None,
            Check::Encode => match args.get(1).and_then(|&codec| self.graph.str(codec)) {
                Some("latin1" | "latin-1" | "utf-8" | "utf8" | "ascii") => None,
                _ => wrong(Verdict::Suspicious, "another codec than writers use"),
            },
            Check::Buffer => match args.first().map(|&size| self.graph.node(size)) {
                Some(Node::Int(size)) if size > MAX_BUFFER_BYTES => {
                    wrong(Verdict::Suspicious, "asks for gigabytes of memory")
                }
                _ => None,
            },
            Check::Reconstructor => {
                let bases = [
                    "builtins.object",
                    "builtins.dict",
                    "builtins.list",
                    "builtins.tuple",
                    "builtins.set",
                    "builtins.int",
                    "builtins.float",
                    "builtins.str",
                    "collections.OrderedDict",
                ];
                // Plain values are made from `object` alone.
                let plain = args.first().and_then(|&class| self.of(class)) == Some(Standing::Data);
                match self.is_class(args.first()) && self.is_name(args.get(1), &bases) {
                    true if plain && !self.is_name(args.get(1), &["builtins.object"]) => {
                        wrong(Verdict::Suspicious, "makes a plain value from another type than its own")
                    }
                    true => None,
                    // A class that is not known has its own finding already.
                    false if args.first().is_some_and(|&class| self.graph.global(class).is_some()) => None,
                    false => wrong(Verdict::Unsafe, "makes an instance of what is no class that is named"),
                }
            }
            Check::FromType => {
                let function = args.first().and_then(|&id| self.graph.global(id));
                let rebuilds = function.is_some_and(|global| {
                    matches!(&*global.module, "torch._utils" | "torch._tensor") && global.name.starts_with("_rebuild")
                });
                match rebuilds && self.is_class(args.get(1)) {
                    true => None,
                    false => wrong(Verdict::Unsafe, "calls whatever it is given"),
                }
            }
            Check::OfClass => match self.is_class(args.first()) {
                true => None,
                false => wrong(Verdict::Unsafe, "makes an instance of what is no known class"),
            },
            Check::Partial => {
                let allowed = |id: Option<&NodeId>| {
                    matches!(id.and_then(|&id| self.of(id)), Some(Standing::Function | Standing::Class))
                };
                let state = object.state.map(|state| self.graph.items(state)).unwrap_or_default();
                match allowed(args.first()) && (state.is_empty() || allowed(state.first())) {
                    true => None,
                    false => wrong(Verdict::Unsafe, "wraps a function that is not known to be harmless"),
                }
            }
            Check::Attribute => {
                let name = args.get(1).and_then(|&name| self.graph.str(name));
                let plain = name.is_some_and(|name| {
                    !name.starts_with('_')
                        && !name.is_empty()
                        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                });
                let of_enum = args.first().and_then(|&id| self.of(id)) == Some(Standing::Class);
                match plain && of_enum && args.len() == 2 {
                    true => None,
                    false => wrong(Verdict::Unsafe, "finds any attribute of anything"),
                }
            }
            Check::Constructor => {
                let plain = args.len() <= 2
                    && args.iter().all(|&arg| {
                        matches!(
                            self.graph.node(arg),
                            Node::None | Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Near(..)
                        )
                    });
                // `__new__` alone runs no constructor.
                if object.way == Way::New || plain {
                    return None;
                }
                let detail = format!("runs a constructor: `{}`", show::call(self.graph, id));
                Some(Finding::of(rules::PICKLE_LIBRARY, Verdict::Caution, detail))
            }
            Check::Reference => wrong(Verdict::Suspicious, "this function is only to be referred to"),
        }
    }

    /// Judges the state that is set on an instance.
    pub(super) fn state(&self, id: NodeId, object: &Object, standing: Standing) -> Option<Finding> {
        let state = object.state?;
        let is_dict = |id: NodeId| matches!(self.graph.node(id), Node::Dict(_) | Node::None);
        let plain = match self.graph.node(state) {
            Node::Dict(_) => true,
            Node::Tuple(_) => match self.graph.items(state) {
                [dict, slots] => is_dict(*dict) && is_dict(*slots),
                _ => false,
            },
            // An ordered dictionary is one too.
            Node::Object(_) => self.graph.class(state).is_some_and(|class| class.is("collections", "OrderedDict")),
            _ => false,
        };
        // The second dictionary is set attribute by attribute, and may give an instance another class.
        let sets_insides = matches!(self.graph.node(state), Node::Tuple(_))
            && self.graph.items(state).get(1).is_some_and(|&slots| {
                self.graph.pairs(slots).any(|(key, _)| self.graph.str(key).is_some_and(|key| key.starts_with("__")))
            });
        if sets_insides {
            let detail = format!("sets attributes of Python's insides on `{}`", show::call(self.graph, id));
            return Some(Finding::of(rules::PICKLE_STATE, Verdict::Suspicious, detail));
        }
        if plain || self.has_state_of_its_own(object) {
            return None;
        }
        let verdict = match standing {
            Standing::Class | Standing::Library(_) => Verdict::Caution,
            _ => Verdict::Suspicious,
        };
        let detail = format!("sets a state on `{}` that is no dictionary", show::call(self.graph, id));
        Some(Finding::of(rules::PICKLE_STATE, verdict, detail).weighing(Severity::of(verdict)))
    }

    /// Classes whose state is a tuple of their own.
    fn has_state_of_its_own(&self, object: &Object) -> bool {
        self.graph.global(object.callee).is_some_and(|global| match &*global.module {
            "torch" => global.name.ends_with("Tensor"),
            "functools" => &*global.name == "partial",
            "torch.distributed.checkpoint.metadata" => true,
            module => module.split('.').next() == Some("numpy"),
        })
    }
}

/// Whether items may be added to an instance of this class.
pub(super) fn is_container(module: &str, name: &str) -> bool {
    matches!(
        (module, name),
        ("collections", "OrderedDict" | "Counter" | "defaultdict" | "deque")
            | ("builtins", "list" | "dict" | "set" | "bytearray")
            | ("copyreg", "_reconstructor")
    )
}
