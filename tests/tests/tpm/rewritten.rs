//! A log that is rewritten after it was sealed, by who has the signing key and the TPM: whatever is quoted anew, it is refused.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Write};

use attestation::dsse::{KeyFile, read as read_envelope, write_envelope};
use attestation::evidence::{Limits, LogHead, LogReader, LogWriter};
use attestation::merkle::Hash;
use attestation::platform::{Head, Heads, Quoting, Seal, SealList, start_data};
use attestation::statement::{self, Claims};
use attestation::tpm::{PcrValues, Quote};
use attestation::trace::Builder;
use prost::Message as _;
use proto::evidence::{Frame, frame::Body};
use sha2::{Digest as _, Sha256};
use tpm_protocol::{Answer, Ask};

use crate::bench::{held, here};
use crate::node::{Node, well};
use tests::{Found, proven, refused};

const FILE: &str = "/etc/hostname";
/// A script, so that the command itself does not name the file.
const SOME_SECONDS: &str = "for i in 1 2 3 4 5; do cat /etc/hostname >/dev/null; sleep 0.5; done";

/// What a run's quote says.
pub(crate) fn quoting(node: &Node, name: &str) -> Quoting {
    let file = fs::read(node.path(&format!("{name}.quote.intoto.jsonl"))).expect("a quote");
    let payload = read_envelope(file.as_slice()).expect("an envelope").into_unverified();
    Quoting::read(&payload).expect("a quote").0
}

/// A run's statement and log, for who rewrites them.
struct Forger<'a> {
    node: &'a Node,
    claims: Claims,
    frames: Vec<Frame>,
    quoting: Quoting,
    key: KeyFile,
}

/// A log that is signed as if it had been the one.
struct Forged {
    head: LogHead,
    /// The tree's heads, by its size.
    heads: BTreeMap<u64, Head>,
    payload_sha256: Hash,
}

impl Forged {
    fn log(&self) -> Head {
        Head { tree_size: self.head.tree_size, root: self.head.root }
    }
}

impl<'a> Forger<'a> {
    fn new(node: &'a Node, name: &str) -> Self {
        let file = File::open(node.path(&format!("{name}.intoto.jsonl"))).expect("a statement");
        let claims = statement::read(&read_envelope(file).expect("an envelope").into_unverified()).expect("claims");
        let (mut log, mut frames) = (LogReader::new(Limits::default()), Vec::new());
        for segment in &claims.log.segments {
            let object = attestation::hex::encode(&segment.sha256);
            let object = File::open(node.path(&format!("{name}.evidence")).join(object)).expect("a segment");
            let mut segment = log.segment(BufReader::new(object)).expect("a segment");
            while let Some((_, frame)) = segment.next_frame().expect("a frame") {
                if !matches!(frame.body, Some(Body::Segment(_))) {
                    frames.push(frame);
                }
            }
        }
        Self { node, claims, frames, quoting: quoting(node, name), key: KeyFile::from_pem(&pem(node)).expect("a key") }
    }

    /// The first frame that tells of that file.
    fn place(&self) -> usize {
        let tells = |frame: &Frame| frame.encode_to_vec().windows(FILE.len()).any(|bytes| bytes == FILE.as_bytes());
        self.frames.iter().position(tells).expect("a frame")
    }

    /// Writes and signs the log of these frames under another name.
    fn write(&self, name: &str, frames: &[Frame]) -> Forged {
        self.write_as(self.claims.log.session_id, name, frames)
    }

