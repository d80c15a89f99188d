//! The list of files: each with a class that its digest allows.

use super::Digest;
use crate::json::{Object, present};
use crate::statement::rules::{
    Access, Algorithm, Class, Code, Device, Escaped, FileType, FileUri, Hex, Magic, Means, Mode, Text, Time, Unsigned,
};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU64;

#[derive(Deserialize)]
struct FileEntry<'a> {
    #[serde(borrow)]
    name: Text<'a, Escaped>,
    #[serde(default, borrow, deserialize_with = "present")]
    digest: Option<Object<Digest<'a>>>,
    #[serde(default, borrow, deserialize_with = "present")]
    uri: Option<Text<'a, FileUri>>,
    #[serde(borrow)]
    annotations: Object<Annotations<'a>>,
}

#[derive(Deserialize)]
struct Annotations<'a> {
    #[serde(borrow)]
    class: Text<'a, Class>,
    #[serde(default, borrow, deserialize_with = "present")]
    reason: Option<Text<'a, Code>>,
    #[serde(default, borrow, deserialize_with = "present")]
    measure: Option<Object<Measure<'a>>>,
    #[serde(borrow)]
    access: Text<'a, Access>,
    accesses: NonZeroU64,
    processes: Actors,
    #[serde(rename = "type", default, borrow, deserialize_with = "present")]
    file_type: Option<Text<'a, FileType>>,
    size: u64,
    #[serde(borrow)]
    mode: Text<'a, Mode>,
    #[serde(borrow)]
    dev: Text<'a, Device>,
    #[serde(borrow)]
    ino: Text<'a, Unsigned>,
    #[serde(borrow)]
    ctime: Text<'a, Time>,
    #[serde(borrow)]
    filesystem: Text<'a, Magic>,
    #[serde(default, deserialize_with = "present")]
    deleted: Option<True>,
    #[serde(default, deserialize_with = "present")]
    product: Option<True>,
}

/// What the kernel measured.
#[derive(Deserialize)]
struct Measure<'a> {
    #[serde(rename = "by", borrow)]
    _by: Text<'a, Means>,
    #[serde(borrow)]
    algorithm: Text<'a, Algorithm>,
    #[serde(borrow)]
    digest: Text<'a, Hex>,
}

impl Measure<'_> {
    /// Whether it is as long as its algorithm makes it.
    fn is_whole(&self) -> bool {
        self.digest.as_str().len() == if self.algorithm.as_str() == "sha256" { 64 } else { 128 }
    }
}

/// At least one process, and none twice.
#[derive(Deserialize)]
#[serde(try_from = "Vec<u32>")]
struct Actors;

impl TryFrom<Vec<u32>> for Actors {
    type Error = &'static str;
    fn try_from(mut processes: Vec<u32>) -> Result<Self, Self::Error> {
        processes.sort_unstable();
        let once = processes.is_sorted_by(|left, right| left < right);
        if once && !processes.is_empty() { Ok(Self) } else { Err("a file has one process or more, and none twice") }
    }
}

/// Stands there where it is true.
#[derive(Deserialize)]
#[serde(try_from = "bool")]
pub(super) struct True;

impl TryFrom<bool> for True {
    type Error = &'static str;
    fn try_from(set: bool) -> Result<Self, Self::Error> {
        if set { Ok(Self) } else { Err("false is said by absence") }
    }
}

impl FileEntry<'_> {
    /// Place of the class among the counts; `None` where class, digest and measure contradict each other.
    fn class(&self) -> Option<usize> {
        if self.annotations.0.measure.as_ref().is_some_and(|measure| !measure.0.is_whole()) {
            return None;
        }
        match (self.annotations.0.class.as_str(), self.digest.is_some(), self.uri.is_some()) {
            ("kernel", true, _) => Some(0),
            _ if self.annotations.0.measure.is_some() => None,
            ("stable", true, _) => Some(1),
            ("ephemeral", false, true) => Some(2),
            ("raced", true, _) => Some(3),
            ("absent", false, true) => Some(4),
            _ => None,
        }
    }
}

/// The list of files: each with a class that its digest allows, counted by class.
pub(super) struct FileAccess<'a>(pub(super) [u64; 5], PhantomData<&'a ()>);

impl<'de: 'a, 'a> Deserialize<'de> for FileAccess<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = [u64; 5];
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list of files")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<[u64; 5], A::Error> {
                let mut counts = [0; 5];
                while let Some(Object(entry)) = list.next_element::<Object<FileEntry<'_>>>()? {
                    let place = entry.class().and_then(|place| counts.get_mut(place));
                    *place.ok_or_else(|| A::Error::custom("a file whose class and digest contradict each other"))? += 1;
                }
                Ok(counts)
            }
        }
        deserializer.deserialize_seq(List).map(|counts| Self(counts, PhantomData))
    }
}
