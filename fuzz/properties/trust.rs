//! What holds of certificates, timestamp tokens, receipts and names, whatever their bytes: what an authority or a log that is given did
//! not sign has no time but the one that it signed; what is written again is the same.

use attestation::identity::{
    Bundle, CERTIFICATE_BYTES_MAX, Chain, INTERMEDIATES_MAX, Pattern, SpiffeId, Svid, TrustDomain,
};
use attestation::receipt::{LogKey, Receipt};
use attestation::timestamp::{Authority, Request, ResponseError, Token, TokenError};
use attestation::tpm::{AttestationKey, Makers};
use sha2::{Digest as _, Sha256};
use std::sync::OnceLock;

/// The first byte of an input that is a trust bundle, in PEM or JSON.
pub const BUNDLE: u8 = 0;
/// That of one that is certificates in PEM with a zero byte between, the workload's first.
pub const CHAIN: u8 = 1;
/// That of one that is a certificate in DER.
pub const CERTIFICATE: u8 = 2;
/// That of one that is a token of RFC 3161.
pub const TOKEN: u8 = 3;
/// That of one that is an authority's answer.
pub const ANSWER: u8 = 4;
/// That of one that is a file of authorities of timestamps or of makers.
pub const AUTHORITIES: u8 = 5;
/// That of one that is the key of a log.
pub const LOG_KEY: u8 = 6;
/// That of one that is a SPIFFE ID, or a pattern of such.
pub const NAME: u8 = 7;

/// When the receipt among the vectors was made.
const RECEIPT_TIME: u64 = 0x6b04_56e6;
/// Whenever.
const NOW: u64 = 1_800_000_000;

/// Whether something was read. Without a first byte from above it is a receipt.
pub fn hold(input: &[u8]) -> bool {
    match input.split_first() {
        Some((&BUNDLE, rest)) => bundle(rest),
        Some((&CHAIN, rest)) => chain(rest),
        Some((&CERTIFICATE, rest)) => certificate(rest),
        Some((&TOKEN, rest)) => token(rest),
        Some((&ANSWER, rest)) => answer(rest),
        Some((&AUTHORITIES, rest)) => authorities(rest),
        Some((&LOG_KEY, rest)) => log_key(rest),
        Some((&NAME, rest)) => name(rest),
        _ => receipt(input),
    }
}

/// The trust domain of everybody here.
pub fn domain() -> TrustDomain {
    "example.org".parse().expect("a trust domain")
}

fn bundle(bytes: &[u8]) -> bool {
    let Ok(bundle) = Bundle::read(domain(), bytes) else {
        return false;
    };
    assert_eq!(bundle.trust_domain(), &domain());
    // The workload's certificate is one of these authorities' at most if it is there.
    let stranger = Chain::from_der(vectors()[0].1.to_vec(), Vec::new()).expect("one certificate");
    assert!(stranger.verify(&[&bundle], NOW).is_err(), "no certificate stands behind a token");
    true
}

fn chain(bytes: &[u8]) -> bool {
    let parts: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
    let (leaf, between) = parts.split_first().expect("there is a part at least");
    let Ok(chain) = Chain::from_pem(leaf, between) else {
        return false;
    };
    assert!(leaf.len() <= CERTIFICATE_BYTES_MAX && between.len() <= INTERMEDIATES_MAX);
    let pem = chain.to_pem();
    assert_eq!(Chain::from_pem(&pem[0], &pem[1..]).ok().as_ref(), Some(&chain), "the chain read again");
    // No signature is by itself: whoever wrote the chain has none of an authority that is given.
    let given = vectors().iter().any(|(pem, der)| carried(der, chain.leaf()) || carried(pem, leaf));
    assert!(given || chain.verify(&[strangers()], NOW).is_err(), "an authority gave it that did not");
    certificate(chain.leaf());
    true
}

/// The authorities of timestamps, as if they were those of a trust domain.
fn strangers() -> &'static Bundle {
    static STRANGERS: OnceLock<Bundle> = OnceLock::new();
    STRANGERS.get_or_init(|| {
        const END: &str = "-----END CERTIFICATE-----\n";
        let texts = vectors().map(|(pem, _)| String::from_utf8_lossy(pem).into_owned());
        let one = |pem: &&str| Bundle::read(domain(), pem.as_bytes()).is_ok();
        let all: String = texts.iter().flat_map(|text| text.split_inclusive(END)).filter(one).collect();
        Bundle::read(domain(), all.as_bytes()).expect("certificates of authorities")
    })
}

/// Whether these bytes stand in others.
fn carried(whole: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && whole.windows(part.len()).any(|bytes| bytes == part)
}

fn certificate(der: &[u8]) -> bool {
    let Ok(svid) = Svid::read(der) else {
        return false;
    };
    let id = svid.id().to_string();
    assert_eq!(id.parse::<SpiffeId>().ok().as_ref(), Some(svid.id()), "the name read again");
    assert!(carried(der, id.as_bytes()), "its name does not stand in it");
    assert!(svid.lifetime() == svid.not_after().saturating_sub(svid.not_before()));
    true
}

/// Authorities, and a token of theirs over one message.
fn vectors() -> [(&'static [u8], &'static [u8]); 4] {
    [
        (
            include_bytes!("../../attestation/tests/timestamps/p256.pem"),
            include_bytes!("../../attestation/tests/timestamps/p256.der"),
        ),
        (
            include_bytes!("../../attestation/tests/timestamps/p384.pem"),
            include_bytes!("../../attestation/tests/timestamps/p384.der"),
        ),
        (
            include_bytes!("../../attestation/tests/timestamps/rsa.pem"),
            include_bytes!("../../attestation/tests/timestamps/rsa.der"),
        ),
        (
            include_bytes!("../../attestation/tests/timestamps/rsa-sha1-id.pem"),
            include_bytes!("../../attestation/tests/timestamps/rsa-sha1-id.der"),
        ),
    ]
}

