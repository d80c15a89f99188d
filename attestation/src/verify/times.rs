//! The check `time`: when the signatures existed, by the word of authorities that were given.
//!
//! A statement says itself when its session was; that is the host's clock. A timestamp, or a log's receipt, says that a signature existed
//! at a time: it was made then, or before. Nothing here says how long before.

use super::checks::{not_claimed, proven, refused};
use super::{Check, Options, Vouched, checks};
use crate::codes;
use crate::dsse::{Envelope, Signature, Timestamps};
use crate::escape::escape;
use crate::merkle::Hash;
use crate::receipt::{Receipt, ReceiptError};
use crate::statement::Claims;
use crate::time;
use crate::timestamp::{Token, TokenError};
use crate::x509::UnixSeconds;

const NAME: &str = "time";
const OPEN: &str = "How long before that it was signed, and that the host's clock was right meanwhile.";
const CLOCK: &str = "When it was signed: its times are those of the host's clock.";
/// Clocks of authorities, hosts and verifiers may differ by so many seconds.
pub(super) const SKEW_S: u64 = 300;

/// A time at which a signature existed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Existed {
    pub(super) at: UnixSeconds,
    /// By whose word, escaped.
    pub(super) by: String,
}

/// What the timestamps of one signature say.
#[derive(Debug, Default)]
struct Seen {
    /// By authorities that were given; the earliest first.
    existed: Vec<Existed>,
    /// Timestamps and receipts of others.
    unknown: usize,
    /// One that was held against its authority, and does not hold.
    wrong: Option<(&'static str, String)>,
}

/// A signature that held, for what its time says.
struct Held<'a> {
    seen: &'a Seen,
    keyid: &'a str,
    /// Whether its key was there when it was made: the statement names it, or its certificate is older. A key can be made to
    /// fit a signature that is there already, and any payload besides; not one that names the key.
    key_is_older: bool,
}

/// What the timestamps of all signatures say, in their order.
pub(super) struct Times {
    seen: Vec<Seen>,
    /// Whether an authority or a log was given.
    asked: bool,
    /// Receipts that are of none of the signatures.
    of_others: usize,
}

impl Times {
    pub(super) fn read(envelope: &Envelope, options: &Options<'_>) -> Self {
        let payload = (!options.receipts.is_empty()).then(|| envelope.payload_sha256());
        let seen = envelope.signatures().iter().map(|signature| Seen::of(signature, payload.as_ref(), options));
        let has = |receipt: &&Receipt| envelope.signatures().iter().any(|other| receipt.entry().has(other.bytes()));
        Self {
            seen: seen.collect(),
            asked: !options.authorities.is_empty() || !options.logs.is_empty(),
            of_others: options.receipts.len() - options.receipts.iter().filter(has).count(),
        }
    }

    /// When a signature existed, by its place.
    pub(super) fn existed(&self, place: usize) -> &[Existed] {
        self.seen.get(place).map(|seen| seen.existed.as_slice()).unwrap_or_default()
    }