    /// The same as of another session.
    fn write_as(&self, session: [u8; 16], name: &str, frames: &[Frame]) -> Forged {
        let (mut log, mut builder, mut object) = (LogWriter::new(session), Builder::default(), Vec::new());
        let mut segment = log.begin_segment(&mut object).expect("a segment");
        let mut heads = BTreeMap::new();
        for frame in frames {
            segment.append(&mut log, frame).expect("a frame");
            let _ = builder.push(frame);
            heads.insert(log.tree_head().tree_size, log.tree_head());
        }
        let summary = segment.finish(&mut log).expect("sealed");
        let folder = self.node.path(&format!("{name}.evidence"));
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join(summary.object_name()), object).expect("written");
        let (head, trace) = (log.head(), builder.finish().expect("a trace"));
        let payload_sha256 = self.sign(&format!("{name}.intoto.jsonl"), &|out: &mut dyn Write| {
            statement::write(out, &trace, &head, &self.claims.meta)
        });
        Forged { head, heads, payload_sha256 }
    }

    fn sign(&self, file: &str, payload: &dyn Fn(&mut dyn Write) -> io::Result<()>) -> Hash {
        let mut envelope = Vec::new();
        let written = write_envelope(&mut envelope, payload, &[&self.key]).expect("signed");
        fs::write(self.node.path(file), envelope).expect("written");
        written.payload_sha256
    }

    fn ask(&self, ask: Ask) -> Answer {
        self.node.helper().ask(ask).expect("an answer")
    }

    fn quote(&self, data: Hash, pcrs: Vec<u8>) -> (Quote, PcrValues) {
        match self.ask(Ask::Quote { nonce: data.as_slice().into(), pcrs }) {
            Answer::Quote { attest, signature, values, .. } => {
                (Quote { attest: attest.to_vec(), signature: signature.to_vec() }, held(&values))
            }
            other => panic!("{other:?}"),
        }
    }

    /// Seals the whole of a forged log; how that is said comes back.
    fn seal_anew(&self, forged: &Forged, session: [u8; 16]) -> impl Fn(&Forger<'_>, &mut Quoting) + use<> {
        let before = seals(&self.quoting);
        let (number, head) = (before.len() as u64 + 1, forged.log());
        let boottime_ns = before.last().expect("a seal").boottime_ns + 1_000_000_000;
        let seal = Seal { session, boottime_ns, commitment: head.commitment() };
        self.ask(Ask::Extend { pcr: 12, sha256: seal.digest(number).as_slice().into() });
        move |_, quoting| {
            quoting.seals.list = list(seals(quoting).into_iter().chain([seal]));
            quoting.seals.heads.0.insert(number, head);
        }
    }

    /// Has the TPM quote the forged log, with seals that are bent so.
    fn verify(&self, name: &str, forged: &Forged, bend: &dyn Fn(&Self, &mut Quoting)) -> (i32, Found) {
        let mut quoting = self.quoting.clone();
        quoting.asked.log = forged.log();
        bend(self, &mut quoting);
        let data = quoting.asked.data(&forged.payload_sha256);
        (quoting.quote, quoting.registers) = self.quote(data, (0..=15).collect());
        self.sign(&format!("{name}.quote.intoto.jsonl"), &|out: &mut dyn Write| {
            quoting.write(&forged.payload_sha256, out)
        });
        self.node.verify(name, &["--accept-incomplete"])
    }
}

/// A node with a run `out` of some seconds.
fn with_a_run() -> Node {
    let node = Node::enrolled();
    fs::write(node.path("script"), SOME_SECONDS).expect("written");
    well(&node.run("out", &[], &["sh", "script"]));
    node
}

fn pem(node: &Node) -> Vec<u8> {
    fs::read(node.path("key")).expect("a key")
}

fn list(seals: impl IntoIterator<Item = Seal>) -> SealList {
    let bytes: Vec<u8> = seals.into_iter().flat_map(|seal| seal.to_bytes()).collect();
    SealList::from_bytes(&bytes).expect("a list")
}

fn seals(quoting: &Quoting) -> Vec<Seal> {
    quoting.seals.list.iter().map(|(_, seal)| *seal).collect()
}

type Bend = dyn Fn(&Forger<'_>, &mut Quoting);

/// What a forger may do with the seals that are in the register already.
fn bends(forged: &BTreeMap<u64, Head>) -> Vec<(&'static str, Box<Bend>)> {
    let (first, second) = (forged.clone(), forged.clone());
    let heads_of = |forged: &BTreeMap<u64, Head>, quoting: &mut Quoting| {
        let last = *forged.values().last().expect("a head");
        for head in quoting.seals.heads.0.values_mut() {
            *head = forged.get(&head.tree_size).copied().unwrap_or(last);
        }
    };
    vec![
        ("the seals as they are", Box::new(|_, _| {})),
        ("other heads", Box::new(move |_, quoting| heads_of(&first, quoting))),
        (
            "seals of other heads",
            Box::new(move |_, quoting| {
                heads_of(&second, quoting);
                let (mut seals, heads) = (seals(quoting), quoting.seals.heads.clone());
                for (seal, head) in seals.iter_mut().zip(heads.0.values()) {
                    seal.commitment = head.commitment();
                }
                quoting.seals.list = list(seals);
            }),
        ),
        (
            "no seals",
            Box::new(|_, quoting| {
                quoting.seals.list = SealList::default();
                quoting.seals.heads = Heads::default();
            }),
        ),
        ("no heads", Box::new(|_, quoting| quoting.seals.heads = Heads::default())),
        (
            "seals of another session",
            Box::new(|_, quoting| {
                let others = seals(quoting).into_iter().map(|seal| Seal { session: [7; 16], ..seal });
                quoting.seals.list = list(others);
                quoting.seals.heads = Heads::default();
            }),
        ),
        (
            "another order",
            Box::new(|_, quoting| {
                let mut seals = seals(quoting);
                seals.swap(0, 1);
                quoting.seals.list = list(seals);
            }),
        ),
        (
            "one left out",
            Box::new(|_, quoting| {
                let seals = seals(quoting);
                quoting.seals.list = list(seals[1..].iter().copied());
                quoting.seals.heads.0.pop_last();
            }),
        ),
        (
            "a session that begins only now",
            Box::new(|forger, quoting| {
                let data = start_data(&quoting.asked.nonce, &quoting.asked.session);
                let (start, values) = forger.quote(data, vec![12]);
                (quoting.seals.start, quoting.seals.value) = (start, *values.value(12).expect("a value"));
                quoting.seals.heads = Heads::default();
            }),
        ),
    ]
}

#[test]
fn what_is_rewritten_reordered_or_dropped_after_a_seal_is_refused() {
    if !here() {
        return;
    }
    let node = with_a_run();
    let forger = Forger::new(&node, "out");
    assert!(forger.quoting.seals.heads.0.len() >= 2);
    // The same frames, written and quoted anew, are no forgery: so it is not the way that is refused.
    let same = forger.write("same", &forger.frames);
    assert_eq!(forger.verify("same", &same, &|_, _| {}), proven());
    let at = forger.place();
    let mut rewritten = forger.frames.clone();
    let bytes = rewritten[at].encode_to_vec();
    let place = bytes.windows(FILE.len()).position(|bytes| bytes == FILE.as_bytes()).expect("the file");
    let changed = [&bytes[..place], b"/etc/hosthome", &bytes[place + FILE.len()..]].concat();
    rewritten[at] = Frame::decode(changed.as_slice()).expect("a frame");
    let mut reordered = forger.frames.clone();
    reordered.swap(at, at + 1);
    let mut dropped = forger.frames.clone();
    dropped.remove(at);
    let mut longer = forger.frames.clone();
    longer.push(rewritten[at].clone());
    for (what, frames) in [("rewritten", rewritten), ("reordered", reordered), ("dropped", dropped), ("longer", longer)]
    {
        let forged = forger.write(what, &frames);
        for (how, bend) in bends(&forged.heads) {
            assert_eq!(forger.verify(what, &forged, bend.as_ref()), refused("SEAL_REFUSED"), "{what}: {how}");
        }
    }
    // And a seal of the forged log after all others.
    let forged = forger.write("late", &forger.frames[..forger.frames.len() - 1]);
    let session = forger.claims.log.session_id;
    let late = Seal { session, boottime_ns: u64::MAX, commitment: forged.log().commitment() };
    let number = seals(&forger.quoting).len() as u64 + 1;
    forger.ask(Ask::Extend { pcr: 12, sha256: late.digest(number).as_slice().into() });
    let bend = |_: &Forger<'_>, quoting: &mut Quoting| {
        quoting.seals.list = list(seals(quoting).into_iter().chain([late]));
        quoting.seals.heads.0.insert(number, forged.log());
    };
    assert_eq!(forger.verify("late", &forged, &bend), refused("SEAL_REFUSED"));
}

