//! Dates as the Hub writes them: `2026-11-23T06:51:00.000Z`.
//!
//! Clients parse `%Y-%m-%dT%H:%M:%S.%fZ` and refuse an offset such as `+00:00`, so the trailing
//! `Z` and the fraction are always written.
//!
//! Source of the calendar arithmetic: Howard Hinnant, *chrono-Compatible Low-Level Date
//! Algorithms* (`days_from_civil`, `civil_from_days`).

const MILLIS_PER_DAY: i64 = 86_400_000;

/// Earliest instant that has a four-digit year: `0000-01-01T00:00:00.000Z`.
const MIN_MILLIS: i64 = -62_167_219_200_000;
/// Latest instant that has a four-digit year: `9999-12-31T23:59:59.999Z`.
const MAX_MILLIS: i64 = 253_402_300_799_999;

/// Writes an instant in the Hub's form.
///
/// # Shapes and units
/// - `unix_ms`: milliseconds since 1970-01-01 UTC; instants outside the years 0 to 9999 are
///   written as the nearest instant inside them
#[must_use]
pub fn format_millis(unix_ms: i64) -> String {
    let unix_ms = unix_ms.clamp(MIN_MILLIS, MAX_MILLIS);
    let (year, month, day) = civil_from_days(unix_ms.div_euclid(MILLIS_PER_DAY));
    let in_day = unix_ms.rem_euclid(MILLIS_PER_DAY);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, milli) = (in_day / 1000 % 60, in_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Writes an instant given in whole seconds; see [`format_millis`].
#[must_use]
pub fn format_seconds(unix_s: i64) -> String {
    format_millis(unix_s.saturating_mul(1000))
}

/// Reads what [`format_millis`] writes, with any number of fraction digits or none.
///
/// Returns milliseconds since 1970-01-01 UTC (finer digits are dropped), or `None` when the text
/// has another shape or names a day that does not exist.
#[must_use]
pub fn parse_millis(text: &str) -> Option<i64> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let milli = fraction.bytes().chain([b'0'; 3]).take(3).fold(0, |sum, b| sum * 10 + i64::from(b - b'0'));
    let days = days_from_civil(year, month, day);
    let real_day = (1..=12).contains(&month) && civil_from_days(days) == (year, month, day);
    (real_day && hour < 24 && minute < 60 && second < 60)
        .then(|| days * MILLIS_PER_DAY + ((hour * 60 + minute) * 60 + second) * 1000 + milli)
}

/// Splits `text` into three numbers of exactly the given numbers of digits.
fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut out = [0; 3];
    for (slot, width) in out.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *slot = part.parse().ok()?;
    }
    parts.next().is_none().then_some(out)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_instants_are_written_as_the_hub_writes_them() {
        assert_eq!(format_millis(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(format_seconds(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(format_millis(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(format_millis(i64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(format_millis(i64::MIN), "0000-01-01T00:00:00.000Z");
    }

    #[test]
    fn the_fraction_is_optional_when_reading() {
        assert_eq!(parse_millis("2026-11-23T06:51:00Z"), Some(1_795_416_660_000));
        assert_eq!(parse_millis("2026-11-23T06:51:00.1234567Z"), Some(1_795_416_660_123));
    }

    #[test]
    fn other_shapes_and_days_that_do_not_exist_are_refused() {
        for text in [
            "",
            "Z",
            "2026-11-23T06:51:00",
            "2026-11-23T06:51:00+00:00",
            "2026-11-23 06:51:00Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.+1Z",
            "+026-01-01T00:00:00Z",
            "2026-01-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_millis(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn written_instants_read_back(ms in MIN_MILLIS..=MAX_MILLIS) {
            prop_assert_eq!(parse_millis(&format_millis(ms)), Some(ms));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,40}") {
            let _ = parse_millis(&text);
        }
    }
}
