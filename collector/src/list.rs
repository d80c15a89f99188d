//! What was kept, for whoever may read the store's folder.

use std::io::{self, Write as _};

use anyhow::Context as _;
use attestation::{hex, time};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use crate::{
    settings::Settings,
    store::{Listed, Reader},
};

/// A statement, as it is printed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    place: u64,
    payload_sha256: String,
    received: String,
    peer: String,
    signer: String,
    host: String,
    boot: String,
    number: Option<u64>,
    previous: Option<String>,
    complete: bool,
}

impl From<Listed> for Line {
    fn from(listed: Listed) -> Self {
        Self {
            place: listed.place,
            payload_sha256: hex::encode(&listed.payload_sha256),
            received: time::utc(listed.received_s),
            peer: listed.peer,
            signer: listed.signer,
            host: listed.host,
            boot: listed.boot,
            number: listed.number,
            previous: listed.previous.map(|previous| hex::encode(&previous)),
            complete: listed.complete,
        }
    }
}

/// A line of JSON. A reader that has enough of them is no fault.
pub(crate) fn line(value: &impl Serialize) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    let written = serde_json::to_writer(&mut out, value).map_err(io::Error::from).and_then(|()| out.write_all(b"\n"));
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => Ok(written.map(|()| true)?),
    }
}

/// Prints all statements from this place on.
///
/// # Errors
/// Of the store.
pub(crate) fn statements(settings: &Settings, from: u64) -> anyhow::Result<()> {
    let mut printed = Ok(true);
    Reader::open(&settings.state)?.statements(from, |listed| {
        printed = line(&Line::from(listed));
        matches!(printed, Ok(true))
    })?;
    printed.map(drop)
}

/// Prints an envelope.
///
/// # Errors
/// If there is none of this payload.
pub(crate) fn envelope(settings: &Settings, payload: &str) -> anyhow::Result<()> {
    let sha256 = hex::decode_sha256(payload).context("say the SHA-256 of the payload, in lowercase hexadecimal")?;
    let envelope = Reader::open(&settings.state)?.envelope(&sha256)?;
    let envelope = envelope.with_context(|| format!("no statement with the payload {payload}"))?;
    Ok(io::stdout().lock().write_all(&envelope)?)
}

/// Prints the enrolments.
///
/// # Errors
/// Of the store.
pub(crate) fn machines(settings: &Settings) -> anyhow::Result<()> {
    for enrolled in Reader::open(&settings.state)?.machines()? {
        let machine: serde_json::Value = serde_json::from_slice(&enrolled.machine)?;
        line(&machine)?;
    }
    Ok(())
}

/// Prints a proof that the log of one size begins with that of another: a hash in base64 each line.
///
/// # Errors
/// Of the store, and for sizes that it never had.
pub(crate) fn consistency(settings: &Settings, from: u64, to: u64) -> anyhow::Result<()> {
    for hash in Reader::open(&settings.state)?.consistency(from, to)? {
        println!("{}", STANDARD.encode(hash));
    }
    Ok(())
}