    /// The check, given the places of the signatures that held, and which of these are by identities that are proven.
    pub(super) fn check(
        &self,
        held: &[(usize, String)],
        by_identity: impl Fn(usize, &str) -> bool,
        vouched: Option<&Vouched>,
        claims: &Claims,
    ) -> Check {
        let named = |keyid: &String| claims.meta.signer == *keyid || claims.meta.co_signers.contains(keyid);
        let held = || {
            held.iter().filter_map(|(place, keyid)| {
                let key_is_older = by_identity(*place, keyid) || named(keyid);
                Some(Held { seen: self.seen.get(*place)?, keyid, key_is_older })
            })
        };
        let first = |held: Held<'_>| Some((held.seen.existed.first()?.clone(), held.keyid.to_owned()));
        let mut found: Vec<(Existed, String)> = held().filter(|held| held.key_is_older).filter_map(first).collect();
        let by_voucher = |vouched: &Vouched| {
            let existed = Existed { at: vouched.at, by: "the authority in the bundle".to_owned() };
            (existed, vouched.signer.clone())
        };
        found.extend(vouched.map(by_voucher));
        found.dedup_by(|one, other| one.0 == other.0);
        if let Some((existed, _)) = found.iter().min_by_key(|(existed, _)| existed.at) {
            return in_order(existed, claims).unwrap_or_else(|| proven(NAME, all(&found, claims), OPEN));
        }
        if let Some((code, says)) = held().find_map(|held| held.seen.wrong.as_ref()) {
            return refused(NAME, code, says.clone(), CLOCK);
        }
        if held().any(|held| !held.seen.existed.is_empty()) {
            let says = "the statement does not name the key, which may have been made to fit the signature".to_owned();
            return not_claimed(NAME, None, says, CLOCK);
        }
        let unknown: usize = held().map(|held| held.seen.unknown).sum();
        let says = match (self.asked, unknown) {
            (_, 0) if self.of_others > 0 => "none of the receipts that were given is of this statement".to_owned(),
            (_, 0) => "neither a timestamp nor a receipt is there".to_owned(),
            (true, count) => {
                format!("{count} timestamps or receipts are there, none by an authority or log that was given")
            }
            (false, count) => {
                format!("{count} timestamps or receipts are there, and nobody was given to hold them against")
            }
        };
        not_claimed(NAME, None, says, CLOCK)
    }
}

impl Seen {
    fn of(signature: &Signature, payload: Option<&Hash>, options: &Options<'_>) -> Self {
        let mut seen = Self::default();
        seen.timestamps(signature, options);
        seen.receipts(signature, payload, options);
        seen.existed.sort_by_key(|existed| existed.at);
        // What lies ahead of the time that it is was not there yet, or one of the two clocks is wrong.
        let until = options.now.saturating_add(SKEW_S);
        if let Some(ahead) = seen.existed.iter().find(|existed| existed.at > until) {
            let (at, now) = (time::utc(ahead.at), time::utc(options.now));
            let says = format!("{} says that it was there at {at}, and it is verified as of {now}", ahead.by);
            seen.wrong = Some((codes::TIMESTAMP_REFUSED, says));
        }
        seen.existed.retain(|existed| existed.at <= until);
        seen
    }

    fn timestamps(&mut self, signature: &Signature, options: &Options<'_>) {
        let tokens = match signature.timestamps() {
            // Nobody is there to hold them against: they are counted.
            Timestamps::Tokens(tokens) if options.authorities.is_empty() => {
                self.unknown += tokens.len();
                return;
            }
            Timestamps::Malformed if options.authorities.is_empty() => return,
            Timestamps::Tokens(tokens) => tokens.as_slice(),
            Timestamps::Malformed => {
                self.wrong = Some((codes::TIMESTAMP_REFUSED, "its timestamps cannot be read".to_owned()));
                &[]
            }
        };
        for token in tokens {
            match stamped(token, signature.bytes(), options) {
                Ok(existed) => self.existed.push(existed),
                Err(TokenError::UnknownAuthority) => self.unknown += 1,
                Err(error) => self.wrong = Some((codes::TIMESTAMP_REFUSED, checks::chain(&error))),
            }
        }
    }

    fn receipts(&mut self, signature: &Signature, payload: Option<&Hash>, options: &Options<'_>) {
        for receipt in options.receipts.iter().filter(|receipt| receipt.entry().has(signature.bytes())) {
            match logged(receipt, options) {
                Ok(_) if payload != Some(receipt.entry().payload_sha256()) => {
                    let says = "a receipt is of this signature over another payload".to_owned();
                    self.wrong = Some((codes::RECEIPT_REFUSED, says));
                }
                Ok(existed) => self.existed.push(existed),
                Err(ReceiptError::OtherLog) => self.unknown += 1,
                Err(error) => self.wrong = Some((codes::RECEIPT_REFUSED, checks::chain(&error))),
            }
        }
    }
}

