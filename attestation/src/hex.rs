//! Lowercase hexadecimal, the way digests, keyids and object names are written.

/// Lowercase hexadecimal of these bytes.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// The bytes of lowercase hexadecimal text; `None` for anything else, an uppercase digit included.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect()
}

/// A SHA-256 value written in lowercase hexadecimal.
#[must_use]
pub fn decode_sha256(text: &str) -> Option<[u8; 32]> {
    decode(text)?.try_into().ok()
}

/// The 16 bytes as a UUID is written: 8-4-4-4-12 digits.
#[must_use]
pub fn uuid(bytes: &[u8; 16]) -> String {
    let digits = encode(bytes);
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_round_trip() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&bytes)), Some(bytes));
    }

    #[test]
    fn odd_uppercase_and_foreign_digits_are_refused() {
        for text in ["0", "0A", "0g", "é", "0x", " 0"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    #[test]
    fn a_digest_of_31_or_33_bytes_is_refused() {
        assert!(decode_sha256(&"00".repeat(32)).is_some());
        assert!(decode_sha256(&"00".repeat(31)).is_none());
        assert!(decode_sha256(&"00".repeat(33)).is_none());
    }

    #[test]
    fn a_uuid_has_its_hyphens() {
        let bytes = *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";
        assert_eq!(uuid(&bytes), "00112233-4455-6677-8899-aabbccddeeff");
    }
}
