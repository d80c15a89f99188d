//! The check `platform`: on which machine the session was, by the word of its TPM, and whether what was sealed there while it ran is
//! what the log has.

use super::checks::{chain, not_claimed, proven, refused};
use super::{Check, Verdict};
use crate::codes;
use crate::dsse::{Envelope, PublicKey};
use crate::escape::escape;
use crate::merkle::{Hash, Tree};
use crate::platform::{self, Machine, Quoting, Seal, SealList, Seals, start_data};
use crate::statement::Claims;
use crate::tpm::{AttestationKey, PcrValues, QuoteError, Quoted as Answer};
use crate::trace::Trace;
use std::collections::BTreeMap;
use std::error::Error;

const NAME: &str = "platform";
const OPEN: &str = "That what was sealed is true, and when it was: the TPM signs what root gives it. What the machine booted, says the \
                    check of that.";
const NOT_COMPARED: &str = "That the log is the one that was sealed: the evidence was not given. What the machine booted, says the check of that.";
const NOTHING: &str = "On which machine it was.";

/// What is given of the machine.
#[derive(Clone, Copy, Default)]
pub struct Platform<'a> {
    /// Machines to trust.
    pub machines: &'a [Machine],
    /// The envelope of the quote, where there is one.
    pub quote: Option<&'a [u8]>,
    /// The nonce that the machine was given; without one, its own is taken.
    pub nonce: Option<&'a [u8]>,
    /// What is given of its boot.
    pub boot: platform::Boot<'a>,
}

/// A quote under a signature by whoever signed the statement.
pub(super) struct Quoted<'a> {
    given: &'a Platform<'a>,
    found: Option<Result<Found, String>>,
}

struct Found {
    envelope: Envelope,
    quoting: Quoting,
    /// The payload that it is about.
    about: Hash,
}

/// Heads of the log at the sizes that were sealed, and when it says that its session was.
#[derive(Default)]
pub(super) struct Heads {
    roots: BTreeMap<u64, Option<Hash>>,
    session: Option<(u64, u64)>,
}

impl Heads {
    /// Looks at the tree as it grows.
    pub(super) fn look(&mut self, tree: &Tree) {
        if let Some(root) = self.roots.get_mut(&tree.size()) {
            *root = Some(tree.root());
        }
    }

    /// The log was read to its end.
    pub(super) fn whole(&mut self, trace: &Trace) {
        let opened = trace.opened().opened_boottime_ns;
        self.session = Some((opened, trace.closed().map_or(opened, |closed| closed.closed_boottime_ns)));
    }
}

/// Why nothing is proven.
struct Refusal(&'static str, String);

impl Refusal {
    fn quote(says: impl Into<String>) -> Self {
        Self(codes::QUOTE_REFUSED, says.into())
    }

    fn of(what: &str, error: &dyn Error) -> Self {
        Self::quote(format!("{what}: {}", chain(error)))
    }

    fn seal(says: impl Into<String>) -> Self {
        Self(codes::SEAL_REFUSED, says.into())
    }
}

/// What was found, for the words of the check and for that of the boot.
struct Proof<'a> {
    machine: &'a Machine,
    sealed: usize,
    /// The longest time in which nothing was sealed, by the node's own clock; none if it is not known.
    unsealed_ns: Option<u64>,
    boot: Boot,
}

/// Which boot of a machine it was: neither count goes on by anything that keeps the registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Boot {
    resets: u32,
    restarts: u32,
}

/// What a quote that holds says of its machine's seals, to be held against those of other statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// What the machine is called.
    pub(super) machine: String,
    /// Its attestation key's name, and its boot.
    pub(super) scope: (Vec<u8>, Boot),
    pub(super) session: [u8; 16],
    pub(super) list: SealList,
}

impl<'a> Quoted<'a> {
    /// Reads the quote. Nothing of it is held against anything yet.
    pub(super) fn read(given: &'a Platform<'a>) -> Self {
        let read = |bytes| {
            let envelope = Envelope::from_bytes(bytes).map_err(|error| chain(&error))?;
            let (quoting, about) = Quoting::read(envelope.unverified()).map_err(|error| chain(&error))?;
            Ok(Found { envelope, quoting, about })
        };
        Self { given, found: given.quote.map(read) }
    }