#[test]
fn a_log_that_grew_after_it_was_rewritten_has_other_heads() {
    if !here() {
        return;
    }
    let node = with_a_run();
    let forger = Forger::new(&node, "out");
    let mut frames = forger.frames.clone();
    frames.swap(forger.place(), forger.place() + 1);
    // One more before the end, so that no seal is of its size, and a last seal of all of it.
    frames.insert(forger.place(), frames[forger.place()].clone());
    let forged = forger.write("longer", &frames);
    let bend = forger.seal_anew(&forged, forger.claims.log.session_id);
    assert_eq!(forger.verify("longer", &forged, &bend), refused("SEAL_REFUSED"));
    let says = node.says("longer", &["--accept-incomplete"]);
    assert!(says.contains("the log has another head"), "{says}");
}

#[test]
fn a_log_of_a_time_that_is_over_cannot_be_made_up_under_another_session() {
    if !here() {
        return;
    }
    let node = with_a_run();
    let forger = Forger::new(&node, "out");
    let session = [7; 16];
    let forged = forger.write_as(session, "again", &forger.frames);
    let (start, values) = forger.quote(start_data(&forger.quoting.asked.nonce, &session), vec![12]);
    let seal = forger.seal_anew(&forged, session);
    let bend = |forger: &Forger<'_>, quoting: &mut Quoting| {
        quoting.asked.session = session;
        (quoting.seals.start, quoting.seals.value) = (start.clone(), *values.value(12).expect("a value"));
        quoting.seals.heads = Heads::default();
        seal(forger, quoting);
    };
    assert_eq!(forger.verify("again", &forged, &bend), refused("SEAL_REFUSED"));
    let says = node.says("again", &["--accept-incomplete"]);
    assert!(says.contains("began before its first quote"), "{says}");
}

#[test]
fn a_quote_is_signed_by_whoever_signed_the_statement() {
    if !here() {
        return;
    }
    let node = Node::enrolled();
    for name in ["one", "two"] {
        well(&node.run(name, &[], &["true"]));
    }
    well(&node.testimony(&["keygen", "-o", "other"]));
    let mut forger = Forger::new(&node, "one");
    forger.key = KeyFile::from_pem(&fs::read(node.path("other")).expect("a key")).expect("a key");
    let about = read_envelope(File::open(node.path("one.intoto.jsonl")).expect("a statement")).expect("an envelope");
    let about = Sha256::digest(about.into_unverified()).into();
    forger.sign("one.quote.intoto.jsonl", &|out: &mut dyn Write| forger.quoting.write(&about, out));
    assert_eq!(node.verify("one", &["--key", "other.pub"]), refused("QUOTE_REFUSED"));
    forger.key = KeyFile::from_pem(&pem(&node)).expect("a key");
    forger.sign("one.quote.intoto.jsonl", &|out: &mut dyn Write| forger.quoting.write(&about, out));
    assert_eq!(node.verify("one", &["--key", "other.pub"]), proven());
}
