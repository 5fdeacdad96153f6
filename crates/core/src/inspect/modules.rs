//! The tensors of a checkpoint as a tree of modules, one level at a time.
//!
//! Names are cut into parts at `.` and `/`. They are sorted once, part by part and numbers by value, so that a module is a
//! range and its sums are differences; a level costs what it shows, and folding repeated layers a walk over the range.

use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use weighthouse_format::Tensor;

/// Characters that separate the parts of a name.
const SEPARATORS: [char; 2] = ['.', '/'];

/// Sorted names and running sums over them.
#[derive(Debug, Default)]
pub struct Modules {
    /// Numbers of tensors in the order of their names.
    order: Vec<u32>,
    /// Elements of all tensors before each, and of all at the end.
    elements: Vec<u64>,
    /// The same in bytes.
    bytes: Vec<u64>,
}

/// A line of a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What the line stands for.
    pub kind: RowKind,
    /// Name below the level, such as `weight`, `self_attn` or `layers.0–31`.
    pub label: String,
    /// Number of modules that are alike and stand here together; 1 for a tensor.
    pub alike: u64,
    /// Tensors, over all that are alike.
    pub tensors: u64,
    /// Elements, over all that are alike.
    pub elements: u64,
    /// Bytes of the elements, over all that are alike.
    pub size_bytes: u64,
}

/// A tensor, or a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowKind {
    /// The tensor with this number.
    Tensor(usize),
    /// The module with this name; the first, of modules that are alike.
    Module {
        /// Name of the module.
        name: String,
        /// Name of the module that holds the modules that are alike.
        parent: String,
    },
}

impl Modules {
    /// Sorts the names.
    #[must_use]
    pub fn new(tensors: &[Tensor]) -> Self {
        let count = u32::try_from(tensors.len()).unwrap_or(u32::MAX);
        let mut order: Vec<u32> = (0..count).collect();
        order.sort_by(|&one, &other| {
            let (one_name, other_name) = (name(tensors, one), name(tensors, other));
            compare(one_name, other_name).then_with(|| one_name.cmp(other_name)).then(one.cmp(&other))
        });
        let sums = |size: fn(&Tensor) -> u64| {
            let mut sum = 0u64;
            let mut sums = vec![0];
            for &number in &order {
                sum = sum.saturating_add(tensors.get(number as usize).map_or(0, size));
                sums.push(sum);
            }
            sums
        };
        let (elements, bytes) = (sums(Tensor::elements), sums(Tensor::size_bytes));
        Self { order, elements, bytes }
    }

    /// Numbers of all tensors, in the order of their names.
    pub fn sorted(&self) -> impl Iterator<Item = usize> {
        self.order.iter().map(|&number| number as usize)
    }

    /// Number of the first tensor with exactly this name.
    #[must_use]
    pub fn find(&self, tensors: &[Tensor], wanted: &str) -> Option<usize> {
        let at = self.order.partition_point(|&number| {
            let found = name(tensors, number);
            compare(found, wanted).then_with(|| found.cmp(wanted)) == Ordering::Less
        });
        self.order
            .get(at)
            .map(|&number| number as usize)
            .filter(|&number| tensors.get(number).is_some_and(|tensor| tensor.name == wanted))
    }

    /// Tensors of a module, as a range of [`Modules::sorted`]; empty when there is no such module.
    #[must_use]
    pub fn range(&self, tensors: &[Tensor], module: &str) -> Range<usize> {
        if module.is_empty() {
            return 0..self.order.len();
        }
        let begin = self.order.partition_point(|&number| prefix(name(tensors, number), module) == Ordering::Less);
        let rest = self.order.get(begin..).unwrap_or_default();
        let len = rest.partition_point(|&number| prefix(name(tensors, number), module) == Ordering::Equal);
        begin..begin + len
    }

