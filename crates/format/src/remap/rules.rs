//! Tables of names in two schemes, and the machine that carries tensors over them in either direction.
//!
//! A pattern is a name in which `#` stands for a number and a `*` at the end for the rest. What they matched is put in
//! the same places of the other side. A line has one name on the left and one or several on the right; several are the
//! equal parts of the left one along its first axis, such as query, key and value.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use crate::arrange;
use crate::error::FormatError;
use crate::tensor::Tensor;

/// A name or a pattern.
pub(super) type Name = Cow<'static, str>;

/// A tensor under a new name, and the name it had.
#[derive(Clone, Debug)]
pub(super) struct Made {
    /// What is to be written.
    pub(super) tensor: Tensor,
    /// The name in the checkpoint that was read.
    pub(super) from: String,
}

/// One line of a table.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    left: Name,
    right: Vec<Name>,
    change: Change,
}

/// What happens to the elements between left and right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    Same,
    /// A matrix is transposed; everything else stays.
    Matrix,
    /// Left a convolution over single points `[out, in, 1, 1]`, right a matrix `[out, in]`.
    Pointwise,
}

/// Which way a table is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From left to right.
    Forward,
    /// From right to left.
    Backward,
}

/// Lines, and names that one side has and the other does not need.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    rules: Vec<Rule>,
    /// Patterns that are dropped on the way, and why.
    dropped: Vec<(Way, Name, &'static str)>,
}

impl Table {
    /// The same elements under two names.
    pub(super) fn same(&mut self, left: impl Into<Name>, right: impl Into<Name>) -> &mut Self {
        self.change(left, right, Change::Same)
    }

    /// Elements that change their places.
    pub(super) fn change(&mut self, left: impl Into<Name>, right: impl Into<Name>, change: Change) -> &mut Self {
        self.rules.push(Rule { left: left.into(), right: vec![right.into()], change });
        self
    }

    /// One tensor on the left, its equal parts along the first axis on the right.
    pub(super) fn fused<const N: usize>(&mut self, left: impl Into<Name>, right: [Name; N]) -> &mut Self {
        self.rules.push(Rule { left: left.into(), right: right.to_vec(), change: Change::Same });
        self
    }

    /// Names that are left out on this way.
    pub(super) fn drop(&mut self, way: Way, pattern: impl Into<Name>, why: &'static str) -> &mut Self {
        self.dropped.push((way, pattern.into(), why));
        self
    }

    /// Carries all tensors over.
    ///
    /// # Errors
    /// [`FormatError::Unsupported`] naming the tensor that no line takes, or the part that a fused tensor lacks.
    pub(super) fn apply(&self, way: Way, made: Vec<Made>, notes: &mut Vec<String>) -> Result<Vec<Made>, FormatError> {
        let (left, rest) = self.take(way, made, notes)?;
        match rest.first() {
            Some(first) => Err(refused(format!("no rule says what `{}` is called", first.from))),
            None => Ok(left),
        }
    }

    /// Carries over what the table knows; the second list is what it does not.
    ///
    /// # Errors
    /// As [`Table::apply`], but for names that no line takes.
    pub(super) fn take(
        &self,
        way: Way,
        made: Vec<Made>,
        notes: &mut Vec<String>,
    ) -> Result<(Vec<Made>, Vec<Made>), FormatError> {
        let (mut done, mut rest) = (Vec::new(), Vec::new());
        let mut fused = Fused::default();
        let mut gone: BTreeMap<&str, (String, usize)> = BTreeMap::new();
        for Made { tensor, from } in made {
            let drop =
                self.dropped.iter().find(|(on, pattern, _)| *on == way && matches(pattern, &tensor.name).is_some());
            if let Some((_, _, why)) = drop {
                gone.entry(why).or_insert_with(|| (from, 0)).1 += 1;
                continue;
            }
            let Some((rule, part, found)) = self.find(way, &tensor.name) else {
                rest.push(Made { tensor, from });
                continue;
            };
            match (way, rule.right.as_slice()) {
                (Way::Forward, [right]) => {
                    let tensor = rule.change.forward(&tensor, &filled(right, &found))?;
                    done.push(Made { tensor, from });
                }
                (Way::Forward, parts) => {
                    for (number, right) in parts.iter().enumerate() {
                        let name = filled(right, &found);
                        done.push(Made { tensor: part_of(&tensor, number, parts.len(), &name)?, from: from.clone() });
                    }
                }
                (Way::Backward, [_]) => {
                    let tensor = rule.change.backward(&tensor, &filled(&rule.left, &found))?;
                    done.push(Made { tensor, from });
                }
                (Way::Backward, parts) => {
                    let names = parts.iter().map(|right| filled(right, &found)).collect();
                    done.extend(fused.add(filled(&rule.left, &found), names, part, Made { tensor, from })?);
                }
            }
        }
        fused.finish()?;
        notes.extend(gone.into_iter().map(|(why, (first, number))| match number {
            1 => format!("`{first}` is left out: {why}"),
            _ => format!("{number} tensors are left out, `{first}` first: {why}"),
        }));
        Ok((done, rest))
    }

