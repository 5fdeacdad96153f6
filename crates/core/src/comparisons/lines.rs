//! Lines of two texts that differ, with a few around them.
//!
//! # Source
//! E. Myers, *An O(ND) Difference Algorithm and Its Variations*, Algorithmica 1 (1986), the greedy form.

/// Lines around a change that are shown.
const AROUND: usize = 3;
/// Most lines that are added and removed; two texts that differ in more are shown as one replaced by the other.
const MAX_CHANGES: usize = 1_000;
/// Lines of a text that are looked at.
const MAX_LINES: usize = 10_000;

/// How a text became another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Changes with what is around them, in order.
    pub hunks: Vec<Hunk>,
    /// Lines that were added.
    pub added: usize,
    /// Lines that were removed.
    pub removed: usize,
}

/// Lines that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hunk {
    /// Number of its first line in the first text, from 1.
    pub first_a: usize,
    /// Number of its first line in the second text, from 1.
    pub first_b: usize,
    /// The lines.
    pub lines: Vec<LineChange>,
}

/// A line, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineChange {
    /// In both texts.
    Same(String),
    /// Only in the first.
    Removed(String),
    /// Only in the second.
    Added(String),
}

#[derive(Clone, Copy)]
enum Step {
    Same(usize, usize),
    Removed(usize, usize),
    Added(usize, usize),
}

impl Lines {
    /// Compares two texts. Takes time and memory of at most a million steps.
    #[must_use]
    pub fn between(a: &str, b: &str) -> Self {
        let (a, b): (Vec<&str>, Vec<&str>) = (a.lines().take(MAX_LINES).collect(), b.lines().take(MAX_LINES).collect());
        let steps = steps(&a, &b);
        let changed: Vec<usize> =
            steps.iter().enumerate().filter(|(_, step)| !matches!(step, Step::Same(..))).map(|(at, _)| at).collect();
        let mut found = Self::default();
        let mut end = 0;
        for at in changed {
            let begin = at.saturating_sub(AROUND);
            if begin >= end || found.hunks.is_empty() {
                end = begin;
                let (first_a, first_b) = match steps.get(begin) {
                    Some(Step::Same(i, j) | Step::Removed(i, j) | Step::Added(i, j)) => (i + 1, j + 1),
                    None => (1, 1),
                };
                found.hunks.push(Hunk { first_a, first_b, lines: Vec::new() });
            }
            let upto = (at + AROUND + 1).min(steps.len());
            let Some(hunk) = found.hunks.last_mut() else { continue };
            for step in steps.get(end..upto).unwrap_or_default() {
                let line = |lines: &[&str], number: usize| lines.get(number).map_or("", |line| *line).to_owned();
                hunk.lines.push(match *step {
                    Step::Same(i, _) => LineChange::Same(line(&a, i)),
                    Step::Removed(i, _) => {
                        found.removed += 1;
                        LineChange::Removed(line(&a, i))
                    }
                    Step::Added(_, j) => {
                        found.added += 1;
                        LineChange::Added(line(&b, j))
                    }
                });
            }
            end = end.max(upto);
        }
        found
    }
}

/// The shortest way from one list of lines to the other.
fn steps(a: &[&str], b: &[&str]) -> Vec<Step> {
    let begin = a.iter().zip(b).take_while(|(one, other)| one == other).count();
    let (rest_a, rest_b) = (a.get(begin..).unwrap_or_default(), b.get(begin..).unwrap_or_default());
    let end = rest_a.iter().rev().zip(rest_b.iter().rev()).take_while(|(one, other)| one == other).count();
    let (mid_a, mid_b) =
        (rest_a.get(..rest_a.len() - end).unwrap_or_default(), rest_b.get(..rest_b.len() - end).unwrap_or_default());
    let mut found: Vec<Step> = (0..begin).map(|at| Step::Same(at, at)).collect();
    found.extend(middle(mid_a, mid_b).into_iter().map(|step| match step {
        Step::Same(i, j) => Step::Same(begin + i, begin + j),
        Step::Removed(i, j) => Step::Removed(begin + i, begin + j),
        Step::Added(i, j) => Step::Added(begin + i, begin + j),
    }));
    let (from_a, from_b) = (begin + mid_a.len(), begin + mid_b.len());
    found.extend((0..end).map(|at| Step::Same(from_a + at, from_b + at)));
    found
}

