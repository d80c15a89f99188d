//! What holds of what a machine says, whatever its bytes: structures of its TPM, logs of its boot, the statement of a quote, messages of
//! an enrolment. What is read leads to one value alone; a log that is cut is a beginning of it or none; no bytes are a quote that the
//! attestation key did not sign; no bytes are two kinds of key.

use attestation::platform::{
    Answer, BootPolicy, Challenge, HEADS_MAX, Head, Machine, Message, NONCE_BYTES_MAX, Pending, Quoting, Request,
    SEAL_BYTES, SEAL_PCRS, SEALS_MAX, SIGNERS_MAX, Seal, SealList, Terms,
};
use attestation::synthetic::tpm::{Node, Sealed, Tpm};
use attestation::synthetic::{self, Session};
use attestation::tpm::event_log::{EVENTS_MAX, EventLog};
use attestation::tpm::ima::{Extra, IMA_ENTRIES_MAX, IMA_PCR, ImaList};
use attestation::tpm::{
    AttestationKey, EndorsementKey, PCRS, PcrValues, Quote, SECRET_BYTES, SigningKey, extended, signature_to_der,
};
use attestation::verify::{Objects, Options, Outcome, Platform, verify};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::OnceLock;

/// The first byte of an input that is firmware's log.
pub const FIRMWARE: u8 = 0;
/// That of one that is the kernel's list.
pub const LIST: u8 = 1;
/// That of one that chooses the entries of a list.
pub const ENTRIES: u8 = 2;
/// That of one that is the public area of a key (TPM2B_PUBLIC).
pub const PUBLIC: u8 = 3;
/// That of one that is a TPMS_ATTEST, to be signed by an attestation key, after 32 bytes that it may be over.
pub const ATTEST: u8 = 4;
/// That of one that is a TPMT_SIGNATURE over anything.
pub const SIGNATURE: u8 = 5;
/// That of one that is a list of seals.
pub const SEALS: u8 = 6;
/// That of one that is a message of an enrolment, an enrolment, or a policy of boots.
pub const ENROLMENT: u8 = 7;

/// That of one that chooses what is said of a session's seals otherwise than it was, before the TPM quotes that.
pub const SEALED: u8 = 8;

const SECRET: &[u8] = b"another secret";

/// Whether something was read. Without a first byte from above it is the statement of a quote.
pub fn hold(input: &[u8]) -> bool {
    match input.split_first() {
        Some((&FIRMWARE, rest)) => firmware(rest),
        Some((&LIST, rest)) => list(rest),
        Some((&ENTRIES, rest)) => entries(rest),
        Some((&PUBLIC, rest)) => public(rest),
        Some((&ATTEST, rest)) => attest(rest),
        Some((&SIGNATURE, rest)) => signature(rest),
        Some((&SEALS, rest)) => seals(rest),
        Some((&ENROLMENT, rest)) => enrolment(rest),
        Some((&SEALED, rest)) => sealed(rest),
        _ => quoting(input),
    }
}

/// A place in these bytes that depends on all of them.
fn place(bytes: &[u8]) -> usize {
    let digest = Sha256::digest(bytes);
    usize::from(u16::from_le_bytes([digest[0], digest[1]])) % bytes.len().max(1)
}

fn firmware(bytes: &[u8]) -> bool {
    let Ok(log) = EventLog::read(bytes) else {
        return false;
    };
    let events = log.events();
    assert!(events.len() <= EVENTS_MAX, "{} events", events.len());
    // Register, kind, number of digests, one digest by its algorithm, the length of the data.
    let least: usize = events.iter().map(|event| 4 + 4 + 4 + 2 + 32 + 4 + event.data.len()).sum();
    assert!(least <= bytes.len(), "events of {least} bytes in {}", bytes.len());
    let at = place(bytes);
    if let Ok(beginning) = EventLog::read(&bytes[..at]) {
        assert_eq!(beginning.events(), &events[..beginning.events().len()], "a log that was cut is another");
    }
    let Ok(replayed) = log.replay() else {
        return true;
    };
    for pcr in 0..PCRS {
        let of = |event: &&attestation::tpm::event_log::Event<'_>| event.is_measured() && event.pcr == u32::from(pcr);
        let measured: Vec<_> = events.iter().filter(of).collect();
        let from = |begins: [u8; 32]| measured.iter().fold(begins, |value, event| extended(&value, &event.sha256));
        let starts = [0, 3, 4].map(|locality| {
            let mut begins = [0; 32];
            begins[31] = if pcr == 0 { locality } else { 0 };
            from(begins)
        });
        match replayed.value(pcr) {
            Some(value) => assert!(!measured.is_empty() && starts.contains(value), "register {pcr}"),
            None => assert!(measured.is_empty(), "register {pcr} was extended"),
        }
    }
    true
}