    /// What lies directly in a module, which is `""` for the whole. With `fold`, neighbours that are numbered and alike
    /// stand together, and a module with nothing but one module in it is shown with it.
    #[must_use]
    pub fn level(&self, tensors: &[Tensor], module: &str, fold: bool) -> Vec<Row> {
        let depth = depth(module);
        let range = self.range(tensors, module);
        let mut rows: Vec<Row> = Vec::new();
        let mut previous: Option<(u64, u64)> = None;
        for group in self.groups(tensors, range, depth) {
            let mut group = group;
            // A module without a name has no address: its tensors stand for themselves.
            let nameless = head(self.name_at(tensors, group.start), depth + 1).is_empty();
            // A name that ends here sorts before the names that go on.
            while group.start < group.end && (nameless || self.parts(tensors, group.start) <= depth + 1) {
                if let Some(&number) = self.order.get(group.start) {
                    rows.push(self.tensor_row(tensors, number as usize, depth));
                }
                previous = None;
                group.start += 1;
            }
            if group.is_empty() {
                continue;
            }
            if !fold {
                rows.push(self.module_row(tensors, group, depth, depth + 1));
                continue;
            }
            let number = part(self.name_at(tensors, group.start), depth).and_then(whole_number);
            let shape = self.signature(tensors, &group, depth + 1);
            if let (Some(number), Some((before, signature))) = (number, previous)
                && signature == shape
                && number == before.saturating_add(1)
                && let Some(row) = rows.last_mut()
            {
                self.widen(row, &group, number);
                previous = Some((number, shape));
                continue;
            }
            previous = number.map(|number| (number, shape));
            rows.push(self.folded_row(tensors, group, depth));
        }
        rows
    }

    /// A module, shown with the modules in it as long as each is the only one, and with the layers if they are alike.
    fn folded_row(&self, tensors: &[Tensor], group: Range<usize>, depth: usize) -> Row {
        let mut end = depth + 1;
        let numbered = part(self.name_at(tensors, group.start), depth).and_then(whole_number).is_some();
        while !numbered && self.parts(tensors, group.start) > end + 1 {
            let first = part(self.name_at(tensors, group.start), end);
            if first != part(self.name_at(tensors, group.end - 1), end) || first.and_then(whole_number).is_some() {
                break;
            }
            end += 1;
        }
        let mut row = self.module_row(tensors, group.clone(), depth, end);
        let mut groups = self.groups(tensors, group, end).into_iter();
        let Some(first) = groups.next().filter(|_| !numbered) else { return row };
        let number = |group: &Range<usize>| part(self.name_at(tensors, group.start), end).and_then(whole_number);
        let (Some(from), true) = (number(&first), self.parts(tensors, first.start) > end + 1) else { return row };
        let signature = self.signature(tensors, &first, end + 1);
        let mut to = from;
        let mut alike = 1;
        for group in groups {
            let follows = number(&group).is_some_and(|number| number == to.saturating_add(1));
            if !follows || self.signature(tensors, &group, end + 1) != signature {
                return row;
            }
            to += 1;
            alike += 1;
        }
        if alike > 1 {
            let inner = head(self.name_at(tensors, first.start), end + 1);
            row.label = format!("{}.{from}–{to}", row.label);
            row.alike = alike;
            if let RowKind::Module { name, parent } = &mut row.kind {
                *parent = std::mem::replace(name, inner.to_owned());
            }
        }
        row
    }

    fn widen(&self, row: &mut Row, group: &Range<usize>, number: u64) {
        let first = row.label.split('–').next().unwrap_or_default();
        row.label = format!("{first}–{number}");
        row.alike += 1;
        row.tensors += group.len() as u64;
        row.elements = row.elements.saturating_add(sum(&self.elements, group));
        row.size_bytes = row.size_bytes.saturating_add(sum(&self.bytes, group));
    }

    fn tensor_row(&self, tensors: &[Tensor], number: usize, depth: usize) -> Row {
        let tensor = tensors.get(number);
        Row {
            kind: RowKind::Tensor(number),
            label: tensor.map(|tensor| tail(&tensor.name, depth).to_owned()).unwrap_or_default(),
            alike: 1,
            tensors: 1,
            elements: tensor.map_or(0, Tensor::elements),
            size_bytes: tensor.map_or(0, Tensor::size_bytes),
        }
    }

    fn module_row(&self, tensors: &[Tensor], group: Range<usize>, depth: usize, end: usize) -> Row {
        let name = head(self.name_at(tensors, group.start), end);
        Row {
            label: tail(name, depth).to_owned(),
            kind: RowKind::Module { name: name.to_owned(), parent: head(name, depth).to_owned() },
            alike: 1,
            tensors: group.len() as u64,
            elements: sum(&self.elements, &group),
            size_bytes: sum(&self.bytes, &group),
        }
    }