    /// A signing key that the TPM of a machine that is trusted certifies: as good as one that was given.
    pub(super) fn certified_key(&self) -> Option<PublicKey> {
        let Found { quoting, .. } = self.found.as_ref()?.as_ref().ok()?;
        let machine = self.machine(quoting).ok()?;
        quoting.signing_key.as_ref()?.verify(machine.key()).ok()
    }

    fn machine(&self, quoting: &Quoting) -> Result<&'a Machine, Refusal> {
        let key = AttestationKey::read(&quoting.attestation_key);
        let key = key.map_err(|error| Refusal::of("the attestation key", &error))?;
        let machine = self.given.machines.iter().find(|machine| machine.key() == &key);
        machine.ok_or_else(|| Refusal::quote("it is by a machine that was not given"))
    }

    /// The sizes at which the log is to be looked at.
    pub(super) fn heads(&self) -> Heads {
        let Some(Ok(Found { quoting, .. })) = &self.found else { return Heads::default() };
        Heads { roots: quoting.seals.heads.0.values().map(|head| (head.tree_size, None)).collect(), session: None }
    }

    /// The checks, once everything else of the statement was looked at, and the seals if they hold; `keys` are those whose signatures
    /// over it held.
    pub(super) fn checks(
        &self,
        verdict: &Verdict,
        claims: &Claims,
        keys: &[PublicKey],
        heads: &Heads,
    ) -> (Vec<Check>, Option<Box<Sealed>>) {
        let machines = self.given.machines;
        let only = |check| (vec![check], None);
        let found = match &self.found {
            None if machines.is_empty() => return (Vec::new(), None),
            None => return only(refused(NAME, codes::QUOTE_MISSING, "no quote is there".to_owned(), NOTHING)),
            Some(_) if machines.is_empty() => {
                let says = "a quote is there, and no machine was given to hold it against".to_owned();
                return only(not_claimed(NAME, None, says, NOTHING));
            }
            Some(Err(says)) => return only(refused(NAME, codes::QUOTE_REFUSED, format!("the quote: {says}"), NOTHING)),
            Some(Ok(found)) => found,
        };
        match self.prove(found, verdict, claims, keys, heads) {
            Ok(proof) => {
                let compared = heads.session.is_some();
                let open = if compared { OPEN } else { NOT_COMPARED };
                let mut checks = vec![proven(NAME, self.says(&proof, found, compared), open)];
                checks.extend(self.given.boot.check(&found.quoting.registers));
                let sealed = Sealed {
                    machine: proof.machine.name().to_owned(),
                    scope: (proof.machine.key().name().to_owned(), proof.boot),
                    session: found.quoting.asked.session,
                    list: found.quoting.seals.list.clone(),
                };
                (checks, Some(Box::new(sealed)))
            }
            Err(Refusal(code, says)) => only(refused(NAME, code, says, NOTHING)),
        }
    }

    fn prove(
        &self,
        found: &Found,
        verdict: &Verdict,
        claims: &Claims,
        keys: &[PublicKey],
        heads: &Heads,
    ) -> Result<Proof<'a>, Refusal> {
        let Found { envelope, quoting, about } = found;
        if !envelope.is_signed_by_any(keys) {
            return Err(Refusal::quote("it is not signed by whoever signed the statement"));
        }
        let machine = self.machine(quoting)?;
        self.is_asked(found, verdict, claims, keys)?;
        let answer = quoting.quote.verify(machine.key(), &quoting.asked.data(about));
        let answer = answer.and_then(|answer| answer.had(&quoting.registers).map(|()| answer));
        let answer = answer.map_err(|error| Refusal::of("the quote at the end", &error))?;
        if quoting.seals.pcr != machine.seal_pcr() {
            let says = format!("it is sealed in register {}, and not in that of the enrolment", quoting.seals.pcr);
            return Err(Refusal::seal(says));
        }
        let lasted = sealed(quoting, &answer, machine.key())?;
        if let Some(session) = heads.session {
            compare(quoting, heads)?;
            fits(quoting, session, &lasted)?;
        }
        if let Some(id) = machine.spiffe_id().filter(|id| !verdict.signers.iter().any(|signer| signer == id)) {
            let says = format!("the machine is enrolled for {}, and nobody proved to be that", escape(id.as_bytes()));
            return Err(Refusal::quote(says));
        }
        let boot = Boot { resets: answer.reset_count, restarts: answer.restart_count };
        let unsealed_ns = longest_unsealed(quoting, heads.session);
        Ok(Proof { machine, sealed: quoting.seals.heads.0.len(), unsealed_ns, boot })
    }

    /// Whether the question was this statement's.
    fn is_asked(&self, found: &Found, verdict: &Verdict, claims: &Claims, keys: &[PublicKey]) -> Result<(), Refusal> {
        let Found { quoting: Quoting { asked, .. }, about, .. } = found;
        let log = (asked.session, asked.log.tree_size, asked.log.root);
        if verdict.payload_sha256 != Some(*about)
            || log != (claims.log.session_id, claims.log.tree_size, claims.log.root)
        {
            return Err(Refusal::quote("it is about another statement"));
        }
        if !asked.signers.iter().any(|signer| keys.iter().any(|key| key.keyid() == signer)) {
            return Err(Refusal::quote("whoever signed the statement is not among those that it names"));
        }
        match self.given.nonce {
            Some(nonce) if nonce != asked.nonce => Err(Refusal::quote("it does not answer the nonce that was given")),
            _ => Ok(()),
        }
    }

    fn says(&self, proof: &Proof<'_>, found: &Found, compared: bool) -> String {
        let quoting = &found.quoting;
        let machine = escape(proof.machine.name().as_bytes());
        let by = if proof.machine.is_certified() { "a maker vouches for its TPM" } else { "its TPM was believed once" };
        let heads = match proof.sealed {
            1 => "one head sealed".to_owned(),
            count => format!("{count} heads sealed"),
        };
        let nonce = if self.given.nonce.is_some() {
            "the nonce is the one given"
        } else {
            "the nonce is its own, which shows no freshness"
        };
        let register = quoting.seals.pcr;
        let unsealed = proof.unsealed_ns.map(|ns| {
            let (ms, of) = (ns.div_ceil(1_000_000), if compared { "" } else { " from the first of them on" });
            format!(", never longer than {}.{:03} s without one{of} by the node's clock", ms / 1000, ms % 1000)
        });
        let unsealed = unsealed.unwrap_or_default();
        let compared = if compared { "each of them the log's" } else { "not compared with the log" };
        format!(
            "{machine} ({by}), not started anew meanwhile; {heads} in register {register}{unsealed}, the last one that of the whole log, {compared}; {nonce}"
        )
    }
}