fn list(bytes: &[u8]) -> bool {
    let Ok(list) = ImaList::read(bytes) else {
        return false;
    };
    let entries = list.entries();
    assert!(entries.len() <= IMA_ENTRIES_MAX, "{} entries", entries.len());
    let at = place(bytes);
    if let Ok(beginning) = ImaList::read(&bytes[..at]) {
        assert_eq!(beginning.entries(), &entries[..beginning.entries().len()], "a list that was cut is another");
    }
    let mut values = PcrValues::new();
    values.set(IMA_PCR, [0; 32]);
    for (count, entry) in (1..).zip(entries) {
        assert!(values.extend(entry.pcr, &entry.extends_with()), "entry {count} is of register {}", entry.pcr);
        let led = list.leads_to(values.value(IMA_PCR).expect("it was set"));
        // Entries of other registers do not change this one: the first that leads there counts.
        assert!(led.is_some_and(|led| led <= count), "entry {count} leads to what is not found");
    }
    assert_eq!(list.leads_to(&[1; 32]), None, "a value that nothing leads to");
    let replayed = list.replay();
    assert!(replayed.iter().all(|(pcr, value)| values.value(pcr) == Some(value)), "two ways to replay it");
    true
}

/// Bytes with their length before them.
fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).expect("an input is short").to_le_bytes(), bytes].concat()
}

/// Makes a list as a kernel does, of entries that the bytes choose, and reads it.
fn entries(mut choices: &[u8]) -> bool {
    type Made<'a> = (u8, &'a [u8], &'a [u8], Option<&'a [u8]>, bool);
    const TEMPLATES: [&[u8]; 5] = [b"ima-ng", b"ima-ngv2", b"ima-sig", b"ima-sigv2", b"ima-buf"];
    let (mut bytes, mut made): (Vec<u8>, Vec<Made<'_>>) = (Vec::new(), Vec::new());
    while let [kind, pcr, digest_bytes, name_bytes, extra_bytes, rest @ ..] = choices {
        let lengths = [digest_bytes, name_bytes, extra_bytes].map(|byte| usize::from(*byte) % 64);
        let Some((all, after)) = rest.split_at_checked(lengths.iter().sum()) else { break };
        let (content, all) = all.split_at(lengths[0]);
        let (name, extra) = all.split_at(lengths[1]);
        choices = after;
        let template = TEMPLATES[usize::from(*kind) % TEMPLATES.len()];
        let has_extra = !template.starts_with(b"ima-ng");
        let violation = kind & 0x80 != 0;
        let third = if has_extra { sized(extra) } else { Vec::new() };
        let data = [sized(&[b"sha256:\0", content].concat()), sized(&[name, &[0]].concat()), third].concat();
        let sha1 = digest(&SHA1_FOR_LEGACY_USE_ONLY, &data);
        bytes.extend(u32::from(pcr % PCRS).to_le_bytes());
        bytes.extend(if violation { &[0; 20] } else { sha1.as_ref() });
        bytes.extend([sized(template), sized(&data)].concat());
        made.push((pcr % PCRS, content, name, has_extra.then_some(extra), violation));
    }
    let list = ImaList::read(&bytes).expect("a kernel wrote it");
    assert_eq!(list.entries().len(), made.len(), "entries");
    for (entry, (pcr, content, name, extra, violation)) in list.entries().iter().zip(made) {
        let found = match entry.extra {
            Extra::None => None,
            Extra::Signature(extra) | Extra::Buffer(extra) => Some(extra),
        };
        assert_eq!((entry.pcr, entry.algorithm, entry.violation), (pcr, b"sha256".as_slice(), violation));
        assert_eq!((entry.digest, entry.name, found), (content, name, extra));
    }
    self::list(&bytes)
}

