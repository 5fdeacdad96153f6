//! What became of each module in each layer.

use std::collections::{BTreeMap, HashMap};

use weighthouse_format::checkpoint::{fold_layers, module_of};

use super::{Cell, Outside, State, Table, TensorChange};

/// Columns of a table; the last one takes what does not fit.
const MAX_MODULES: usize = 128;
/// Rows of a table; one more takes what does not fit.
const MAX_LAYERS: usize = 1024;

/// Tables of all stacks of layers, and the modules that are in none.
pub(super) fn tables(tensors: &[TensorChange]) -> (Vec<Table>, Vec<Outside>) {
    let mut stacks: BTreeMap<String, Stack> = BTreeMap::new();
    let mut outside: Vec<Outside> = Vec::new();
    let mut by_module: HashMap<&str, usize> = HashMap::new();
    for tensor in tensors {
        if matches!(tensor.state, State::Tied(_)) {
            continue;
        }
        let name = tensor.name();
        let folded = fold_layers(name);
        let place = folded.as_ref().and_then(|(pattern, layer)| {
            let (stack, kind) = pattern.split_once('*')?;
            // Experts are numbered, too.
            let kind = kind.trim_matches(['.', '/']);
            let kind = fold_layers(kind).map_or_else(|| kind.to_owned(), |(pattern, _)| pattern);
            Some((stack, module_of(&kind).to_owned(), *layer))
        });
        if let Some((stack, module, layer)) = place {
            stacks.entry(stack.to_owned()).or_default().take(&module, layer, tensor);
            continue;
        }
        let module = module_of(name);
        match by_module.get(module).and_then(|&at: &usize| outside.get_mut(at)) {
            Some(outside) => outside.cell.take(tensor),
            None => {
                by_module.insert(module, outside.len());
                let mut cell = Cell::default();
                cell.take(tensor);
                outside.push(Outside { module: module.to_owned(), cell });
            }
        }
    }
    (stacks.into_iter().map(|(stack, found)| found.table(stack)).collect(), outside)
}

/// A table under way.
#[derive(Default)]
struct Stack {
    modules: Vec<String>,
    columns: HashMap<String, usize>,
    cells: BTreeMap<u64, Vec<Option<Cell>>>,
}

impl Stack {
    fn take(&mut self, module: &str, layer: u64, tensor: &TensorChange) {
        let next = self.modules.len().min(MAX_MODULES - 1);
        let column = *self.columns.entry(module.to_owned()).or_insert(next);
        if column == self.modules.len() {
            self.modules.push(if column == MAX_MODULES - 1 { "…".to_owned() } else { module.to_owned() });
        }
        let layer = if self.cells.len() < MAX_LAYERS || self.cells.contains_key(&layer) { layer } else { u64::MAX };
        let row = self.cells.entry(layer).or_default();
        if row.len() <= column {
            row.resize(column + 1, None);
        }
        if let Some(cell) = row.get_mut(column) {
            cell.get_or_insert_default().take(tensor);
        }
    }

    fn table(self, stack: String) -> Table {
        let width = self.modules.len();
        let (layers, cells) = self
            .cells
            .into_iter()
            .map(|(layer, mut row)| {
                row.resize(width, None);
                (layer, row)
            })
            .unzip();
        Table { stack, layers, modules: self.modules, cells }
    }
}

impl Cell {
    fn take(&mut self, tensor: &TensorChange) {
        self.tensors += 1;
        self.elements = self.elements.saturating_add(tensor.elements());
        match &tensor.state {
            State::Added => self.added += 1,
            State::Removed => self.removed += 1,
            State::Cast { .. } | State::Quantised { .. } | State::Shifted(_) => self.encoded += 1,
            State::Reshaped | State::Unread(_) | State::Resized => self.other += 1,
            State::Equal | State::Changed | State::Tied(_) => {}
        }
        if let Some(numbers) = &tensor.numbers {
            self.squares_a += numbers.squares_a;
            self.squares += numbers.squares;
            if !tensor.state.is_same() {
                self.changed += numbers.changed;
            }
        }
    }
}