    /// The name on the other side, where it has one alone.
    pub(super) fn name(&self, way: Way, name: &str) -> Option<String> {
        let (rule, _, found) = self.find(way, name)?;
        match (way, rule.right.as_slice()) {
            (Way::Forward, [right]) => Some(filled(right, &found)),
            (Way::Backward, _) => Some(filled(&rule.left, &found)),
            _ => None,
        }
    }

    /// The first line that knows the name, which of its parts it is, and what its places stand for.
    fn find<'n>(&self, way: Way, name: &'n str) -> Option<(&Rule, usize, Vec<&'n str>)> {
        self.rules.iter().find_map(|rule| match way {
            Way::Forward => Some((rule, 0, matches(&rule.left, name)?)),
            Way::Backward => {
                let part = |(part, right): (usize, &Name)| Some((rule, part, matches(right, name)?));
                rule.right.iter().enumerate().find_map(part)
            }
        })
    }
}

/// Parts of fused tensors that wait for the others.
#[derive(Default)]
pub(super) struct Fused {
    waiting: BTreeMap<String, (Vec<String>, Vec<Option<Made>>)>,
}

impl Fused {
    /// Takes a part; gives the whole once its last part is there.
    pub(super) fn add(
        &mut self,
        whole: String,
        names: Vec<String>,
        part: usize,
        made: Made,
    ) -> Result<Option<Made>, FormatError> {
        let (_, parts) = self.waiting.entry(whole.clone()).or_insert_with(|| {
            let parts = names.iter().map(|_| None).collect();
            (names, parts)
        });
        if let Some(place) = parts.get_mut(part) {
            if let Some(other) = place {
                return Err(collision(&other.from, &made.from, &whole));
            }
            *place = Some(made);
        }
        if parts.iter().any(Option::is_none) {
            return Ok(None);
        }
        let parts: Vec<Made> = self.waiting.remove(&whole).into_iter().flat_map(|(_, parts)| parts).flatten().collect();
        let tensors: Vec<&Tensor> = parts.iter().map(|made| &made.tensor).collect();
        let tensor = arrange::concat(0, &tensors, &whole)?;
        Ok(Some(Made { tensor, from: parts.into_iter().next().map(|made| made.from).unwrap_or_default() }))
    }

    /// Complains of wholes that lack a part.
    pub(super) fn finish(self) -> Result<(), FormatError> {
        let lacking = self.waiting.into_iter().find_map(|(whole, (names, parts))| {
            let missing = parts.iter().position(Option::is_none)?;
            Some(format!("`{whole}` is made of several tensors, and `{}` is not there", names.get(missing)?))
        });
        lacking.map_or(Ok(()), |detail| Err(refused(detail)))
    }
}

impl Change {
    fn forward(self, tensor: &Tensor, name: &str) -> Result<Tensor, FormatError> {
        match (self, tensor.shape.as_slice()) {
            (Self::Matrix, [_, _]) => arrange::transpose(tensor, name),
            (Self::Pointwise, [out, into, rest @ ..]) if !rest.is_empty() && rest.iter().all(|&extent| extent == 1) => {
                arrange::reshape(tensor, &[*out, *into], name)
            }
            _ => Ok(renamed(tensor, name)),
        }
    }

    fn backward(self, tensor: &Tensor, name: &str) -> Result<Tensor, FormatError> {
        match (self, tensor.shape.as_slice()) {
            (Self::Matrix, [_, _]) => arrange::transpose(tensor, name),
            (Self::Pointwise, [out, into]) => arrange::reshape(tensor, &[*out, *into, 1, 1], name),
            _ => Ok(renamed(tensor, name)),
        }
    }
}

/// Part `number` of `parts` equal ones along the first axis.
pub(super) fn part_of(tensor: &Tensor, number: usize, parts: usize, name: &str) -> Result<Tensor, FormatError> {
    let rows = tensor.shape.first().copied().unwrap_or(0);
    let (number, parts) = (number as u64, parts as u64);
    if rows == 0 || !rows.is_multiple_of(parts) {
        let shape = &tensor.shape;
        return Err(refused(format!("`{}` of shape {shape:?} does not divide in {parts} equal parts", tensor.name)));
    }
    let len = rows / parts;
    arrange::slice(tensor, 0, number * len..(number + 1) * len, name)
}