/// Whether all seals since the boot lead to what was quoted, by way of what was quoted at the start, and none of this session's is left
/// out.
fn sealed(quoting: &Quoting, end: &Answer, key: &AttestationKey) -> Result<Lasted, Refusal> {
    let Quoting { asked, seals, registers, .. } = quoting;
    let start = seals.start.verify(key, &start_data(&asked.nonce, &asked.session));
    let start = start.and_then(|start| begins(&start, seals).map(|()| start));
    let start = start.map_err(|error| Refusal::of("the quote at the start", &error))?;
    if !start.is_same_boot(end) || start.clock_ms > end.clock_ms {
        return Err(Refusal::seal("the TPM was reset, or restarted, between the start and the end"));
    }
    let (mut began, mut last) = (None, Hash::default());
    for (number, register) in (0_u64..).zip(seals.list.registers()) {
        if register == seals.value {
            began.get_or_insert(number);
        }
        last = register;
    }
    if registers.value(seals.pcr) != Some(&last) {
        return Err(Refusal::seal(format!(
            "the seals since the boot do not lead to what register {} holds",
            seals.pcr
        )));
    }
    let began = began.ok_or_else(|| Refusal::seal("the seals do not lead to what the register held at the start"))?;
    own_heads(quoting, began)?;
    Ok(Lasted { began, clock_ms: end.clock_ms - start.clock_ms })
}

/// What was between the two quotes.
struct Lasted {
    /// How many seals there were when the first was made.
    began: u64,
    /// How long it was, by the TPM's clock.
    clock_ms: u64,
}

