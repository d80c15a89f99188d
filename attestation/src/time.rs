//! Times as statements write them: RFC 3339, UTC, nine digits of fraction, a final `Z`. There is no clock here: what is
//! written came from the kernel through the log.

use der::DateTime;

/// Nanoseconds in a second.
pub const SECOND_NS: i128 = 1_000_000_000;
const DAY_S: i128 = 86_400;
/// 9999-12-31T23:59:59.999999999Z, the last instant that RFC 3339 can write.
const LAST_NS: i128 = 253_402_300_800 * SECOND_NS - 1;

/// RFC 3339 text of `unix_ns` nanoseconds since 1970-01-01T00:00:00Z. What lies before that or after the year 9999 is
/// written as the nearest instant inside: such a value is a broken clock's, and the log keeps the number itself.
#[must_use]
pub fn rfc3339(unix_ns: i128) -> String {
    let ns = unix_ns.clamp(0, LAST_NS);
    let (seconds, fraction) = (ns / SECOND_NS, ns % SECOND_NS);
    let (days, second) = (seconds / DAY_S, seconds % DAY_S);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z")
}

/// The same of whole seconds, without a fraction.
#[must_use]
pub fn utc(unix_s: u64) -> String {
    let mut text = rfc3339(i128::from(unix_s) * SECOND_NS);
    text.truncate("1970-01-01T00:00:00".len());
    text + "Z"
}

/// Seconds since 1970 of RFC 3339 text in UTC (`2026-11-23T14:00:00Z`, with or without a fraction, which is left out), or of a day
/// alone, which is its first second. None for anything else.
#[must_use]
pub fn seconds(text: &str) -> Option<u64> {
    const DAY: usize = "1970-01-01".len();
    let whole = match text.split_once('.') {
        Some((whole, fraction)) => {
            let digits = fraction.strip_suffix('Z').filter(|digits| !digits.is_empty())?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| format!("{whole}Z"))?
        }
        None if text.len() == DAY => format!("{text}T00:00:00Z"),
        None => text.to_owned(),
    };
    whole.parse::<DateTime>().ok().map(|time| time.unix_duration().as_secs())
}

/// Year, month and day of a day counted from 1970-01-01, for days not before it (Howard Hinnant's `civil_from_days`).
fn civil(days: i128) -> (i128, i128, i128) {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i128::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_as_a_time() {
        assert_eq!(seconds("2000-02-28T23:59:59Z"), Some(951_782_399));
        assert_eq!(seconds("2000-02-28T23:59:59.000000005Z"), Some(951_782_399));
        assert_eq!(seconds("2000-02-28"), Some(951_782_399 - 86_399));
        for wrong in
            ["", "2000", "2000-02-30", "2000-02-28T23:59:59", "2000-02-28T23:59:59+01:00", "2000-02-28T23:59:59.Z"]
        {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn known_instants() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_399 * SECOND_NS + 5, "2000-02-28T23:59:59.000000005Z"),
            (951_782_400 * SECOND_NS, "2000-02-29T00:00:00.000000000Z"),
            (1_709_251_199 * SECOND_NS, "2024-02-29T23:59:59.000000000Z"),
            (4_107_542_400 * SECOND_NS, "2100-03-01T00:00:00.000000000Z"),
            (LAST_NS, "9999-12-31T23:59:59.999999999Z"),
        ];
        for (ns, text) in cases {
            assert_eq!(rfc3339(ns), text);
        }
    }

    #[test]
    fn whole_seconds() {
        assert_eq!(
            (utc(951_782_399).as_str(), utc(u64::MAX).as_str()),
            ("2000-02-28T23:59:59Z", "9999-12-31T23:59:59Z")
        );
    }

    #[test]
    fn what_cannot_be_written_is_the_nearest_that_can() {
        assert_eq!(rfc3339(-1), rfc3339(0));
        assert_eq!(rfc3339(i128::MIN), rfc3339(0));
        assert_eq!(rfc3339(LAST_NS + 1), rfc3339(LAST_NS));
        assert_eq!(rfc3339(i128::MAX), rfc3339(LAST_NS));
    }
}