/// The first log that stands behind a receipt, or the error that says most.
fn logged(receipt: &Receipt, options: &Options<'_>) -> Result<Existed, ReceiptError> {
    let mut error = ReceiptError::OtherLog;
    for log in options.logs {
        match receipt.accept(log) {
            Ok(at) => return Ok(Existed { at, by: escape(log.name().as_bytes()).into_owned() }),
            Err(ReceiptError::OtherLog) => {}
            Err(other) => error = other,
        }
    }
    Err(error)
}

/// The first authority that stands behind a token, or the error that says most.
fn stamped(token: &[u8], signature: &[u8], options: &Options<'_>) -> Result<Existed, TokenError> {
    let token = Token::read(token)?;
    let mut error = TokenError::UnknownAuthority;
    for authority in options.authorities {
        match authority.accept(&token, signature) {
            Ok(at) => return Ok(Existed { at, by: escape(authority.name().as_bytes()).into_owned() }),
            Err(TokenError::UnknownAuthority) => {}
            Err(other) => error = other,
        }
    }
    Err(error)
}

/// A session cannot have ended after its signature existed: then the host's clock was wrong, and with it every time that it
/// wrote.
fn in_order(existed: &Existed, claims: &Claims) -> Option<Check> {
    let ended = claims.ended.filter(|ended| *ended > existed.at.saturating_add(SKEW_S))?;
    let (ended, at) = (time::utc(ended), time::utc(existed.at));
    let says =
        format!("the session says that it ended at {ended}, and its signature existed at {at}, by {}", existed.by);
    Some(refused(NAME, codes::CLOCK_CONTRADICTED, says, CLOCK))
}