const MESSAGE: &[u8] = include_bytes!("../../attestation/tests/timestamps/message");

/// An authority, the time that its token says, and the latest that it may mean.
struct Known {
    authority: Authority,
    time: u64,
    latest: u64,
}

fn known() -> &'static [Known] {
    static KNOWN: OnceLock<Vec<Known>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let known = |(pem, der): (&[u8], &[u8])| {
            let (authority, token) = (Authority::read("a", pem).expect("an authority"), Token::read(der).expect("one"));
            let latest = authority.accept(&token, MESSAGE).expect("it is its own");
            Known { authority, time: token.time(), latest }
        };
        vectors().into_iter().map(known).collect()
    })
}

/// What one of the authorities signed is its own token, in whatever it is wrapped.
fn token(der: &[u8]) -> bool {
    let Ok(token) = Token::read(der) else {
        return false;
    };
    assert!(token.time() <= token.latest());
    let signed = |times| known().iter().any(|known| (known.time, known.latest) == times);
    for Known { authority, .. } in known() {
        match authority.accept(&token, MESSAGE) {
            Ok(at) => assert!(signed((token.time(), at)), "a time that no authority signed"),
            Err(TokenError::OtherMessage) => panic!("the authority signed nothing else"),
            Err(_) => {}
        }
    }
    true
}

fn answer(der: &[u8]) -> bool {
    let request = Request::new(MESSAGE, [7; 16]).expect("it can be written");
    let refused = request.token(der).expect_err("an answer with a nonce that nobody saw");
    // What is good but for that was read to its end.
    refused == ResponseError::Nonce
}

fn authorities(pem: &[u8]) -> bool {
    let (authority, makers) = (Authority::read("", pem), Makers::read(pem));
    if let Ok(makers) = &makers {
        let public = include_bytes!("../../attestation/tests/tpm/ecc.pub");
        let key = AttestationKey::read(public).expect("an attestation key");
        assert!(!key.name().is_empty());
        let endorsing = attestation::tpm::EndorsementKey::read(&endorsement_public(public)).expect("one");
        assert!(makers.vouch(&endorsing, pem, NOW).is_err(), "a maker vouches for a key of nobody's");
    }
    if let Ok(authority) = &authority {
        for (_, der) in vectors() {
            let token = Token::read(der).expect("a token");
            let accepted = authority.accept(&token, b"another message");
            assert!(accepted.is_err(), "it is over another message");
        }
    }
    authority.is_ok() || makers.is_ok()
}

/// The same key as one that decrypts: with a symmetric algorithm, and without a scheme.
fn endorsement_public(attesting: &[u8]) -> Vec<u8> {
    let mut public = attesting.to_vec();
    public[7] = 3;
    let area = [&public[2..12], &[0, 0x06, 0, 128, 0, 0x43, 0, 0x10], &public[18..]].concat();
    let length = u16::try_from(area.len()).expect("it is short").to_be_bytes();
    [&length[..], &area].concat()
}

fn log() -> &'static LogKey {
    static LOG: OnceLock<LogKey> = OnceLock::new();
    LOG.get_or_init(|| {
        LogKey::read(include_str!("../../attestation/tests/receipts/log.vkey")).expect("the key of a log")
    })
}

fn log_key(bytes: &[u8]) -> bool {
    let Ok(key) = LogKey::read(&String::from_utf8_lossy(bytes)) else {
        return false;
    };
    assert!(!key.name().is_empty() && !key.name().contains(['+', '\n', ' ']), "{:?}", key.name());
    let receipt = Receipt::read(include_bytes!("../../attestation/tests/receipts/receipt.tlog-proof")).expect("one");
    assert!(key == *log() || receipt.accept(&key).is_err(), "another log had it too");
    true
}

/// What the log signed is one tree at one time: of it any entry, and nothing else.
fn receipt(text: &[u8]) -> bool {
    let Ok(receipt) = Receipt::read(text) else {
        return false;
    };
    let entry = receipt.entry().to_bytes();
    if let Ok(time) = receipt.accept(log()) {
        assert_eq!(time, RECEIPT_TIME, "a time that the log did not sign");
        let payload: [u8; 32] = Sha256::digest("payload").into();
        assert_eq!(*receipt.entry().payload_sha256(), payload, "an entry that the log did not have");
        assert!(receipt.entry().has(b"a signature"));
    }
    assert!(entry.ends_with(b"\n") && std::str::from_utf8(&entry).is_ok());
    true
}

/// A name is a pattern of itself alone.
fn name(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let (id, pattern) = (text.parse::<SpiffeId>(), text.parse::<Pattern>());
    if let Ok(id) = &id {
        assert_eq!(id.to_string(), text, "a name has one form");
        assert_eq!(id.to_string().parse::<SpiffeId>().ok().as_ref(), Some(id));
        let own = pattern.as_ref().expect("a name is a pattern");
        assert!(own.matches(id), "a name is its own pattern");
        // The longest name has none below it.
        let below = format!("{id}/below").parse::<SpiffeId>();
        assert!(below.is_ok_and(|below| !own.matches(&below)) || text.len() > 2040, "a name is that of those below");
    }
    if let Ok(pattern) = &pattern {
        let again: Pattern = pattern.to_string().parse().expect("it was one");
        assert_eq!(&again, pattern, "the pattern read again");
        let elsewhere: SpiffeId = "spiffe://elsewhere.example/a".parse().expect("a name");
        assert!(pattern.trust_domain() == elsewhere.trust_domain() || !pattern.matches(&elsewhere));
    }
    id.is_ok() || pattern.is_ok()
}
