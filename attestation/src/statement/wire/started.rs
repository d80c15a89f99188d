//! The shape of what a session's command started with: variables of its environment, descriptors.
#![expect(dead_code, reason = "fields are read so that what the schema forbids is refused, and none is needed again")]

use crate::json::present;
use crate::statement::rules::{Device, Escaped, Hex, Text, Unsigned};
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Variable<'a> {
    #[serde(borrow)]
    name: Text<'a, Escaped>,
    #[serde(default, borrow, deserialize_with = "present")]
    value: Option<Text<'a, Escaped>>,
    #[serde(default, borrow, deserialize_with = "present")]
    hmac: Option<Text<'a, Hex>>,
}

#[derive(Deserialize)]
pub(super) struct Inherited<'a> {
    descriptor: u32,
    #[serde(rename = "type", borrow)]
    file_type: Text<'a, Escaped>,
    #[serde(borrow)]
    access: Text<'a, Escaped>,
    #[serde(borrow)]
    dev: Text<'a, Device>,
    #[serde(borrow)]
    ino: Text<'a, Unsigned>,
    #[serde(borrow)]
    path: Text<'a, Escaped>,
}
