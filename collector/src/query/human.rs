//! Answers as people read them: a line each.

use crate::{
    alerts::Alert,
    index::{ChainRow, ContactRow, FileRow, GapRow, HostRow, ImageRow, Placed, StatementRow},
};

fn placed(of: &Placed) -> String {
    let verdict = if of.complete { "" } else { "  INCOMPLETE" };
    format!("{}  {}{verdict}  host {}", of.received, of.payload_sha256, of.host)
}

pub(super) fn statement(row: &StatementRow) -> String {
    let verdict = if row.complete { "complete" } else { "INCOMPLETE" };
    let StatementRow { received, payload_sha256, host, session, signer, .. } = row;
    format!("{received}  {payload_sha256}  {verdict}  host {host}  session {session}  by {signer}")
}

pub(super) fn file(row: &FileRow) -> String {
    format!("{}  {}  {}  {}", placed(&row.of), row.access.join("+"), row.class, row.path)
}

pub(super) fn contact(row: &ContactRow) -> String {
    let ContactRow { of, address, port, protocol, direction, operation, count, sent_bytes, received_bytes, .. } = row;
    let to = if address.is_empty() { "asked for".to_owned() } else { format!("{address} port {port}") };
    let bytes = format!("{sent_bytes} bytes sent, {received_bytes} received");
    format!("{}  {operation}  {to}  {protocol} {direction}  {count} times, {bytes}", placed(of))
}

pub(super) fn image(row: &ImageRow) -> String {
    let sha256 = row.image_sha256.as_ref();
    let sha256 = sha256.map_or_else(|| "digest not known".to_owned(), |sha256| format!("sha256:{sha256}"));
    let ImageRow { image, verification, statements, hosts, last, .. } = row;
    format!("{image}  {sha256}  {verification}  {statements} statements of {hosts} hosts, the last at {last}")
}

pub(super) fn gap(row: &GapRow) -> String {
    let detail = if row.gap.detail.is_empty() { String::new() } else { format!(" ({})", row.gap.detail) };
    format!("{}  {}{detail}  {} times", placed(&row.of), row.gap.code, row.gap.count)
}

pub(super) fn chain(row: &ChainRow) -> String {
    let missing: Vec<String> = row.missing.iter().map(|[first, last]| format!("{first} to {last}")).collect();
    let missing =
        if missing.is_empty() { "nothing missing".to_owned() } else { format!("missing {}", missing.join(", ")) };
    let forks = row.contradicts.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let forks = if forks.is_empty() { forks } else { format!(", contradicts itself at {forks}") };
    let ChainRow { signer, host, boot, statements, first, last, .. } = row;
    format!("host {host}  boot {boot}  by {signer}  {statements} statements, {first} to {last}: {missing}{forks}")
}

pub(super) fn host(row: &HostRow) -> String {
    let HostRow { host, heard, statements, incomplete } = row;
    format!("{host}  last heard of at {heard}, {statements} statements, {incomplete} incomplete")
}

pub(super) fn alert(row: &Alert) -> String {
    let Alert { time, code, count, since, says, .. } = row;
    format!("{time}  {code}  {count} since {since}  {}  {says}", row.about())
}
