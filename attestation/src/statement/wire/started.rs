//! The shape of what a session started with: variables of its environment, descriptors, the container that it is.
#![expect(dead_code, reason = "fields are read so that what the schema forbids is refused, and none is needed again")]

use crate::json::{Count, Object, present};
use crate::statement::rules::{Device, Escaped, Hex, Sha256, Text, Unsigned};
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container<'a> {
    #[serde(borrow)]
    runtime: Text<'a, Escaped>,
    #[serde(borrow)]
    id: Text<'a, Escaped>,
    #[serde(default, borrow, deserialize_with = "present")]
    name: Option<Text<'a, Escaped>>,
    #[serde(default, borrow, deserialize_with = "present")]
    image: Option<Text<'a, Escaped>>,
    #[serde(default, borrow, deserialize_with = "present")]
    image_sha256: Option<Text<'a, Sha256>>,
    #[serde(default, deserialize_with = "present")]
    image_config: Option<bool>,
    #[serde(default, borrow, deserialize_with = "present")]
    pod: Option<Text<'a, Escaped>>,
    #[serde(default, borrow, deserialize_with = "present")]
    pod_namespace: Option<Text<'a, Escaped>>,
    #[serde(default, borrow, deserialize_with = "present")]
    pod_uid: Option<Text<'a, Escaped>>,
    #[serde(default, borrow, deserialize_with = "present")]
    labels: Option<Count<Object<Label<'a>>>>,
    #[serde(default, borrow, deserialize_with = "present")]
    fault: Option<Text<'a, Escaped>>,
}

#[derive(Deserialize)]
struct Label<'a> {
    #[serde(borrow)]
    name: Text<'a, Escaped>,
    #[serde(borrow)]
    value: Text<'a, Escaped>,
}