fn middle(a: &[&str], b: &[&str]) -> Vec<Step> {
    let most = (a.len() + b.len()).min(MAX_CHANGES);
    let offset = most + 1;
    let mut furthest = vec![0usize; 2 * offset + 1];
    let mut trace: Vec<Vec<usize>> = Vec::new();
    for distance in 0..=most {
        trace.push(furthest.get(offset - distance..=offset + distance).unwrap_or_default().to_vec());
        for step in 0..=distance {
            // Diagonal k = 2·step − distance, kept at `offset + k`.
            let at = offset + 2 * step - distance;
            let read = |at: usize| furthest.get(at).copied().unwrap_or(0);
            let down = step == 0 || (step != distance && read(at - 1) < read(at + 1));
            let mut x = if down { read(at + 1) } else { read(at - 1) + 1 };
            let mut y = (x + distance).saturating_sub(2 * step);
            while x < a.len() && y < b.len() && a.get(x) == b.get(y) {
                x += 1;
                y += 1;
            }
            if let Some(place) = furthest.get_mut(at) {
                *place = x;
            }
            if x >= a.len() && y >= b.len() {
                return back(a.len(), b.len(), &trace);
            }
        }
    }
    // Too different: one text takes the place of the other.
    let removed = (0..a.len()).map(|i| Step::Removed(i, 0));
    removed.chain((0..b.len()).map(|j| Step::Added(a.len(), j))).collect()
}

/// Follows the furthest points back to the beginning. `trace[d]` has the diagonals `-d..=d` as they were before step `d`.
fn back(mut x: usize, mut y: usize, trace: &[Vec<usize>]) -> Vec<Step> {
    let mut found = Vec::new();
    for (distance, points) in trace.iter().enumerate().rev() {
        let read = |k: isize| {
            let at = k + distance as isize;
            usize::try_from(at).ok().and_then(|at| points.get(at)).copied().unwrap_or(0)
        };
        let k = x as isize - y as isize;
        let d = distance as isize;
        let down = k == -d || (k != d && read(k - 1) < read(k + 1));
        let before_k = if down { k + 1 } else { k - 1 };
        let (before_x, before_y) = if distance == 0 {
            (0, 0)
        } else {
            let before_x = read(before_k);
            (before_x, usize::try_from(before_x as isize - before_k).unwrap_or(0))
        };
        while x > before_x && y > before_y {
            x -= 1;
            y -= 1;
            found.push(Step::Same(x, y));
        }
        if distance > 0 {
            if down {
                y = y.saturating_sub(1);
                found.push(Step::Added(x, y));
            } else {
                x = x.saturating_sub(1);
                found.push(Step::Removed(x, y));
            }
        }
    }
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(a: &str, b: &str) -> String {
        let found = Lines::between(a, b);
        let mut text = String::new();
        for hunk in &found.hunks {
            text += &format!("@{},{}", hunk.first_a, hunk.first_b);
            for line in &hunk.lines {
                text += &match line {
                    LineChange::Same(line) => format!(" ={line}"),
                    LineChange::Removed(line) => format!(" -{line}"),
                    LineChange::Added(line) => format!(" +{line}"),
                };
            }
        }
        text
    }

    #[test]
    fn a_change_is_shown_with_what_is_around_it() {
        assert_eq!(shown("a\nb\nc", "a\nx\nc"), "@1,1 =a -b +x =c");
        assert_eq!(shown("", "a\nb"), "@1,1 +a +b");
        assert_eq!(shown("a", ""), "@1,1 -a");
        assert_eq!(shown("a\nb", "a\nb\n"), "", "a line feed at the end is no line");
        let many: Vec<String> = (0..30).map(|n| n.to_string()).collect();
        let mut other = many.clone();
        other[2] = "x".to_owned();
        other.remove(20);
        let found = shown(&many.join("\n"), &other.join("\n"));
        assert_eq!(found, "@1,1 =0 =1 -2 +x =3 =4 =5@18,18 =17 =18 =19 -20 =21 =22 =23");
    }

    #[test]
    fn texts_with_nothing_in_common_take_each_others_place() {
        let of = |prefix: &str| (0..2_000).map(|n| format!("{prefix}{n}")).collect::<Vec<_>>().join("\n");
        let found = Lines::between(&of("a"), &of("b"));
        assert_eq!((found.removed, found.added, found.hunks.len()), (2_000, 2_000, 1));
    }

    proptest! {
        #[test]
        fn the_second_text_comes_out_of_the_first(a in "[ab\n]{0,60}", b in "[abc\n]{0,60}") {
            let (lines_a, lines_b): (Vec<&str>, Vec<&str>) = (a.lines().collect(), b.lines().collect());
            let (mut one, mut other) = (Vec::new(), Vec::new());
            for step in steps(&lines_a, &lines_b) {
                match step {
                    Step::Same(i, j) => { one.push(i); other.push(j); prop_assert_eq!(lines_a[i], lines_b[j]); }
                    Step::Removed(i, _) => one.push(i),
                    Step::Added(_, j) => other.push(j),
                }
            }
            prop_assert_eq!(one, (0..lines_a.len()).collect::<Vec<_>>());
            prop_assert_eq!(other, (0..lines_b.len()).collect::<Vec<_>>());
        }
    }
}