fn public(bytes: &[u8]) -> bool {
    let (attesting, signing, endorsing) =
        (AttestationKey::read(bytes), SigningKey::read(bytes), EndorsementKey::read(bytes));
    let kinds = [attesting.is_ok(), signing.is_ok(), endorsing.is_ok()];
    assert!(kinds.iter().filter(|is| **is).count() <= 1, "a key of two kinds: {kinds:?}");
    let name = || [&[0, 0x0b][..], &Sha256::digest(&bytes[2..])].concat();
    if let Ok(key) = &attesting {
        assert_eq!(key.name(), name(), "the attestation key's name");
        credential(&endorsement_key(), key);
        let nothing = Quote { attest: bytes.to_vec(), signature: bytes.to_vec() };
        assert!(nothing.verify(key, bytes).is_err(), "it quotes something");
    }
    if let Ok(key) = &signing {
        assert_eq!(key.name(), name(), "the signing key's name");
    }
    if let Ok(key) = &endorsing {
        assert!(["rsa-2048", "ecc-p256"].contains(&key.template()));
        // A point that is not on the curve is found here, and nothing is encrypted for it.
        if key.to_der().is_ok() {
            credential(key, &attestation_key());
        }
    }
    kinds.contains(&true)
}

/// Structures that a TPM takes, if anything can be encrypted for this key at all.
fn credential(endorsing: &EndorsementKey, attesting: &AttestationKey) {
    let Ok(made) = endorsing.make_credential(attesting, &[5; SECRET_BYTES]) else {
        return;
    };
    for bytes in [&made.id_object, &made.encrypted_secret] {
        let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
        assert_eq!(length + 2, bytes.len(), "a structure with its length before it");
    }
    // An integrity value with its length, and the secret with its own, encrypted.
    assert_eq!(made.id_object.len(), 2 + 2 + 32 + 2 + SECRET_BYTES);
}

fn tpm() -> Tpm {
    Tpm::new(7).expect("a number above zero")
}

fn attestation_key() -> AttestationKey {
    AttestationKey::read(&tpm().public()).expect("an attestation key")
}

fn endorsement_key() -> EndorsementKey {
    EndorsementKey::read(&endorsement_public()).expect("an endorsement key")
}

/// The public area of an endorsement key on P-256.
pub fn endorsement_public() -> Vec<u8> {
    let mut public = tpm().public();
    // Decrypts instead of signing, with a symmetric algorithm beside it and no scheme: AES of 128 bits in CFB mode.
    public[7] = 3;
    let area = [&public[2..12], &[0, 0x06, 0, 128, 0, 0x43, 0, 0x10], &public[18..]].concat();
    let length = u16::try_from(area.len()).expect("it is short").to_be_bytes();
    [&length[..], &area].concat()
}

/// What an attestation key signed says something only over the bytes that it is over, and in one way.
fn attest(input: &[u8]) -> bool {
    let Some((data, attest)) = input.split_first_chunk::<32>() else {
        return false;
    };
    let (key, quote) = (attestation_key(), tpm().sign(attest.to_vec()));
    let mut other = *data;
    other[0] ^= 1;
    assert!(quote.verify(&key, &other).is_err() || quote.verify(&key, data).is_err(), "it is over two things");
    let quoted = quote.verify(&key, data);
    let certified = SigningKey::read(include_bytes!("../../attestation/tests/tpm/signing.pub")).expect("a key");
    let certifies = quote.certifies(&key, data, &certified);
    assert!(quoted.is_err() || certifies.is_err(), "a quote that certifies a key");
    let Ok(quoted) = quoted else {
        return certifies.is_ok();
    };
    assert!(attest.starts_with(b"\xffTCG"), "no TPM made it");
    assert!(attest.windows(32).any(|bytes| bytes == data), "what it is over does not stand in it");
    assert!(quoted.registers().is_sorted_by(|one, next| one < next), "{:?}", quoted.registers());
    assert!(quoted.is_same_boot(&quoted));
    let mut values = PcrValues::new();
    let all = quoted.registers().iter().all(|pcr| values.set(*pcr, [0; 32]));
    assert!(all || quoted.had(&values).is_err(), "registers that there are none of");
    let mut bent = quote.clone();
    let at = place(attest);
    bent.attest[at] ^= 1;
    assert!(bent.verify(&key, data).is_err(), "its byte {at} is not signed");
    true
}

fn signature(bytes: &[u8]) -> bool {
    let der = signature_to_der(bytes);
    let nothing = Quote { attest: b"\xffTCG".to_vec(), signature: bytes.to_vec() };
    assert!(nothing.verify(&attestation_key(), &[]).is_err(), "nobody signed it");
    let Some(der) = der else {
        return false;
    };
    // A sequence of two positive numbers that takes all of the bytes.
    assert!(der.first() == Some(&0x30) && der.len() <= bytes.len() + 8, "{der:02x?}");
    true
}

