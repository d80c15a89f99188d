//! What `show` takes from a statement: every text clean, every list as the statement has it.
//!
//! `attestation::statement::read` has refused before what is no statement of ours; what is read here may still be a lie.

use serde::{Deserialize, Serialize};

use super::{
    platform::Platform,
    text::{Text, Time},
};

/// Bits of an access, as far as the statement or the evidence tells them.
pub(crate) mod access {
    pub(crate) const READ: u8 = attestation::trace::access::READ;
    pub(crate) const WRITE: u8 = attestation::trace::access::WRITE;
    pub(crate) const EXEC: u8 = attestation::trace::access::EXEC;
}

#[derive(Debug, Deserialize)]
pub(crate) struct Statement {
    pub(crate) subject: Vec<Subject>,
    pub(crate) predicate: Predicate,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Subject {
    pub(crate) name: Text,
    pub(crate) digest: Digest,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Digest {
    pub(crate) sha256: Text,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Predicate {
    pub(crate) metadata: Metadata,
    pub(crate) testimony: Testimony,
    pub(crate) monitor_log: MonitorLog,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) build_started_on: Time,
    pub(crate) build_finished_on: Option<Time>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Testimony {
    pub(crate) complete: bool,
    pub(crate) lossless: bool,
    pub(crate) coverage_level: Text,
    pub(crate) gaps: Vec<Finding>,
    pub(crate) blind_spots: Vec<Finding>,
    pub(crate) session: Session,
    pub(crate) coverage: Vec<Hook>,
    pub(crate) digest_classes: Classes,
    pub(crate) platform: Platform,
    #[serde(default)]
    pub(crate) name_changes: Vec<NameChange>,
    #[serde(default)]
    pub(crate) acts: Vec<Act>,
}

/// A system call beyond files, names and peers.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Act {
    pub(crate) call: Text,
    pub(crate) arguments: Vec<Text>,
    pub(crate) result: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) texts: Vec<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dev: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ino: Option<Text>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) outside: bool,
    pub(crate) process: u32,
    pub(crate) timestamp: Time,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    pub(crate) code: Text,
    #[serde(default)]
    pub(crate) detail: Text,
    pub(crate) count: u64,
    #[serde(default = "yes")]
    pub(crate) ends_completeness: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Session {
    pub(crate) id: Text,
    pub(crate) kind: Text,
    pub(crate) signer: Text,
    pub(crate) membership: Text,
    pub(crate) command: Vec<Text>,
    pub(crate) directory: Text,
    pub(crate) root_pid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<Text>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) inherited: Vec<Inherited>,
}

/// A descriptor that the command was given.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Inherited {
    pub(crate) descriptor: u32,
    #[serde(rename = "type")]
    pub(crate) file_type: Text,
    pub(crate) access: Text,
    pub(crate) dev: Text,
    pub(crate) ino: Text,
    pub(crate) path: Text,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Hook {
    pub(crate) observation: Text,
    pub(crate) method: Text,
    pub(crate) level: Text,
    #[serde(default)]
    pub(crate) refused: Vec<Text>,
    pub(crate) attempted: u64,
    pub(crate) delivered: u64,
    pub(crate) coalesced: u64,
    pub(crate) lost: u64,
    pub(crate) truncated: u64,
    pub(crate) misses: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) canaries: Option<Canaries>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Canaries {
    pub(crate) seen: u64,
    pub(crate) silent: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<Text>,
    pub(crate) longest_ns: Text,
}

impl Canaries {
    /// The longest time that the hook may have been muted, for people; who was silent says so.
    pub(crate) fn words(&self) -> String {
        let longest = self
            .longest_ns
            .parse::<u64>()
            .map_or_else(|_| "?".to_owned(), |ns| format!("{}.{:01}s", ns / 1_000_000_000, ns / 100_000_000 % 10));
        if self.silent > 0 { format!("silent {}", self.silent) } else { longest }
    }
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Classes {
    pub(crate) kernel: u64,
    pub(crate) stable: u64,
    pub(crate) ephemeral: u64,
    pub(crate) raced: u64,
    pub(crate) absent: u64,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NameChange {
    pub(crate) operation: Text,
    pub(crate) path: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<Text>,
    pub(crate) process: u32,
    pub(crate) result: i32,
    pub(crate) timestamp: Time,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MonitorLog {
    pub(crate) process: Vec<Program>,
    pub(crate) network: Vec<Contact>,
    pub(crate) file_access: Vec<FileEntry>,
}

/// An entry of `process`: a program that a process ran, or a process that ran none of its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Program {
    pub(crate) id: u32,
    pub(crate) pid: u32,
    pub(crate) parent: Option<u32>,
    pub(crate) origin: Text,
    pub(crate) process_binary: Option<Text>,
    #[serde(default)]
    pub(crate) arguments: Vec<Text>,
    pub(crate) cwd: Option<Text>,
    pub(crate) uid: Option<u32>,
    pub(crate) executed_on: Option<Time>,
    pub(crate) start: Option<Time>,
    pub(crate) end: Option<Time>,
    pub(crate) exit_code: Option<u32>,
    pub(crate) signal: Option<u32>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Contact {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ip: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<Text>,
    pub(crate) protocol: Text,
    pub(crate) direction: Text,
    pub(crate) operation: Text,
    pub(crate) result: i32,
    pub(crate) count: u64,
    pub(crate) timestamp: Time,
    pub(crate) last_on: Time,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
    #[serde(rename = "invokingProcess", skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<Invoking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dns: Option<Dns>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<Peer>,
}

/// Who is at the other end of a unix socket.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Peer {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) outside: bool,
}

/// A DNS message.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Dns {
    pub(crate) response: bool,
    pub(crate) opcode: u32,
    pub(crate) rcode: u32,
    pub(crate) questions: Vec<DnsRecord>,
    pub(crate) answers: Vec<DnsRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<Text>,
}

/// A question, or with data a record of an answer.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct DnsRecord {
    pub(crate) name: Text,
    pub(crate) r#type: u32,
    pub(crate) class: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Text>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Invoking {
    pub(crate) id: u32,
    pub(crate) pid: u32,
    pub(crate) comm: Text,
}

#[derive(Debug, Deserialize)]
pub(crate) struct FileEntry {
    pub(crate) name: Text,
    pub(crate) digest: Option<Digest>,
    pub(crate) annotations: Annotations,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Annotations {
    pub(crate) class: Text,
    pub(crate) reason: Option<Text>,
    pub(crate) measure: Option<Measure>,
    pub(crate) access: Text,
    pub(crate) accesses: u64,
    pub(crate) processes: Vec<u32>,
    pub(crate) size: u64,
    pub(crate) dev: Text,
    pub(crate) ino: Text,
    #[serde(default)]
    pub(crate) deleted: bool,
    #[serde(default)]
    pub(crate) product: bool,
}

/// What the kernel measured.
#[derive(Debug, Deserialize)]
pub(crate) struct Measure {
    pub(crate) by: Text,
    pub(crate) algorithm: Text,
    pub(crate) digest: Text,
}

impl Annotations {
    /// The access as bits, from the words joined by `+`.
    pub(crate) fn bits(&self) -> u8 {
        let bit = |word: &str| match word {
            "read" => access::READ,
            "write" => access::WRITE,
            "exec" => access::EXEC,
            _ => 0,
        };
        self.access.split('+').map(bit).fold(0, |bits, bit| bits | bit)
    }
}
