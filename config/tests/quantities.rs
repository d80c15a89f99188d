//! Durations and sizes as they are written.

use config::{Bytes, QuantityError, Seconds};
use proptest::prelude::*;

#[test]
fn units_are_those_that_are_said() {
    for (text, seconds) in [("0s", 0), ("30s", 30), ("5m", 300), ("90m", 5400), ("12h", 43_200), ("2d", 172_800)] {
        assert_eq!(text.parse(), Ok(Seconds::new(seconds)));
    }
    for (text, bytes) in [("0B", 0), ("1KiB", 1024), ("64MiB", 64 << 20), ("2GiB", 2 << 30), ("1TiB", 1 << 40)] {
        assert_eq!(text.parse(), Ok(Bytes::new(bytes)));
    }
}

#[test]
fn anything_else_is_refused() {
    for text in ["", "s", "5", "5 m", " 5m", "5m ", "-5m", "+5m", "5M", "1.5h", "5m30s", "1w", "5ms", "٥m", "0x5s"] {
        assert!(matches!(text.parse::<Seconds>(), Err(QuantityError::Form { .. })), "{text}");
    }
    for text in ["", "B", "64", "64M", "64MB", "64mib", "64 MiB", "1.5GiB", "1PiB", "-1B"] {
        assert!(matches!(text.parse::<Bytes>(), Err(QuantityError::Form { .. })), "{text}");
    }
}

#[test]
fn one_more_than_can_be_counted_is_refused() {
    assert_eq!("18446744073709551615s".parse(), Ok(Seconds::new(u64::MAX)));
    for text in ["18446744073709551616s", "18446744073709551615m", "99999999999999999999999d"] {
        assert!(matches!(text.parse::<Seconds>(), Err(QuantityError::TooLarge(_))), "{text}");
    }
    assert_eq!("16777215TiB".parse(), Ok(Bytes::new(16_777_215 << 40)));
    assert!(matches!("16777216TiB".parse::<Bytes>(), Err(QuantityError::TooLarge(_))));
}

#[test]
fn they_are_written_in_the_largest_unit_that_fits() {
    assert_eq!(
        [0, 59, 60, 90, 7200, 86_400].map(|value| Seconds::new(value).to_string()),
        ["0s", "59s", "1m", "90s", "2h", "1d"]
    );
    assert_eq!([0, 1023, 1024, 1 << 21].map(|value| Bytes::new(value).to_string()), ["0B", "1023B", "1KiB", "2MiB"]);
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(value: u64, shift in 0_u32..64) {
        let value = (value >> shift) << (shift / 2);
        prop_assert_eq!(Seconds::new(value).to_string().parse(), Ok(Seconds::new(value)));
        prop_assert_eq!(Bytes::new(value).to_string().parse(), Ok(Bytes::new(value)));
    }

    #[test]
    fn any_text_gives_a_value_or_an_error(text: String) {
        let _ = text.parse::<Seconds>();
        let _ = text.parse::<Bytes>();
    }
}