fn seals(bytes: &[u8]) -> bool {
    let Some(list) = SealList::from_bytes(bytes) else {
        assert!(!bytes.len().is_multiple_of(SEAL_BYTES), "whole records are refused");
        return false;
    };
    let again: Vec<u8> = list.iter().flat_map(|(_, seal)| seal.to_bytes()).collect();
    assert_eq!(again, bytes, "seals are their bytes");
    let registers: Vec<_> = list.registers().collect();
    assert_eq!((registers.len(), registers[0]), (list.iter().count() + 1, [0; 32]));
    for ((number, seal), pair) in list.iter().zip(registers.windows(2)) {
        assert_eq!(pair[1], extended(&pair[0], &seal.digest(number)), "seal {number}");
    }
    true
}

fn enrolment(json: &[u8]) -> bool {
    let (machine, policy) = (Machine::read(json), BootPolicy::read(json));
    if let Ok(machine) = &machine {
        assert!(SEAL_PCRS.contains(&machine.seal_pcr()));
        let again = machine.to_json().expect("text has a form");
        assert_eq!(Machine::read(&again).ok().as_ref(), Some(machine), "the enrolment read again");
    }
    if let Ok(policy) = &policy {
        let again = serde_json::to_vec(policy).expect("text has a form");
        assert_eq!(BootPolicy::read(&again).ok().as_ref(), Some(policy), "the policy read again");
        assert!(policy.boot_aggregates.is_sorted(), "what is searched is in order");
        assert!(policy.digests.as_ref().is_none_or(|digests| digests.is_sorted()), "what is searched is in order");
    }
    let request = Request::read(json);
    if let Ok(request) = &request {
        let again = request.to_json().expect("text has a form");
        assert_eq!(Request::read(&again).ok().as_ref(), Some(request), "the request read again");
        // Whoever believes it this once: what comes of it is one that can be answered, or nothing.
        let terms = Terms { name: "m", spiffe_id: None, seal_pcr: 12, makers: None, endorsement_key: None };
        if let Ok((challenge, pending)) = request.challenge(&terms, 1000, 1) {
            assert!(challenge.to_json().is_ok_and(|json| Challenge::read(&json).is_ok()));
            assert!(pending.accept(&Answer::new(&[0; SECRET_BYTES]), 1000).is_err(), "the secret was guessed");
        }
    }
    let pending = Pending::read(json);
    if let Ok(pending) = &pending {
        let sha256 = attestation::hex::encode(&Sha256::digest(SECRET));
        let named = json.windows(sha256.len()).any(|text| text == sha256.as_bytes());
        assert!(named || pending.accept(&Answer::new(SECRET), 0).is_err(), "it takes another secret");
    }
    let others = [pending.is_ok(), Challenge::read(json).is_ok(), Answer::read(json).is_ok(), request.is_ok()];
    assert!(others.iter().filter(|is| **is).count() <= 1, "a message of two kinds: {others:?}");
    machine.is_ok() || policy.is_ok() || others.contains(&true)
}

fn quoting(payload: &[u8]) -> bool {
    let Ok((quoting, about)) = Quoting::read(payload) else {
        return false;
    };
    let mut again = Vec::new();
    quoting.write(&about, &mut again).expect("memory takes everything");
    assert!(again.len() <= payload.len(), "a quote is shortest as it is written");
    assert_eq!(Quoting::read(&again).ok(), Some((quoting.clone(), about)), "the quote read again");
    assert!(quoting.asked.nonce.len() <= NONCE_BYTES_MAX && quoting.asked.signers.len() <= SIGNERS_MAX);
    assert!(quoting.seals.list.count() <= SEALS_MAX && quoting.seals.heads.0.len() <= HEADS_MAX);
    let key = attestation_key();
    if quoting.quote.verify(&key, &quoting.asked.data(&about)).is_ok() {
        let mut other = about;
        other[0] ^= 1;
        assert!(quoting.quote.verify(&key, &quoting.asked.data(&other)).is_err(), "it is about two statements");
    }
    true
}

/// A session that was sealed among others, with its machine.
struct Run {
    node: Node,
    sealed: Sealed,
    quote: Vec<u8>,
}