/// The same tensor under another name.
pub(super) fn renamed(tensor: &Tensor, name: &str) -> Tensor {
    Tensor { name: name.to_owned(), ..tensor.clone() }
}

/// What the places of a pattern stand for in a name; `None` when it is another name.
pub(super) fn matches<'n>(pattern: &str, name: &'n str) -> Option<Vec<&'n str>> {
    let (mut pattern, mut name) = (pattern, name);
    let mut found = Vec::new();
    while let Some(at) = pattern.find(['#', '*']) {
        let (literal, rest) = pattern.split_at(at);
        name = name.strip_prefix(literal)?;
        if rest.starts_with('*') {
            found.push(name);
            return (!name.is_empty()).then_some(found);
        }
        let digits = name.len() - name.trim_start_matches(|character: char| character.is_ascii_digit()).len();
        let (number, after) = name.split_at(digits);
        if number.is_empty() || number.len() > 9 {
            return None;
        }
        found.push(number);
        (pattern, name) = (rest.strip_prefix('#')?, after);
    }
    (pattern == name).then_some(found)
}

/// A pattern with its places filled, in order.
pub(super) fn filled(pattern: &str, found: &[&str]) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut found = found.iter();
    for character in pattern.chars() {
        match character {
            '#' | '*' => out.push_str(found.next().copied().unwrap_or_default()),
            character => out.push(character),
        }
    }
    out
}

/// Refuses two tensors under one name.
pub(super) fn unique(made: &[Made]) -> Result<(), FormatError> {
    let mut seen: HashMap<&str, &str> = HashMap::with_capacity(made.len());
    for Made { tensor, from } in made {
        if let Some(other) = seen.insert(&tensor.name, from) {
            return Err(collision(other, from, &tensor.name));
        }
    }
    Ok(())
}

fn collision(one: &str, other: &str, name: &str) -> FormatError {
    refused(format!("`{one}` and `{other}` would both be called `{name}`"))
}

/// A remap that cannot be done.
pub(super) fn refused(detail: String) -> FormatError {
    FormatError::Unsupported { what: "this change of names", detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Dtype;
    use crate::tensor::Stored;

    fn made(name: &str, shape: &[u64]) -> Made {
        let bytes = vec![0; 4 * shape.iter().product::<u64>() as usize];
        Made { tensor: Tensor::plain(name, Dtype::F32, shape.to_vec(), Stored::inline(&bytes)), from: name.to_owned() }
    }

    fn table() -> Table {
        let mut table = Table::default();
        table
            .same("blocks.#.norm.*", "layer.#.ln.*")
            .fused("blocks.#.qkv.*", ["layer.#.q.*".into(), "layer.#.k.*".into(), "layer.#.v.*".into()]);
        table.drop(Way::Backward, "pooler.*", "the left side has none");
        table
    }

    #[test]
    fn numbers_and_rests_are_carried_over() {
        assert_eq!(matches("a.#.b.*", "a.12.b.weight"), Some(vec!["12", "weight"]));
        for other in ["a..b.weight", "a.x.b.weight", "a.12.b.", "a.1234567890.b.x", "a.12.c.x"] {
            assert_eq!(matches("a.#.b.*", other), None, "{other}");
        }
        assert_eq!(matches("a.b", "a.b.c"), None);
        assert_eq!(filled("x#y*", &["1", "z"]), "x1yz");
    }

    #[test]
    fn a_name_that_no_rule_takes_is_named() {
        let error = table().apply(Way::Forward, vec![made("blocks.0.other", &[1])], &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("`blocks.0.other`"), "{error}");
    }

    #[test]
    fn a_missing_part_of_a_fused_tensor_is_named() {
        let parts = vec![made("layer.3.q.weight", &[2, 2]), made("layer.3.v.weight", &[2, 2])];
        let error = table().apply(Way::Backward, parts, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("`layer.3.k.weight`"), "{error}");
    }

    #[test]
    fn two_tensors_under_one_name_are_both_named() {
        let twice = vec![made("a", &[1]), Made { from: "b".to_owned(), ..made("a", &[1]) }];
        let text = unique(&twice).unwrap_err().to_string();
        assert!(text.contains("`a` and `b`"), "{text}");
    }

    #[test]
    fn what_does_not_divide_is_refused() {
        let error = table().apply(Way::Forward, vec![made("blocks.0.qkv.weight", &[4, 2])], &mut Vec::new());
        assert!(error.unwrap_err().to_string().contains("equal parts"));
    }

    #[test]
    fn what_is_left_out_is_noted() {
        let mut notes = Vec::new();
        let done = table().apply(Way::Backward, vec![made("pooler.weight", &[1])], &mut notes).unwrap();
        assert!(done.is_empty());
        assert_eq!(notes, ["`pooler.weight` is left out: the left side has none"]);
    }
}
