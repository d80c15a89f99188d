//! The same as JSON: one object, its fields documented in docs/cli.md and stable.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Views,
    filter::{Selection, Shown},
    source::{Evidence, Signature, Source},
    statement::{Finding, access},
    trace::{Exec, File, Process, meaning},
};

/// The object for what is selected, with the parts that the views ask for.
pub(crate) fn value(source: &Source, part: &Selection<'_>, views: &Views) -> Value {
    let predicate = &source.trace.statement.predicate;
    let testimony = &predicate.testimony;
    let mut value = json!({
        "version": 1,
        "file": attestation::escape::escape(source.file.as_os_str().as_encoded_bytes()),
        "signature": match source.signature {
            Signature::NotChecked => "not-checked",
            Signature::Holds => "holds",
            Signature::None => "none",
        },
        "evidence": match source.evidence {
            Evidence::Read => "read",
            Evidence::Absent => "absent",
            Evidence::Foreign(_) => "not-of-this-statement",
        },
        "complete": testimony.complete,
        "lossless": testimony.lossless,
        "coverageLevel": testimony.coverage_level,
        "started": predicate.metadata.build_started_on,
        "finished": predicate.metadata.build_finished_on,
        "session": testimony.session,
        "platform": testimony.platform,
        "subjects": source.trace.statement.subject,
        "digestClasses": testimony.digest_classes,
    });
    let mut put = |wanted: bool, key: &str, part: Value| {
        if let (true, Some(object)) = (wanted, value.as_object_mut()) {
            object.insert(key.to_owned(), part);
        }
    };
    put(views.gaps, "findings", source.trace.findings().map(finding).collect());
    put(views.gaps, "coverage", json!(testimony.coverage));
    put(views.tree, "processes", processes(part));
    put(views.files, "files", part.files.iter().map(|file| json!(JsonFile::from(*file))).collect());
    put(views.files, "nameChanges", json!(part.names));
    put(views.network, "network", json!(part.contacts));
    put(views.acts, "acts", json!(part.acts));
    value
}

fn finding(finding: &Finding) -> Value {
    json!({
        "code": finding.code,
        "detail": finding.detail,
        "count": finding.count,
        "endsCompleteness": finding.ends_completeness,
        "meaning": meaning(&finding.code),
    })
}

fn processes(part: &Selection<'_>) -> Value {
    let wanted = part.trace.processes.iter().enumerate().filter(|(id, _)| part.processes.get(*id) == Some(&Shown::Yes));
    wanted.map(|(id, process)| json!(JsonProcess::new(id, process))).collect()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonProcess<'a> {
    id: usize,
    pid: u32,
    parent: Option<usize>,
    origin: &'a str,
    start: Option<super::text::Time>,
    end: Option<super::text::Time>,
    exit_code: Option<u32>,
    signal: Option<u32>,
    programs: Vec<JsonExec<'a>>,
}

impl<'a> JsonProcess<'a> {
    fn new(id: usize, process: &'a Process) -> Self {
        Self {
            id,
            pid: process.pid,
            parent: process.parent,
            origin: &process.origin,
            start: process.start,
            end: process.end,
            exit_code: process.exit_code,
            signal: process.signal,
            programs: process.execs.iter().map(JsonExec::from).collect(),
        }
    }
}

#[derive(Serialize)]
struct JsonExec<'a> {
    binary: &'a str,
    arguments: Vec<&'a str>,
    directory: Option<&'a str>,
    uid: Option<u32>,
    time: Option<super::text::Time>,
}

impl<'a> From<&'a Exec> for JsonExec<'a> {
    fn from(exec: &'a Exec) -> Self {
        Self {
            binary: &exec.binary,
            arguments: exec.arguments.iter().map(|word| &**word).collect(),
            directory: exec.directory.as_deref(),
            uid: exec.uid,
            time: exec.time,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonFile<'a> {
    path: &'a str,
    class: &'a str,
    reason: Option<&'a str>,
    sha256: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    measure: Option<JsonMeasure<'a>>,
    access: Vec<&'static str>,
    accesses: u64,
    size: u64,
    deleted: bool,
    product: bool,
    first_access: Option<super::text::Time>,
    last_access: Option<super::text::Time>,
    processes: Vec<JsonWho>,
}

#[derive(Serialize)]
struct JsonMeasure<'a> {
    by: &'a str,
    algorithm: &'a str,
    digest: &'a str,
}

#[derive(Serialize)]
struct JsonWho {
    id: usize,
    access: Option<Vec<&'static str>>,
}

impl<'a> From<&'a File> for JsonFile<'a> {
    fn from(file: &'a File) -> Self {
        Self {
            path: &file.path,
            class: &file.class,
            reason: file.reason.as_deref(),
            sha256: file.sha256.as_deref(),
            measure: file.measure.as_ref().map(|measure| JsonMeasure {
                by: &measure.by,
                algorithm: &measure.algorithm,
                digest: &measure.digest,
            }),
            access: words(file.access),
            accesses: file.accesses,
            size: file.size,
            deleted: file.deleted,
            product: file.product,
            first_access: file.times.map(|(first, _)| first),
            last_access: file.times.map(|(_, last)| last),
            processes: file.who.iter().map(|(id, bits)| JsonWho { id: *id, access: bits.map(words) }).collect(),
        }
    }
}

fn words(bits: u8) -> Vec<&'static str> {
    let known = [(access::READ, "read"), (access::WRITE, "write"), (access::EXEC, "exec")];
    known.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, word)| *word).collect()
}
