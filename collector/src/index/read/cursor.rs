//! Where a page of a list ends: the keys of its last row, as one word that whoever asks gives back.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rusqlite::types::Value;

/// Bytes of one at most.
const BYTES_MAX: usize = 8192;

/// Keys, in their order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cursor(pub(super) Vec<Value>);

impl Cursor {
    pub(super) fn write(&self) -> String {
        let keys = self.0.iter().map(|key| match key {
            Value::Integer(number) => serde_json::Value::from(*number),
            Value::Blob(bytes) => serde_json::json!({ "b": attestation::hex::encode(bytes) }),
            Value::Text(text) => serde_json::Value::from(text.as_str()),
            Value::Null | Value::Real(_) => serde_json::Value::Null,
        });
        URL_SAFE_NO_PAD.encode(serde_json::Value::from_iter(keys).to_string())
    }

    /// None for what none of ours is.
    pub(super) fn read(text: &str) -> Option<Self> {
        let bytes = if text.len() <= BYTES_MAX { URL_SAFE_NO_PAD.decode(text).ok()? } else { return None };
        let keys: Vec<serde_json::Value> = serde_json::from_slice(&bytes).ok()?;
        let key = |key: serde_json::Value| match key {
            serde_json::Value::Number(number) => number.as_i64().map(Value::Integer),
            serde_json::Value::String(text) => Some(Value::Text(text)),
            serde_json::Value::Object(object) => attestation::hex::decode(object.get("b")?.as_str()?).map(Value::Blob),
            _ => None,
        };
        keys.into_iter().map(key).collect::<Option<_>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let cursor = Cursor(vec![Value::Integer(-1), Value::Text("a' OR 1".to_owned()), Value::Blob(vec![0, 255])]);
        assert_eq!(Cursor::read(&cursor.write()), Some(cursor));
        for text in ["", "!", "bnVsbA", "W251bGxd", "WzEuNV0", &"A".repeat(BYTES_MAX + 1)] {
            assert_eq!(Cursor::read(text), None, "{text}");
        }
    }
}