    /// Ranges of names with the same part at `depth`.
    fn groups(&self, tensors: &[Tensor], range: Range<usize>, depth: usize) -> Vec<Range<usize>> {
        let mut groups = Vec::new();
        let mut begin = range.start;
        while begin < range.end {
            let first = part(self.name_at(tensors, begin), depth);
            let rest = self.order.get(begin..range.end).unwrap_or_default();
            let len = rest.partition_point(|&number| part(name(tensors, number), depth) == first).max(1);
            groups.push(begin..begin + len);
            begin += len;
        }
        groups
    }

    /// A digest over what lies in a range: names below `depth`, dtypes and shapes.
    fn signature(&self, tensors: &[Tensor], range: &Range<usize>, depth: usize) -> u64 {
        let mut hasher = DefaultHasher::new();
        for &number in self.order.get(range.clone()).unwrap_or_default() {
            if let Some(tensor) = tensors.get(number as usize) {
                (tail(&tensor.name, depth), tensor.dtype, &tensor.shape).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    fn name_at<'a>(&self, tensors: &'a [Tensor], at: usize) -> &'a str {
        self.order.get(at).map_or("", |&number| name(tensors, number))
    }

    /// Number of parts of the name at a place of the order.
    fn parts(&self, tensors: &[Tensor], at: usize) -> usize {
        depth(self.name_at(tensors, at))
    }
}

fn sum(sums: &[u64], range: &Range<usize>) -> u64 {
    let at = |at: usize| sums.get(at).copied().unwrap_or(0);
    at(range.end).saturating_sub(at(range.start))
}

fn name(tensors: &[Tensor], number: u32) -> &str {
    tensors.get(number as usize).map_or("", |tensor| tensor.name.as_str())
}

/// Number of parts of a name; none for the empty one.
fn depth(name: &str) -> usize {
    if name.is_empty() { 0 } else { name.split(SEPARATORS).count() }
}

fn part(name: &str, at: usize) -> Option<&str> {
    name.split(SEPARATORS).nth(at)
}

/// The first `parts` parts of a name.
fn head(name: &str, parts: usize) -> &str {
    if parts == 0 {
        return "";
    }
    name.match_indices(SEPARATORS).nth(parts - 1).and_then(|(at, _)| name.get(..at)).unwrap_or(name)
}

/// A name without its first `parts` parts.
fn tail(name: &str, parts: usize) -> &str {
    if parts == 0 {
        return name;
    }
    name.match_indices(SEPARATORS).nth(parts - 1).and_then(|(at, _)| name.get(at + 1..)).unwrap_or("")
}

/// A part that is a number without a sign or leading zeros.
fn whole_number(part: &str) -> Option<u64> {
    let plain = part == "0" || !part.starts_with('0') && part.bytes().all(|byte| byte.is_ascii_digit());
    if plain && part.len() < 10 { part.parse().ok() } else { None }
}

/// Order of names: part by part.
fn compare(one: &str, other: &str) -> Ordering {
    let (mut ones, mut others) = (one.split(SEPARATORS), other.split(SEPARATORS));
    loop {
        match (ones.next(), others.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(one), Some(other)) => match compare_parts(one, other) {
                Ordering::Equal => {}
                order => return order,
            },
        }
    }
}

/// Order of a name against the names that begin with the parts of `module`.
fn prefix(name: &str, module: &str) -> Ordering {
    let mut parts = name.split(SEPARATORS);
    for wanted in module.split(SEPARATORS) {
        match parts.next().map(|part| compare_parts(part, wanted)) {
            None => return Ordering::Less,
            Some(Ordering::Equal) => {}
            Some(order) => return order,
        }
    }
    Ordering::Equal
}

/// Order of parts: runs of digits by value, everything else by character; equal only if they are the same.
fn compare_parts(one: &str, other: &str) -> Ordering {
    let (mut left, mut right) = (one.as_bytes(), other.as_bytes());
    while let (Some(a), Some(b)) = (left.first(), right.first()) {
        if a.is_ascii_digit() && b.is_ascii_digit() {
            let (one_run, one_rest) = digits(left);
            let (other_run, other_rest) = digits(right);
            match one_run.len().cmp(&other_run.len()).then_with(|| one_run.cmp(other_run)) {
                Ordering::Equal => (left, right) = (one_rest, other_rest),
                order => return order,
            }
        } else if a == b {
            (left, right) = (left.get(1..).unwrap_or_default(), right.get(1..).unwrap_or_default());
        } else {
            return a.cmp(b);
        }
    }
    left.len().cmp(&right.len()).then_with(|| one.cmp(other))
}