fn all(found: &[(Existed, String)], claims: &Claims) -> String {
    let one = |(existed, keyid): &(Existed, String)| {
        let keyid = keyid.get(..12).unwrap_or(keyid);
        format!("the signature by key {keyid}… existed at {}, by {}", time::utc(existed.at), existed.by)
    };
    let says: Vec<String> = found.iter().map(one).collect();
    match claims.ended {
        Some(ended) => format!("{}; the session says that it ended at {}", says.join("; "), time::utc(ended)),
        None => says.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsse::{Signer, write_stamped};
    use crate::identity::tests::{Authority as Root, HOUR, ID, NOW, authority, root};
    use crate::receipt::LogKey;
    use crate::receipt::tests::Log;
    use crate::statement::{self, Meta};
    use crate::synthetic::{Session, key};
    use crate::timestamp::Authority;
    use crate::timestamp::tests::Stamper;
    use crate::verify::identity::tests::{found, named, svids};
    use crate::verify::{Outcome, Verdict, verify};

    fn signed(meta: &Meta, signers: &[&dyn Signer], stamp: impl Fn(&[u8]) -> Vec<Vec<u8>>) -> Vec<u8> {
        let session = Session::build();
        let (head, _) = session.write(8).unwrap();
        let trace = session.trace().unwrap();
        let mut envelope = Vec::new();
        write_stamped(&mut envelope, |out| statement::write(out, &trace, &head, meta), signers, stamp).unwrap();
        envelope
    }

    /// An SVID that signs, and its root.
    fn by_svid(stamp: impl Fn(&[u8]) -> Vec<Vec<u8>>) -> (Root, Vec<u8>) {
        let root = root(authority("root"));
        let envelope = signed(&named(ID, &[]), &[&svids(&root, 1)], stamp);
        (root, envelope)
    }

    fn check(envelope: &[u8], root: &Root, now: UnixSeconds, authorities: &[Authority]) -> Verdict {
        let identities = root.trusted();
        let options = Options { identities: Some(&identities), authorities, now, ..Options::by_keys(&[]) };
        verify(envelope, &Options { accept_incomplete: true, ..options })
    }

    const YEARS: u64 = 2 * 365 * 24 * HOUR;

    #[test]
    fn an_identity_outlives_its_svid_by_a_timestamp() {
        let stamper = Stamper::new();
        let (root, envelope) = by_svid(|signature| vec![stamper.stamp(signature, NOW)]);
        for now in [NOW, NOW + 2 * HOUR, NOW + YEARS] {
            let verdict = check(&envelope, &root, now, &[stamper.authority()]);
            assert_eq!(found(&verdict, "identity"), Some((Outcome::Proven, None)), "{now}");
            assert_eq!(found(&verdict, NAME), Some((Outcome::Proven, None)), "{now}");
            assert_eq!((verdict.exit_code(), verdict.signers[0].as_str()), (0, ID));
        }
        for authorities in [vec![], vec![Stamper::new().authority()]] {
            let verdict = check(&envelope, &root, NOW + YEARS, &authorities);
            assert_eq!(found(&verdict, "identity"), Some((Outcome::NotClaimed, Some(codes::SVID_EXPIRED))));
            assert_eq!(verdict.exit_code(), 1);
        }
    }

    #[test]
    fn a_timestamp_after_the_svid_expired_proves_no_identity() {
        let stamper = Stamper::new();
        let (root, envelope) = by_svid(|signature| vec![stamper.stamp(signature, NOW + 2 * HOUR)]);
        let verdict = check(&envelope, &root, NOW + YEARS, &[stamper.authority()]);
        assert_eq!(found(&verdict, "identity"), Some((Outcome::NotClaimed, Some(codes::SVID_EXPIRED))));
        assert_eq!(verdict.exit_code(), 1);
    }

    #[test]
    fn a_timestamp_vouches_for_its_own_signature_alone() {
        let stamper = Stamper::new();
        let (root, old) = by_svid(|signature| vec![stamper.stamp(signature, NOW)]);
        // Years later somebody has the key: another payload, the old signature with its timestamp, and a new one.
        let thief = svids(&root, 1);
        let forged = signed(&Meta { number: Some(7), ..named(ID, &[]) }, &[&thief], |_| vec![]);
        let [old, mut forged]: [serde_json::Value; 2] =
            [&old, &forged].map(|envelope| serde_json::from_slice(envelope).unwrap());
        let mut new = forged["signatures"][0].take();
        for certificate in [true, false] {
            if !certificate {
                new.as_object_mut().unwrap().remove("certificate");
            }
            for order in [[&old["signatures"][0], &new], [&new, &old["signatures"][0]]] {
                forged["signatures"] = serde_json::json!(order);
                let verdict = check(forged.to_string().as_bytes(), &root, NOW + YEARS, &[stamper.authority()]);
                assert_eq!(found(&verdict, "signature"), Some((Outcome::Refused, Some(codes::SIGNATURE_INVALID))));
                assert_ne!(found(&verdict, "identity").map(|found| found.0), Some(Outcome::Proven));
            }
            // The old timestamp on the new signature.
            let mut moved = new.clone();
            moved["timestamps"] = old["signatures"][0]["timestamps"].clone();
            forged["signatures"] = serde_json::json!([moved]);
            let verdict = check(forged.to_string().as_bytes(), &root, NOW + YEARS, &[stamper.authority()]);
            assert_eq!(verdict.exit_code(), 1);
        }
    }

    #[test]
    fn as_of_an_earlier_time_an_expired_svid_needs_a_witness_all_the_same() {
        let stamper = Stamper::new();
        let (root, plain) = by_svid(|_| vec![]);
        let (stamped_root, stamped) = by_svid(|signature| vec![stamper.stamp(signature, NOW)]);
        let check = |envelope: &[u8], root: &Root, clock| {
            let (identities, authorities) = (root.trusted(), [stamper.authority()]);
            let options = Options { identities: Some(&identities), authorities: &authorities, ..Options::by_keys(&[]) };
            let verdict = verify(envelope, &Options { now: NOW, clock, accept_incomplete: true, ..options });
            (found(&verdict, "identity").unwrap(), verdict.exit_code())
        };
        // Signed today with a key that was stolen, for whoever verifies as of the day on which its SVID was valid.
        assert_eq!(
            check(&plain, &root, NOW + YEARS),
            ((Outcome::NotClaimed, Some(codes::SVID_EXPIRED)), 1),
            "nothing says that it is not"
        );
        assert_eq!(check(&plain, &root, NOW + HOUR), ((Outcome::Proven, None), 0));
        assert_eq!(check(&stamped, &stamped_root, NOW + YEARS), ((Outcome::Proven, None), 0));
    }

    #[test]
    fn a_key_that_the_statement_does_not_name_may_be_younger_than_its_signature() {
        let (stamper, signer) = (Stamper::new(), key().unwrap());
        let envelope = signed(&named("another", &[]), &[&signer], |signature| vec![stamper.stamp(signature, NOW)]);
        let (keys, authorities) = ([signer.public().clone()], [stamper.authority()]);
        let options = Options { authorities: &authorities, now: NOW, ..Options::by_keys(&keys) };
        let verdict = verify(envelope.as_slice(), &Options { accept_incomplete: true, ..options });
        assert_eq!(found(&verdict, NAME), Some((Outcome::NotClaimed, None)));
    }

    #[test]
    fn timestamps_beside_a_key() {
        let stamper = Stamper::new();
        let by_key = |stamp: &dyn Fn(&[u8]) -> Vec<Vec<u8>>, now, authorities: &[Authority]| {
            let signer = key().unwrap();
            let envelope = signed(&named(signer.public().keyid(), &[]), &[&signer], stamp);
            let keys = [signer.public().clone()];
            let options = Options { authorities, now, accept_incomplete: true, ..Options::by_keys(&keys) };
            let verdict = verify(envelope.as_slice(), &options);
            (found(&verdict, NAME).unwrap(), verdict.exit_code())
        };
        let (good, other) = (|signature: &[u8]| vec![stamper.stamp(signature, NOW)], Stamper::new().authority());
        let own = [stamper.authority()];
        assert_eq!(by_key(&good, NOW + YEARS, &own), ((Outcome::Proven, None), 0));
        assert_eq!(by_key(&|_| vec![], NOW, &own), ((Outcome::NotClaimed, None), 0));
        assert_eq!(by_key(&good, NOW, &[]), ((Outcome::NotClaimed, None), 0));
        assert_eq!(by_key(&good, NOW, &[other]), ((Outcome::NotClaimed, None), 0));
        // What is wrong is refused by whoever asked, and costs nobody else the envelope.
        let refused = ((Outcome::Refused, Some(codes::TIMESTAMP_REFUSED)), 1);
        let of_another = |_: &[u8]| vec![stamper.stamp(b"another", NOW)];
        for wrong in
            [&of_another as &dyn Fn(&[u8]) -> Vec<Vec<u8>>, &|_| vec![b"no token".to_vec()], &|_| vec![vec![]; 9]]
        {
            assert_eq!(by_key(wrong, NOW, &own), refused);
            assert_eq!(by_key(wrong, NOW, &[]), ((Outcome::NotClaimed, None), 0));
        }
        // Verified as of a time before it.
        assert_eq!(by_key(&good, NOW - HOUR, &own), refused);
        assert_eq!(by_key(&good, NOW - SKEW_S, &own), ((Outcome::Proven, None), 0));
        // One that holds is enough, and the earliest counts.
        let two = |signature: &[u8]| vec![b"no token".to_vec(), stamper.stamp(signature, NOW)];
        assert_eq!(by_key(&two, NOW, &own), ((Outcome::Proven, None), 0));
    }

    #[test]
    fn a_receipt_is_as_good_as_a_timestamp() {
        let (log, root) = (Log::new("collector.example.org/log"), root(authority("root")));
        let envelope = signed(&named(ID, &[]), &[&svids(&root, 1)], |_| vec![]);
        let receipt = |envelope: &[u8], at| Receipt::read(log.receipt(envelope, at).as_bytes()).unwrap();
        let check = |receipt: Receipt, log: &Log| {
            let (identities, logs, receipts) = (root.trusted(), [log.key()], [receipt]);
            let identities = Some(&identities);
            let options = Options { identities, logs: &logs, receipts: &receipts, ..Options::by_keys(&[]) };
            let verdict =
                verify(envelope.as_slice(), &Options { now: NOW + YEARS, accept_incomplete: true, ..options });
            (found(&verdict, "identity").unwrap(), found(&verdict, NAME), verdict.exit_code())
        };
        let proven = (Outcome::Proven, None);
        let not_claimed = (Outcome::NotClaimed, Some(codes::SVID_EXPIRED));
        assert_eq!(check(receipt(&envelope, NOW), &log), (proven, Some(proven), 0));
        // Logged too late, in another log, with another key of that log's name, of another envelope.
        assert_eq!(check(receipt(&envelope, NOW + 2 * HOUR), &log).0, not_claimed);
        assert_eq!(check(receipt(&envelope, NOW), &Log::new("another.example.org")).0, not_claimed);
        assert_eq!(check(receipt(&envelope, NOW), &Log::new("collector.example.org/log")).0, not_claimed);
        let other = signed(&Meta { number: Some(2), ..named(ID, &[]) }, &[&svids(&root, 1)], |_| vec![]);
        assert_eq!(check(receipt(&other, NOW), &log).0, not_claimed);
    }

    #[test]
    fn a_receipt_that_does_not_hold_is_refused() {
        let (log, signer) = (Log::new("log"), key().unwrap());
        let envelope = signed(&named(signer.public().keyid(), &[]), &[&signer], |_| vec![]);
        let text = log.receipt(&envelope, NOW);
        let keys = [signer.public().clone()];
        let check = |text: &str, logs: &[LogKey], now| {
            let receipts = [Receipt::read(text.as_bytes()).unwrap()];
            let options = Options { logs, receipts: &receipts, now, ..Options::by_keys(&keys) };
            found(&verify(envelope.as_slice(), &Options { accept_incomplete: true, ..options }), NAME).unwrap()
        };
        let refused = |code| (Outcome::Refused, Some(code));
        assert_eq!(check(&text, &[log.key()], NOW), (Outcome::Proven, None));
        assert_eq!(check(&text, &[], NOW), (Outcome::NotClaimed, None));
        let twin = Log::new("log");
        assert_eq!(check(&text, &[twin.key()], NOW), refused(codes::RECEIPT_REFUSED));
        assert_eq!(check(&text, &[twin.key(), log.key()], NOW), (Outcome::Proven, None));
        assert_eq!(check(&text.replace("index 1", "index 0"), &[log.key()], NOW), refused(codes::RECEIPT_REFUSED));
        assert_eq!(check(&text, &[log.key()], NOW - HOUR), refused(codes::TIMESTAMP_REFUSED));
        assert_eq!(check(&log.receipt_of([7; 32], &envelope, NOW), &[log.key()], NOW), refused(codes::RECEIPT_REFUSED));
    }

    #[test]
    fn a_session_that_ended_after_its_timestamp_had_a_wrong_clock() {
        let stamper = Stamper::new();
        let (root, envelope) = by_svid(|signature| vec![stamper.stamp(signature, NOW)]);
        let claims = check(&envelope, &root, NOW, &[]).claims.unwrap();
        let ended = claims.ended.unwrap();
        let existed = |at| Existed { at, by: "tsa.pem".to_owned() };
        assert_eq!(in_order(&existed(ended), &claims), None);
        assert_eq!(in_order(&existed(ended - SKEW_S), &claims), None);
        let refused = in_order(&existed(ended - SKEW_S - 1), &claims).unwrap();
        assert_eq!((refused.outcome, refused.code), (Outcome::Refused, Some(codes::CLOCK_CONTRADICTED)));
    }
}