/// Whether the session was when it says that it was: it began after what was sealed before its first quote, and did not last longer than
/// the time between the two. So nobody makes up a log as of a time that is over; one of a later session, anybody can who has key and TPM.
fn fits(quoting: &Quoting, (opened, closed): (u64, u64), lasted: &Lasted) -> Result<(), Refusal> {
    let before = quoting.seals.list.iter().take_while(|(number, _)| *number <= lasted.began).last();
    if before.is_some_and(|(_, seal)| seal.boottime_ns > opened) {
        return Err(Refusal::seal("the session says that it began before its first quote was made"));
    }
    let own = quoting.seals.list.iter().find(|(_, seal)| seal.session == quoting.asked.session);
    if own.is_some_and(|(_, seal)| seal.boottime_ns < opened) {
        return Err(Refusal::seal("a head was sealed before the session began"));
    }
    let claimed_ms = closed.saturating_sub(opened) / 1_000_000;
    // Clocks of TPMs need not be good: one that loses less than a third is taken.
    if lasted.clock_ms < claimed_ms / 3 * 2 {
        return Err(Refusal::seal("the session says that it lasted longer than was between its two quotes"));
    }
    Ok(())
}

/// The longest time in which nothing of the session was sealed: what was written in it could have been rewritten until its end. The
/// session's own times are known from its log alone; without them what came before the first seal is left out.
fn longest_unsealed(quoting: &Quoting, session: Option<(u64, u64)>) -> Option<u64> {
    let own = quoting.seals.list.iter().filter(|(_, seal)| seal.session == quoting.asked.session);
    let own = own.map(|(_, Seal { boottime_ns, .. })| *boottime_ns);
    let (opened, closed) = session.unzip();
    let times: Vec<u64> = opened.into_iter().chain(own).chain(closed).collect();
    // Its end is sealed after it, so that the last of these may come before the one before it.
    times.windows(2).filter_map(|pair| Some(pair.last()?.saturating_sub(*pair.first()?))).max()
}

/// Whether each seal of this session has its head beside it, and they are of one log that grew, the last one of all of it.
fn own_heads(Quoting { asked, seals, .. }: &Quoting, began: u64) -> Result<(), Refusal> {
    let (mut size, mut time, mut closed, mut own) = (0, 0, false, 0);
    for (number, seal) in seals.list.iter() {
        if seal.boottime_ns < time {
            return Err(Refusal::seal(format!("seal {number} is older than the one before it")));
        }
        time = seal.boottime_ns;
        if seal.session != asked.session {
            continue;
        }
        let head = seals.heads.0.get(&number).filter(|head| head.commitment() == seal.commitment && number > began);
        let head = head.ok_or_else(|| {
            Refusal::seal(format!("seal {number} is of this session, and of another head than is said, or of none"))
        })?;
        if head.tree_size < size || head.tree_size > asked.log.tree_size {
            return Err(Refusal::seal(format!("seal {number} is of a log that then became shorter")));
        }
        if head.tree_size == asked.log.tree_size && *head != asked.log {
            return Err(Refusal::seal(format!("seal {number} is of another log as long as this one")));
        }
        (size, closed, own) = (head.tree_size, *head == asked.log, own + 1);
    }
    if own != seals.heads.0.len() {
        return Err(Refusal::seal("there are heads of which there is no seal"));
    }
    // Whoever quotes has sealed the whole log before: what was added to it later is none of the node's.
    if closed { Ok(()) } else { Err(Refusal::seal("the last seal is not that of the whole log")) }
}

fn begins(start: &Answer, seals: &Seals) -> Result<(), QuoteError> {
    let mut values = PcrValues::new();
    values.set(seals.pcr, seals.value);
    start.had(&values)
}

/// Whether the log had these heads.
fn compare(quoting: &Quoting, heads: &Heads) -> Result<(), Refusal> {
    for head in quoting.seals.heads.0.values() {
        if heads.roots.get(&head.tree_size) != Some(&Some(head.root)) {
            let says = format!("the log has another head at {} frames than was sealed", head.tree_size);
            return Err(Refusal::seal(says));
        }
    }
    Ok(())
}
