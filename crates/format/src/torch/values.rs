//! Calls that rebuild tensors, understood without being made.
//!
//! Source: PyTorch, `torch/_utils.py`, `torch/_tensor.py`.

use std::cell::Cell;

use serde_json::{Map, Value, json};

use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::pickle::{Node, NodeId};
use crate::tensor::Tensor;

use super::dtype::{self, Held};
use super::loaded::Loaded;
use super::strided::Layout;

/// Calls that wrap one another: a parameter of a subclass of a sparse tensor is three deep.
const DEEPEST: u32 = 8;
/// Calls inside one tensor altogether, since what is shared counts each time.
const MOST_CALLS: u32 = 256;
/// Attributes of a subclass.
const MOST_ATTRIBUTES: usize = 256;

/// How far the understanding of one tensor has gone.
#[derive(Clone, Copy)]
struct Inside<'a> {
    depth: u32,
    calls: &'a Cell<u32>,
}

impl Inside<'_> {
    fn deeper(self) -> Result<Self, FormatError> {
        self.calls.set(self.calls.get() + 1);
        for (what, size, limit) in [
            ("nesting of a tensor", self.depth + 1, DEEPEST),
            ("number of calls that make a tensor", self.calls.get(), MOST_CALLS),
        ] {
            Limits::at_most(what, size.into(), limit.into())?;
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

/// The tensors that one value is made of, most often one.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    /// Each with the end of its name: empty, or such as `.indices`.
    pub(super) tensors: Vec<(String, Tensor)>,
    /// What else is known: quantiser, layout, shape of a sparse tensor.
    pub(super) info: Map<String, Value>,
    /// The node with the quantiser's parameters.
    pub(super) quantiser: Option<NodeId>,
    /// The node that says how the tensor is cut over ranks, if it is a part of a larger one.
    pub(super) spec: Option<NodeId>,
}

type Found = Option<Result<Parts, FormatError>>;

impl Parts {
    fn one(tensor: Tensor) -> Self {
        Self { tensors: vec![(String::new(), tensor)], ..Self::default() }
    }

    fn add(&mut self, end: &str, parts: Self) {
        self.tensors.extend(parts.tensors.into_iter().map(|(rest, tensor)| (format!(".{end}{rest}"), tensor)));
    }
}

impl Loaded {
    /// The tensors that the node is; `None` when it is something else.
    pub(super) fn tensor(&self, id: NodeId) -> Found {
        self.tensor_at(id, Inside { depth: 0, calls: &Cell::new(0) })
    }

    fn tensor_at(&self, id: NodeId, depth: Inside<'_>) -> Found {
        let object = self.graph.object(id)?;
        let callee = self.graph.global(object.callee)?;
        if self.graph.raw(id).is_some() {
            return self.joblib_array(id).map(|array| array.map(Parts::one));
        }
        if callee.module.starts_with("numpy.") {
            return self.array(id).map(|array| array.map(Parts::one));
        }
        if *callee.module == *"torch.jit._pickle" {
            // Lists and dictionaries of TorchScript carry their type beside them.
            return None;
        }
        self.rebuild(object.callee, self.graph.items(object.args), object.state, depth)
    }

    fn inner(&self, id: NodeId, depth: Inside<'_>) -> Found {
        match depth.deeper() {
            Ok(depth) => self.tensor_at(id, depth),
            Err(error) => Some(Err(error)),
        }
    }

    fn rebuild(&self, callee: NodeId, args: &[NodeId], state: Option<NodeId>, depth: Inside<'_>) -> Found {
        let callee = self.graph.global(callee)?;
        let known = matches!(&*callee.module, "torch._utils" | "torch._tensor" | "torch.nn.parameter" | "torch.tensor");
        if !known {
            return None;
        }
        match (&*callee.name, args) {
            ("_rebuild_tensor_v2", [storage, offset, size, stride, _, _, rest @ ..]) => {
                Some(self.strided(*storage, None, [*offset, *size, *stride], rest.first().copied()))
            }
            ("_rebuild_tensor", [storage, offset, size, stride]) => {
                Some(self.strided(*storage, None, [*offset, *size, *stride], None))
            }
            ("_rebuild_tensor_v3", [storage, offset, size, stride, _, _, dtype, rest @ ..]) => {
                let dtype = self.dtype(*dtype);
                Some(dtype.and_then(|dtype| {
                    self.strided(*storage, Some(dtype), [*offset, *size, *stride], rest.first().copied())
                }))
            }
            ("_rebuild_parameter" | "_rebuild_parameter_with_state" | "_rebuild_buffer", [data, ..]) => {
                self.inner(*data, depth)
            }
            ("_rebuild_qtensor", [storage, offset, size, stride, quantiser, ..]) => {
                let parts = self.strided(*storage, None, [*offset, *size, *stride], None);
                Some(parts.map(|mut parts| {
                    parts.quantiser = Some(*quantiser);
                    parts
                }))
            }
            ("_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor", [layout, data]) => {
                self.sparse(*layout, *data, depth)
            }
            ("_rebuild_meta_tensor_no_storage", [dtype, size, ..]) => Some(self.without_bytes(*dtype, *size)),
            ("_rebuild_nested_tensor", [buffer, rest @ ..]) => {
                let mut parts = Parts::default();
                for (end, &node) in
                    ["buffer", "sizes", "strides", "offsets"].iter().zip([buffer].into_iter().chain(rest))
                {
                    match self.inner(node, depth)? {
                        Ok(found) => parts.add(end, found),
                        Err(error) => return Some(Err(error)),
                    }
                }
                Some(Ok(parts))
            }
            (
                "_rebuild_device_tensor_from_numpy" | "_rebuild_device_tensor_from_cpu_tensor" | "_rebuild_xla_tensor",
                [data, ..],
            ) => self.inner(*data, depth),
            ("_rebuild_from_type_v2" | "_rebuild_from_type", [function, _, args, state]) => match depth.deeper() {
                Ok(depth) => self.rebuild(*function, self.graph.items(*args), Some(*state), depth),
                Err(error) => Some(Err(error)),
            },
            ("_rebuild_wrapper_subclass", [_, dtype, size, ..]) => self.wrapper(*dtype, *size, state?, depth),
            ("Parameter" | "Buffer", [data, ..]) => self.inner(*data, depth),
            _ => None,
        }
    }

    fn strided(
        &self,
        storage: NodeId,
        dtype: Option<Dtype>,
        [offset, size, stride]: [NodeId; 3],
        metadata: Option<NodeId>,
    ) -> Result<Parts, FormatError> {
        let rule = |rule| FormatError::Rule { what: "tensor", rule };
        let (bytes, held) = self.storages.find(&self.graph, storage)?;
        let dtype = match (dtype, held) {
            (Some(dtype), _) => dtype,
            (None, Some(Held::Elements(dtype))) => dtype,
            _ => return Err(rule("its storage says what it holds")),
        };
        let offset = self.graph.unsigned(offset).ok_or_else(|| rule("its offset is not negative"))?;
        let shape = self.numbers(size).ok_or_else(|| rule("its shape is a tuple of numbers"))?;
        let strides = self.numbers(stride).ok_or_else(|| rule("its strides are not negative"))?;
        let bit = |name| metadata.and_then(|bits| self.graph.get(bits, name)).and_then(|bit| self.graph.int(bit));
        let layout = Layout {
            dtype,
            offset,
            shape,
            strides: Some(strides),
            big_endian: self.storages.big_endian,
            conjugate: bit("conj") == Some(1),
            negate: bit("neg") == Some(1),
        };
        layout.tensor(&bytes, "", &self.limits).map(Parts::one)
    }

    /// A dtype: `torch.float32`.
    pub(super) fn dtype(&self, id: NodeId) -> Result<Dtype, FormatError> {
        let global = self.graph.global(id).filter(|global| *global.module == *"torch");
        let name = global.map_or("?", |global| &*global.name);
        dtype::by_name(name)
            .ok_or_else(|| FormatError::UnknownDtype { tensor: "torch tensor".to_owned(), dtype: name.to_owned() })
    }

    fn without_bytes(&self, dtype: NodeId, size: NodeId) -> Result<Parts, FormatError> {
        let dtype = self.dtype(dtype)?;
        let shape =
            self.numbers(size).ok_or(FormatError::Rule { what: "tensor", rule: "its shape is a tuple of numbers" })?;
        if Tensor::checked_elements(&shape).is_none() {
            return Err(FormatError::SizeOverflow { tensor: "meta tensor".to_owned() });
        }
        let mut parts = Parts::one(Tensor { name: String::new(), dtype, shape, pieces: Vec::new() });
        parts.info.insert("device".into(), json!("meta"));
        Ok(parts)
    }

    fn sparse(&self, layout: NodeId, data: NodeId, depth: Inside<'_>) -> Found {
        let layout = self.layout(layout).unwrap_or_default();
        let data = self.graph.items(data);
        let (ends, size): (&[&str], usize) = match layout.as_str() {
            "torch.sparse_coo" => (&["indices", "values"], 2),
            "torch.sparse_csr" | "torch.sparse_bsr" => (&["crow_indices", "col_indices", "values"], 3),
            "torch.sparse_csc" | "torch.sparse_bsc" => (&["ccol_indices", "row_indices", "values"], 3),
            _ => {
                let detail = format!("`{layout}`");
                return Some(Err(FormatError::Unsupported { what: "layout of a sparse tensor", detail }));
            }
        };
        let mut parts = Parts::default();
        for (end, &node) in ends.iter().zip(data) {
            match self.inner(node, depth) {
                Some(Ok(found)) => parts.add(end, found),
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    return Some(Err(FormatError::Rule { what: "sparse tensor", rule: "its parts are tensors" }));
                }
            }
        }
        parts.info.insert("layout".into(), json!(layout.trim_start_matches("torch.")));
        if let Some(shape) = data.get(size).and_then(|&size| self.numbers(size)) {
            parts.info.insert("shape".into(), json!(shape));
        }
        Some(Ok(parts))
    }

    /// The name of a layout: a global, or what `_get_layout` is called with.
    fn layout(&self, id: NodeId) -> Option<String> {
        match self.graph.global(id) {
            Some(global) => Some(global.path()),
            None => {
                let object = self.graph.object(id)?;
                self.graph.items(object.args).first().and_then(|&name| self.graph.str(name)).map(ToOwned::to_owned)
            }
        }
    }

    /// Scheme, scale and zero point; of channels, all of them if they are not very many.
    pub(super) fn quantiser(&self, id: NodeId) -> Map<String, Value> {
        let mut info = Map::new();
        let parts = self.graph.items(id);
        let scheme = parts.first().and_then(|&scheme| self.graph.global(scheme)).map(|scheme| scheme.name.to_string());
        for (name, &part) in ["scheme", "scale", "zero_point", "axis"].iter().zip(parts) {
            let value = match self.graph.node(part) {
                Node::Int(value) => json!(value),
                Node::Float(value) => json!(value),
                Node::Global(_) => json!(scheme),
                _ => json!(self.floats(part)),
            };
            info.insert((*name).to_owned(), value);
        }
        info
    }

    /// Elements of a small plain tensor as numbers.
    pub(super) fn floats(&self, id: NodeId) -> Option<Vec<f64>> {
        const MOST: u64 = 1 << 16;
        let object = self.graph.object(id)?;
        let tensor = match self.tensor(id)?.ok()?.tensors.pop()? {
            (end, tensor) if end.is_empty() && tensor.elements() <= MOST => tensor,
            _ => return None,
        };
        let piece = tensor.pieces.first()?;
        if !piece.filters.is_empty() || piece.strides.is_some() {
            return None;
        }
        let bytes = match &piece.stored {
            crate::tensor::Stored::Inline(bytes) => bytes.to_vec(),
            _ => {
                // The innermost call has the storage and the offset.
                let mut args = self.graph.items(object.args);
                for _ in 0..DEEPEST {
                    match args.first().and_then(|&first| self.graph.object(first)) {
                        Some(inner) if !self.storages.inner.contains_key(args.first()?) => {
                            args = self.graph.items(inner.args);
                        }
                        _ => break,
                    }
                }
                let (storage, _) = self.storages.find(&self.graph, *args.first()?).ok()?;
                let offset = self.graph.unsigned(*args.get(1)?)?;
                storage.read(tensor.dtype.size_bytes(offset)?, tensor.size_bytes()).ok()?
            }
        };
        numbers(tensor.dtype, &bytes)
    }

    /// A subclass of tensors that only wraps others: a DTensor has its part of the elements inside.
    fn wrapper(&self, dtype: NodeId, size: NodeId, state: NodeId, depth: Inside<'_>) -> Found {
        let attributes = match self.graph.node(state) {
            Node::Dict(_) => state,
            _ => *self.graph.items(state).iter().find(|&&part| matches!(self.graph.node(part), Node::Dict(_)))?,
        };
        if let Some(local) = self.graph.get(attributes, "_local_tensor") {
            let found = self.inner(local, depth)?;
            return Some(found.map(|mut parts| {
                parts.spec = self.graph.get(attributes, "_spec");
                parts
            }));
        }
        let mut parts = Parts::default();
        if self.graph.pairs(attributes).len() > MOST_ATTRIBUTES {
            return Some(Err(FormatError::Rule { what: "subclass of tensors", rule: "it has few attributes" }));
        }
        for (key, value) in self.entries(attributes) {
            match (self.key(key), self.inner(value, depth)) {
                (Some(name), Some(Ok(found))) => parts.add(&name, found),
                (Some(_), Some(Err(error))) => return Some(Err(error)),
                _ => {}
            }
        }
        if let (Ok(dtype), Some(shape)) = (self.dtype(dtype), self.numbers(size)) {
            parts.info.insert("dtype".into(), json!(dtype.as_str()));
            parts.info.insert("shape".into(), json!(shape));
        }
        Some(Ok(parts))
    }
}

/// Little-endian elements as numbers.
pub(super) fn numbers(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f64>> {
    let each = |width: usize, read: fn(&[u8]) -> Option<f64>| bytes.chunks_exact(width).map(read).collect();
    match dtype {
        Dtype::F32 => each(4, |bytes| bytes.first_chunk().map(|&bytes| f32::from_le_bytes(bytes).into())),
        Dtype::F64 => each(8, |bytes| bytes.first_chunk().map(|&bytes| f64::from_le_bytes(bytes))),
        Dtype::I64 => each(8, |bytes| bytes.first_chunk().map(|&bytes| i64::from_le_bytes(bytes) as f64)),
        Dtype::I32 => each(4, |bytes| bytes.first_chunk().map(|&bytes| i32::from_le_bytes(bytes).into())),
        _ => None,
    }
}