fn run() -> Run {
    let mut node = Node::new(7).expect("a number above zero");
    let other = [3; 16];
    let mut before = node.begin(other, 0);
    let head = Head { tree_size: 1, root: [5; 32] };
    node.seal(&mut before, head, 1);
    let seconds = [1, 2, 3].map(|second| second * 1_000_000_000);
    let sealed = Session::build().seal(&mut node, 20, &seconds).expect("memory takes everything");
    let quote = sealed.quote().expect("memory takes everything");
    Run { node, sealed, quote }
}

/// Whoever has the signing key, and has the TPM quote what they like, proves nothing but what was sealed.
fn sealed(choices: &[u8]) -> bool {
    static RUN: OnceLock<Run> = OnceLock::new();
    let Run { node, sealed, quote } = RUN.get_or_init(run);
    let mut quoting = sealed.quoting.clone();
    for choice in choices.chunks_exact(3).take(8) {
        bend(&mut quoting, [choice[0], choice[1], choice[2]]);
    }
    let is_same = quoting == sealed.quoting;
    node.quote_again(&mut quoting, &sealed.payload_sha256);
    let bent = Sealed::quote_of(&quoting, &sealed.payload_sha256).expect("memory takes everything");
    let proven = |quote: &[u8], with_evidence: bool| {
        let (keys, machines) = ([synthetic::key().expect("a key").public().clone()], [node.machine("m").expect("one")]);
        let evidence: Option<&dyn Objects> = if with_evidence { Some(&Log(&sealed.signed.objects)) } else { None };
        let platform = Platform { machines: &machines, quote: Some(quote), ..Platform::default() };
        let options = Options { evidence, platform, ..Options::by_keys(&keys) };
        let verdict = verify(sealed.signed.envelope.as_slice(), &options);
        let check = verdict.checks.iter().find(|check| check.name == "platform").expect("a quote was given");
        check.outcome == Outcome::Proven
    };
    assert!(proven(quote, true), "what was sealed is proven");
    for with_evidence in [true, false] {
        assert_eq!(proven(&bent, with_evidence), is_same, "said otherwise than it was: {quoting:?}");
    }
    is_same
}

/// Says one thing otherwise. What is not in range changes nothing.
fn bend(quoting: &mut Quoting, [what, at, by]: [u8; 3]) {
    let (at, bit) = (usize::from(at), 1 << (by % 8));
    let mut list: Vec<Seal> = quoting.seals.list.iter().map(|(_, seal)| *seal).collect();
    let place = at % list.len().max(1);
    let (heads, number) = (&mut quoting.seals.heads.0, place as u64 + 1);
    match what % 13 {
        0 => list.iter_mut().skip(place).take(1).for_each(|seal| seal.commitment[at % 32] ^= bit),
        1 => list.iter_mut().skip(place).take(1).for_each(|seal| seal.boottime_ns ^= u64::from(by)),
        2 => list.iter_mut().skip(place).take(1).for_each(|seal| seal.session[at % 16] ^= bit),
        3 => list.truncate(place),
        4 => list.extend(list.get(place).copied()),
        5 => {
            let last = list.len().saturating_sub(1);
            list.get_mut(place.min(last)..).unwrap_or_default().reverse();
        }
        6 => heads.values_mut().skip(place).take(1).for_each(|head| head.root[at % 32] ^= bit),
        7 => heads.values_mut().skip(place).take(1).for_each(|head| head.tree_size ^= u64::from(by)),
        8 => drop(heads.remove(&number)),
        9 => {
            let moved = heads.remove(&number);
            heads.extend(moved.map(|head| (u64::from(by), head)));
        }
        10 => quoting.seals.value[at % 32] ^= bit,
        11 => quoting.seals.pcr ^= by,
        _ => quoting.asked.nonce.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= bit),
    }
    let bytes: Vec<u8> = list.iter().flat_map(Seal::to_bytes).collect();
    quoting.seals.list = SealList::from_bytes(&bytes).expect("it is short");
}

/// The objects of a log.
struct Log<'a>(&'a BTreeMap<[u8; 32], Vec<u8>>);

impl Objects for Log<'_> {
    fn open(&self, sha256: &[u8; 32]) -> io::Result<Box<dyn Read + '_>> {
        self.0.get(sha256).map_or(Err(io::ErrorKind::NotFound.into()), |object| Ok(Box::new(object.as_slice())))
    }
}