/// The digits that a text begins with, without leading zeros, and the rest.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (run, rest) = text.split_at(len);
    let zeros = run.iter().take_while(|&&byte| byte == b'0').count();
    (run.get(zeros..).unwrap_or_default(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weighthouse_format::Dtype;
    use weighthouse_format::tensor::Stored;

    fn tensors(names: &[&str]) -> Vec<Tensor> {
        names.iter().map(|name| Tensor::plain(*name, Dtype::F32, vec![2], Stored::inline(&[0; 8]))).collect()
    }

    fn labels(names: &[&str], module: &str, fold: bool) -> Vec<String> {
        let tensors = tensors(names);
        let rows = Modules::new(&tensors).level(&tensors, module, fold);
        rows.iter().map(|row| format!("{} {}×{}", row.label, row.alike, row.tensors)).collect()
    }

    #[test]
    fn layers_that_are_alike_stand_together_in_the_order_of_their_numbers() {
        let mut names = vec!["embed.weight".to_owned(), "head".to_owned()];
        for layer in 0..12 {
            names.push(format!("model.layers.{layer}.mlp.w"));
            names.push(format!("model.layers.{layer}.norm"));
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(labels(&names, "", true), ["embed 1×1", "head 1×1", "model.layers.0–11 12×24"]);
        assert_eq!(labels(&names, "model.layers", true), ["0–11 12×24"]);
        assert_eq!(labels(&names, "model.layers", false).len(), 12);
        assert_eq!(labels(&names, "model.layers", false)[10], "10 1×2");
        assert_eq!(labels(&names, "model.layers.10", true), ["mlp 1×1", "norm 1×1"]);
        assert_eq!(labels(&names, "model/layers/10", true).len(), 2);
        assert!(labels(&names, "model.layers.1", true).len() == 2 && labels(&names, "nothing", true).is_empty());
    }

    #[test]
    fn a_layer_that_differs_stands_alone() {
        let names = ["l.0.a", "l.1.b", "l.2.b", "l.3.b", "l.5.b", "l.x.b"];
        assert_eq!(labels(&names, "", true), ["l 1×6"]);
        assert_eq!(labels(&names, "l", true), ["0 1×1", "1–3 3×3", "5 1×1", "x 1×1"]);
    }

    #[test]
    fn odd_names_are_names_too() {
        let names = ["", "a", "a.", "a..b", "a.b", "a/b", ".", "a", "01", "1", "x\u{202e}\0<b>"];
        let tensors = tensors(&names);
        let modules = Modules::new(&tensors);
        for name in names {
            let found = modules.find(&tensors, name).unwrap();
            assert_eq!(tensors[found].name, name);
        }
        assert_eq!(modules.find(&tensors, "a.c"), None);
        let shown: u64 = modules.level(&tensors, "", true).iter().map(|row| row.tensors).sum();
        assert_eq!(shown, names.len() as u64);
    }

    proptest! {
        #[test]
        fn every_tensor_is_under_exactly_one_row_of_each_level(
            names in prop::collection::vec("[a-b0-3./]{0,8}", 1..60), fold: bool
        ) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let tensors = tensors(&names);
            let modules = Modules::new(&tensors);
            let mut open = vec![String::new()];
            let mut steps = 0;
            while let Some(module) = open.pop() {
                let whole = modules.range(&tensors, &module).len() as u64;
                let rows = modules.level(&tensors, &module, fold);
                // Tensors named exactly like the module are shown by its own line.
                prop_assert_eq!(rows.iter().map(|row| row.tensors).sum::<u64>(), whole, "{}", module);
                prop_assert_eq!(rows.iter().map(|row| row.elements).sum::<u64>(), 2 * whole);
                for row in rows {
                    if let RowKind::Module { name, .. } = row.kind {
                        prop_assert!(depth(&name) > depth(&module), "{} in {}", name, module);
                        open.push(name);
                    }
                }
                steps += 1;
                prop_assert!(steps < 2_000);
            }
        }

        #[test]
        fn names_have_one_order(one in "[a-b0-2.]{0,6}", two in "[a-b0-2.]{0,6}", three in "[a-b0-2.]{0,6}") {
            prop_assert_eq!(compare(&one, &two), compare(&two, &one).reverse());
            if compare(&one, &two) != Ordering::Greater && compare(&two, &three) != Ordering::Greater {
                prop_assert_ne!(compare(&one, &three), Ordering::Greater);
            }
        }
    }
}
