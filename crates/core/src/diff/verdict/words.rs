//! Numbers as they stand in a sentence.

pub(super) use crate::words::digits;

/// A number of things.
pub(super) fn many(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{} {noun}s", digits(number)) }
}

/// A share in percent; what is not all is never 100 %, and what is something never 0 %.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        _ if share <= 0.0 => "0 %".to_owned(),
        _ if share >= 1.0 => "100 %".to_owned(),
        ..0.01 => "less than 0.01 %".to_owned(),
        0.01..0.995 => format!("{percent:.2} %"),
        99.95.. => "more than 99.9 %".to_owned(),
        _ => format!("{percent:.1} %"),
    }
}

/// A real number with three digits.
pub(super) fn real(number: f64) -> String {
    let magnitude = number.abs();
    if number == 0.0 {
        "0".to_owned()
    } else if (1e-3..1e4).contains(&magnitude) {
        let places = if magnitude >= 100.0 {
            0
        } else if magnitude >= 10.0 {
            1
        } else if magnitude >= 1.0 {
            2
        } else {
            4
        };
        format!("{number:.places$}")
    } else {
        format!("{number:.2e}")
    }
}

/// A cosine with as many digits as tell it from one.
pub(super) fn cosine(cosine: f64) -> String {
    let away = 1.0 - cosine;
    if away <= 0.0 {
        return "1".to_owned();
    }
    let places = (2.0 - away.log10()).ceil().clamp(2.0, 12.0) as usize;
    format!("{cosine:.places$}")
}

/// A few names; the rest is counted.
pub(super) fn list(names: &[String], most: usize) -> String {
    if names.len() <= most {
        return names.join(", ");
    }
    let shown = names.get(..most - 1).unwrap_or_default().join(", ");
    format!("{shown} and {} more", names.len() - most + 1)
}

/// `8`, or `4–16`; nothing of nothing.
pub(super) fn range(sorted: &[u64]) -> Option<String> {
    let (first, last) = (sorted.first()?, sorted.last()?);
    Some(if first == last { first.to_string() } else { format!("{first}–{last}") })
}

/// Ascending numbers as `0–3, 7, 9–10`.
pub(super) fn ranges(sorted: &[u64]) -> String {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for &number in sorted {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let names: Vec<String> = runs
        .into_iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}–{last}") })
        .collect();
    list(&names, 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_do_not_lie() {
        assert_eq!((percent(0.99999).as_str(), percent(1e-9).as_str()), ("more than 99.9 %", "less than 0.01 %"));
        assert_eq!(
            (percent(0.372).as_str(), percent(0.0012).as_str(), percent(0.0).as_str()),
            ("37.2 %", "0.12 %", "0 %")
        );
        assert_eq!((cosine(0.999_87).as_str(), cosine(1.0).as_str(), cosine(0.5).as_str()), ("0.999870", "1", "0.500"));
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0–2, 5, 7–8");
        assert_eq!((real(0.012_34).as_str(), real(1e-5).as_str()), ("0.0123", "1.00e-5"));
        assert_eq!((many(1, "tensor").as_str(), many(1234, "tensor").as_str()), ("1 tensor", "1,234 tensors"));
    }
}
