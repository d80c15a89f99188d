//! JSON held to one form: objects that are no lists, lists with a limit, no key twice, one way to write each value.
//!
//! What a derived reader takes beyond the published schema is closed here: a list for an object, `null` for a field that
//! may be left out, nothing for a field that may be `null`.

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// Entries of a list at most that are kept: subjects, segments, hooks, gaps, blind spots.
pub const LIST_MAX: usize = 1 << 20;

/// An object, and never a list of its values.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Map<T> {
            type Value = Object<T>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Map(PhantomData))
    }
}

/// For `#[serde(default, deserialize_with)]`: a field that may be left out, and is never `null`.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// For `#[serde(deserialize_with)]`: a field that may be `null`, and is never left out.
pub(crate) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// A list of at most [`LIST_MAX`] entries, or of as many as are said.
pub(crate) struct Bounded<T, const MAX: usize = LIST_MAX>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
            type Value = Bounded<T, MAX>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "a list of at most {MAX} entries")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Bounded<T, MAX>, A::Error> {
                let mut kept = Vec::new();
                while let Some(entry) = list.next_element()? {
                    if kept.len() == MAX {
                        return Err(A::Error::invalid_length(MAX + 1, &self));
                    }
                    kept.push(entry);
                }
                Ok(Bounded(kept))
            }
        }
        deserializer.deserialize_seq(List(PhantomData))
    }
}

/// A list that may be long: each entry is read, and they are only counted.
pub(crate) struct Count<T>(u64, PhantomData<T>);

impl<T> Count<T> {
    pub(crate) fn count(&self) -> u64 {
        self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Count<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Count<T>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Count<T>, A::Error> {
                let mut count = 0;
                while list.next_element::<T>()?.is_some() {
                    count += 1;
                }
                Ok(Count(count, PhantomData))
            }
        }
        deserializer.deserialize_seq(List(PhantomData))
    }
}

/// Whether JSON has no white space outside strings and no escapes in them but `\"` and `\\`.
pub(crate) fn is_compact(json: &[u8]) -> bool {
    let (mut in_string, mut bytes) = (false, json.iter());
    while let Some(byte) = bytes.next() {
        match (in_string, byte) {
            (_, b'"') => in_string = !in_string,
            (true, b'\\') if !matches!(bytes.next(), Some(b'"' | b'\\')) => return false,
            (false, b' ' | b'\t' | b'\n' | b'\r') => return false,
            _ => {}
        }
    }
    true
}

/// Any JSON without a key that stands twice in its object, and with no number that is not an integer of 64 bits.
pub(crate) struct Strict;

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();
    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an integer of 64 bits")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Strict)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys = Vec::new();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            keys.push(key);
            map.next_value_seed(Strict)?;
        }
        keys.sort_unstable();
        if keys.is_sorted_by(|left, right| left < right) {
            return Ok(());
        }
        Err(A::Error::custom("a key stands twice in one object"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Debug, PartialEq)]
    struct Sample {
        #[serde(default, deserialize_with = "present")]
        may_lack: Option<u8>,
        #[serde(deserialize_with = "nullable")]
        may_be_null: Option<u8>,
    }

    fn sample(json: &str) -> Option<Sample> {
        serde_json::from_str::<Object<Sample>>(json).ok().map(|object| object.0)
    }

    #[test]
    fn an_object_is_no_list_and_a_null_is_no_absence() {
        let of = |may_lack, may_be_null| Some(Sample { may_lack, may_be_null });
        assert_eq!(sample(r#"{"may_lack":1,"may_be_null":2}"#), of(Some(1), Some(2)));
        assert_eq!(sample(r#"{"may_be_null":null}"#), of(None, None));
        for other in ["[1,2]", "{}", r#"{"may_lack":null,"may_be_null":null}"#, r#"{"may_lack":1}"#, "null"] {
            assert_eq!(sample(other), None, "{other}");
        }
    }

    #[test]
    fn white_space_and_needless_escapes_are_not_compact() {
        for json in [r#"{"a":[1," \\ \" "]}"#, "[]", r#""\\""#] {
            assert!(is_compact(json.as_bytes()), "{json}");
        }
        for json in ["{ }", "[1]\n", "[1,\t2]", r#""\n""#, r#""\/""#, r#""\u0041""#, r#""\\\u0041""#] {
            assert!(!is_compact(json.as_bytes()), "{json}");
        }
    }

    #[test]
    fn numbers_are_integers_of_64_bits() {
        let strict = |json: &str| Strict.deserialize(&mut serde_json::Deserializer::from_str(json)).is_ok();
        for json in ["18446744073709551615", "-9223372036854775808", "0", "[1,-1]"] {
            assert!(strict(json), "{json}");
        }
        for json in ["18446744073709551616", "-9223372036854775809", "-0", "1.0", "1e0", "0.5", "1e999"] {
            assert!(!strict(json), "{json}");
        }
    }
}
