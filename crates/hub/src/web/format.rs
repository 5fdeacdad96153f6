//! Numbers, sizes and dates as readers like them.

pub(super) use weighthouse::words::digits as exact;

use std::fmt;

use askama::filters::HtmlSafe;

use crate::wire::time::format_millis;

/// An instant: how long ago, with the exact time at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct When {
    iso: String,
    text: String,
}

impl When {
    pub fn new(unix_ms: i64, now_ms: i64) -> Self {
        let iso = format_millis(unix_ms);
        Self { text: ago(unix_ms, now_ms, &iso), iso }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = self.iso.replace('T', " ");
        let exact = exact.get(..19).unwrap_or(&exact);
        write!(f, "<time datetime=\"{}\" title=\"{exact} UTC\">{}</time>", self.iso, self.text)
    }
}

// Digits, dashes and words of this module only.
impl HtmlSafe for When {}

/// `3 hours ago`; the date if it is long ago or not yet.
fn ago(unix_ms: i64, now_ms: i64, iso: &str) -> String {
    let minutes = (now_ms - unix_ms).div_euclid(60_000);
    let some = |count: i64, unit: &str| format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" });
    match minutes {
        -1..=0 => "just now".to_owned(),
        1..60 => some(minutes, "minute"),
        60..1_440 => some(minutes / 60, "hour"),
        1_440..43_200 => some(minutes / 1_440, "day"),
        _ => iso.get(..10).unwrap_or(iso).to_owned(),
    }
}

/// `1.2 GB`, in powers of a thousand as the Hub writes them.
pub(super) fn size(bytes: u64) -> String {
    if bytes == 1 {
        return "1 byte".to_owned();
    }
    scaled(bytes, &["bytes", "kB", "MB", "GB", "TB", "PB"], " ")
}

/// `110M`, for parameters and downloads.
pub(super) fn count(number: u64) -> String {
    scaled(number, &["", "k", "M", "B", "T", "P"], "")
}

fn scaled(number: u64, units: &[&str], space: &str) -> String {
    let number = u128::from(number);
    let mut divisor = 1;
    for (index, unit) in units.iter().enumerate() {
        let tenths = (number * 10 + divisor / 2) / divisor;
        // What would be written with four digits goes to the next unit.
        if tenths < 10_000 || index + 1 == units.len() {
            let text = match tenths {
                tenths if index > 0 && tenths < 1_000 => format!("{}.{}", tenths / 10, tenths % 10),
                _ => ((number + divisor / 2) / divisor).to_string(),
            };
            return format!("{text}{space}{unit}").trim_end().to_owned();
        }
        divisor *= 1_000;
    }
    number.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_round() {
        let shown: Vec<String> = [0, 999, 1_000, 1_549, 99_960, 999_960, 2_000_000_000, u64::MAX].map(size).into();
        let wanted = ["0 bytes", "999 bytes", "1.0 kB", "1.5 kB", "100 kB", "1.0 MB", "2.0 GB", "18447 PB"];
        assert_eq!(shown, wanted);
        assert_eq!(count(109_482_240), "109M");
        assert_eq!(count(7_615_616_512), "7.6B");
        assert_eq!(exact(109_482_240), "109,482,240");
        assert_eq!(exact(12), "12");
    }

    #[test]
    fn dates_say_how_long_ago() {
        let shown = |ago_ms: i64| When::new(1_795_416_660_000 - ago_ms, 1_795_416_660_000).to_string();
        assert!(shown(5_000).contains(">just now<"));
        assert!(shown(3_600_000).contains(">1 hour ago<"));
        assert!(shown(3 * 86_400_000).contains(">3 days ago<"));
        assert!(shown(90 * 86_400_000).contains(">2026-08-25<"));
    }
}
