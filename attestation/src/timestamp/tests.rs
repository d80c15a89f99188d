//! Tokens of OpenSSL's, and tokens made here, good and bad, against the authorities that were given.

use super::token::Held;
use super::wire::{Accuracy, EssCertIdV2, MessageImprint, SigningCertificateV2, TstInfo};
use super::*;
use crate::identity::tests::{HOUR, NOW};
use crate::x509::{UnixSeconds, pem};
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo};
use der::asn1::{Any, Int, ObjectIdentifier, OctetString, SetOfVec};
use der::{Decode as _, Encode, Tag};
use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rcgen::{PKCS_ECDSA_P256_SHA256, SigningKey as _};
use sha2::{Digest, Sha256};
use x509_cert::attr::Attribute;
use x509_cert::ext::Extension;
use x509_cert::spki::AlgorithmIdentifierOwned;

const MESSAGE: &[u8] = b"a signature";
/// DER of an extended key usage for timestamps, and of one for TLS clients besides.
const STAMPS: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 8];
const STAMPS_AND_MORE: &[u8] =
    &[0x30, 0x14, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 8, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 2];

/// A timestamp authority, and what it does wrong.
pub(crate) struct Stamper {
    pub(crate) chain: String,
    root: String,
    leaf: Vec<u8>,
    key: KeyPair,
    /// Changes what is signed.
    info: fn(&mut TstInfo),
    names: Vec<u8>,
}

fn usage(der: &[u8], critical: bool) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 37], der.to_vec());
    extension.set_criticality(critical);
    extension
}

fn named(name: &str, from: UnixSeconds, until: UnixSeconds) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let at = |seconds: u64| time::OffsetDateTime::from_unix_timestamp(seconds.cast_signed()).unwrap();
    (params.not_before, params.not_after) = (at(from), at(until));
    params
}

impl Stamper {
    pub(crate) fn new() -> Self {
        Self::with(&usage(STAMPS, true), NOW - 24 * HOUR)
    }

    fn with(usage: &CustomExtension, from: UnixSeconds) -> Self {
        let mut params = named("tsa root", NOW - 48 * HOUR, NOW + 48 * HOUR);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root_key = KeyPair::generate().unwrap();
        let root = pem(params.self_signed(&root_key).unwrap().der());
        let mut own = named("tsa", from, from + 48 * HOUR);
        own.is_ca = IsCa::ExplicitNoCa;
        own.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        own.custom_extensions = vec![usage.clone()];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let leaf = own.signed_by(&key, &Issuer::new(params, root_key)).unwrap().der().to_vec();
        Self { chain: pem(&leaf) + &root, root, names: leaf.clone(), leaf, key, info: |_| {} }
    }

    pub(crate) fn authority(&self) -> Authority {
        Authority::read("tsa.pem", self.chain.as_bytes()).unwrap()
    }

    /// A token over these bytes at a time.
    pub(crate) fn stamp(&self, message: &[u8], time: UnixSeconds) -> Vec<u8> {
        let utc = crate::time::utc(time).replace(['-', ':', 'T'], "");
        let mut info = TstInfo {
            version: 1,
            policy: ObjectIdentifier::new_unwrap("1.2.3"),
            message_imprint: MessageImprint {
                hash_algorithm: sha256(),
                hashed_message: octets(&Sha256::digest(message)),
            },
            serial_number: Int::new(&[1]).unwrap(),
            gen_time: Any::new(Tag::GeneralizedTime, utc.as_bytes()).unwrap(),
            accuracy: None,
            ordering: false,
            nonce: None,
            tsa: None,
            extensions: None,
        };
        (self.info)(&mut info);
        self.sign(&info.to_der().unwrap()).to_der().unwrap()
    }

    fn sign(&self, content: &[u8]) -> ContentInfo {
        let meant =
            EssCertIdV2 { hash_algorithm: None, cert_hash: octets(&Sha256::digest(&self.names)), issuer_serial: None };
        let attributes = SetOfVec::try_from(vec![
            attribute(wire::CONTENT_TYPE, &wire::TST_INFO),
            attribute(wire::MESSAGE_DIGEST, &octets(&Sha256::digest(content))),
            attribute(wire::SIGNING_CERTIFICATE_V2, &SigningCertificateV2 { certs: vec![meant], policies: None }),
        ])
        .unwrap();
        let held = Held::read(&self.leaf).unwrap();
        let tbs = held.certificate.tbs_certificate();
        let (issuer, serial_number) = (tbs.issuer().clone(), tbs.serial_number().clone());
        let signer = SignerInfo {
            version: CmsVersion::V1,
            sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber { issuer, serial_number }),
            digest_alg: sha256(),
            signature: octets(&self.key.sign(&attributes.to_der().unwrap()).unwrap()),
            signed_attrs: Some(attributes),
            signature_algorithm: sha256(),
            unsigned_attrs: None,
        };
        let signed = SignedData {
            version: CmsVersion::V3,
            digest_algorithms: SetOfVec::try_from(vec![sha256()]).unwrap(),
            encap_content_info: EncapsulatedContentInfo {
                econtent_type: wire::TST_INFO,
                econtent: Some(Any::encode_from(&octets(content)).unwrap()),
            },
            certificates: Some(vec![CertificateChoices::Certificate(held.certificate)].try_into().unwrap()),
            crls: None,
            signer_infos: vec![signer].try_into().unwrap(),
        };
        ContentInfo { content_type: wire::SIGNED_DATA, content: Any::encode_from(&signed).unwrap() }
    }
}

fn octets(bytes: &[u8]) -> OctetString {
    OctetString::new(bytes).unwrap()
}

fn sha256() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: wire::SHA256, parameters: None }
}

fn attribute(oid: ObjectIdentifier, value: &(impl Encode + der::Tagged)) -> Attribute {
    let value = Any::from_der(&value.to_der().unwrap()).unwrap();
    Attribute { oid, values: SetOfVec::try_from(vec![value]).unwrap() }
}

fn accept(token: &[u8], authority: &Authority) -> Result<UnixSeconds, TokenError> {
    authority.accept(&Token::read(token)?, MESSAGE)
}

#[test]
fn tokens_of_openssl_are_read_and_only_by_their_own_authority() {
    let files = [
        (&include_bytes!("../../tests/timestamps/rsa.der")[..], include_str!("../../tests/timestamps/rsa.pem")),
        (
            include_bytes!("../../tests/timestamps/rsa-sha1-id.der"),
            include_str!("../../tests/timestamps/rsa-sha1-id.pem"),
        ),
        (include_bytes!("../../tests/timestamps/p256.der"), include_str!("../../tests/timestamps/p256.pem")),
        (include_bytes!("../../tests/timestamps/p384.der"), include_str!("../../tests/timestamps/p384.pem")),
    ];
    for (index, (token, chain)) in files.iter().enumerate() {
        let own = Authority::read("chain", chain.as_bytes()).unwrap();
        // Made on the day that the file says.
        let day = accept(token, &own).unwrap() / 86_400;
        assert_eq!(day, 1_795_392_000 / 86_400, "{index}");
        // The root alone is enough: the token carries its signer's certificate.
        let root = &chain[chain.rfind("-----BEGIN").unwrap()..];
        let root = Authority::read("root", root.as_bytes()).unwrap();
        assert_eq!(accept(token, &root).map(|time| time / 86_400), Ok(day), "{index}");
        let other = root.accept(&Token::read(token).unwrap(), b"another signature");
        assert_eq!(other, Err(TokenError::OtherMessage), "{index}");
        for (_, chain) in files.iter().enumerate().filter(|(other, _)| *other != index).map(|(at, file)| (at, file.1)) {
            let chain = Authority::read("other", chain.as_bytes()).unwrap();
            assert_eq!(accept(token, &chain), Err(TokenError::UnknownAuthority), "{index}");
        }
    }
}

#[test]
fn a_token_says_when() {
    let stamper = Stamper::new();
    assert_eq!(accept(&stamper.stamp(MESSAGE, NOW), &stamper.authority()), Ok(NOW));
    let fraction = Stamper { info: |info| info.gen_time = generalized("20270115080000.123Z"), ..Stamper::new() };
    assert_eq!(accept(&fraction.stamp(MESSAGE, 0), &fraction.authority()), Ok(NOW + 1));
    // It existed by then at the latest, however inexact the authority's clock is.
    let inexact = |info: &mut TstInfo| {
        info.accuracy = Some(Accuracy { seconds: Some(60), millis: Some(1), micros: None });
    };
    let inexact = Stamper { info: inexact, ..Stamper::new() };
    assert_eq!(accept(&inexact.stamp(MESSAGE, NOW), &inexact.authority()), Ok(NOW + 61));
    for wrong in ["20270115080000", "20270115080000.Z", "20270115080000+0100", "2027011508Z", "20271315080000Z"] {
        assert_eq!(wire::unix_seconds(&generalized(wrong)), None, "{wrong}");
    }
}

fn generalized(text: &str) -> Any {
    Any::new(Tag::GeneralizedTime, text.as_bytes()).unwrap()
}

#[test]
fn what_a_token_may_not_say() {
    let malformed = |change: fn(&mut TstInfo)| {
        let stamper = Stamper { info: change, ..Stamper::new() };
        Token::read(&stamper.stamp(MESSAGE, NOW)).err()
    };
    assert_eq!(malformed(|info| info.version = 2), Some(TokenError::Malformed("its version is not 1")));
    let critical = malformed(|info| {
        let extn_id = ObjectIdentifier::new_unwrap("1.2.3");
        info.extensions = Some(vec![Extension { extn_id, critical: true, extn_value: octets(&[]) }]);
    });
    assert_eq!(critical, Some(TokenError::Malformed("it has a critical extension")));
    let sha1 = |info: &mut TstInfo| {
        info.message_imprint.hash_algorithm.oid = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
    };
    let sha1 = Stamper { info: sha1, ..Stamper::new() };
    assert_eq!(accept(&sha1.stamp(MESSAGE, NOW), &sha1.authority()), Err(TokenError::Algorithm("imprint")));
    let other = Stamper { names: b"another certificate".to_vec(), ..Stamper::new() };
    assert_eq!(accept(&other.stamp(MESSAGE, NOW), &other.authority()), Err(TokenError::OtherCertificate));
    assert_eq!(Token::read(&[0; TOKEN_BYTES_MAX + 1]).err(), Some(TokenError::TooLarge));
}

#[test]
fn who_may_sign_tokens() {
    for (wrong, error) in [
        (usage(STAMPS, false), TokenError::Usage),
        (usage(STAMPS_AND_MORE, true), TokenError::Usage),
        (usage(&[0x30, 0x0a, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 2], true), TokenError::Usage),
    ] {
        let stamper = Stamper::with(&wrong, NOW - HOUR);
        let root = Authority::read("root", stamper.root.as_bytes()).unwrap();
        assert_eq!(accept(&stamper.stamp(MESSAGE, NOW), &root), Err(error));
        assert_eq!(Authority::read("x", stamper.chain.as_bytes()).err(), Some(AuthorityError::Neither(1)));
    }
    let stamper = Stamper::new();
    let root = Authority::read("root", stamper.root.as_bytes()).unwrap();
    assert_eq!(accept(&stamper.stamp(MESSAGE, NOW), &root), Ok(NOW));
    for never in [NOW - 25 * HOUR, NOW + 25 * HOUR, NOW + 49 * HOUR, 0] {
        assert_eq!(accept(&stamper.stamp(MESSAGE, never), &root), Err(TokenError::NotValidThen), "{never}");
    }
    // The same name, and another key.
    let other = Stamper::new();
    assert!(matches!(
        accept(&stamper.stamp(MESSAGE, NOW), &Authority::read("root", other.root.as_bytes()).unwrap()),
        Err(TokenError::UnknownAuthority | TokenError::Chain)
    ));
    // A signer that is given is the only one.
    let mixed = Authority::read("mixed", (pem(&other.leaf) + &stamper.root).as_bytes()).unwrap();
    assert_eq!(accept(&stamper.stamp(MESSAGE, NOW), &mixed), Err(TokenError::UnknownAuthority));
}

#[test]
fn files_that_are_no_authority() {
    let stamper = Stamper::new();
    let read = |text: &str| Authority::read("x", text.as_bytes()).err();
    assert_eq!(read(""), Some(AuthorityError::Format));
    assert_eq!(read(&pem(b"no certificate")), Some(AuthorityError::Certificate(1)));
    assert_eq!(read(&pem(&stamper.leaf)), Some(AuthorityError::NoAuthority));
    assert_eq!(read(&stamper.root.repeat(65)), Some(AuthorityError::Count));
    assert_eq!(read(&stamper.root.repeat(3000)), Some(AuthorityError::TooLarge));
}

#[test]
fn an_answer_is_to_its_question() {
    let request = Request::new(MESSAGE, [0xff; 16]).unwrap();
    let answer = |status: &[u8], token: &[u8]| {
        let mut inner = Any::new(Tag::Sequence, status).unwrap().to_der().unwrap();
        inner.extend_from_slice(token);
        Any::new(Tag::Sequence, inner).unwrap().to_der().unwrap()
    };
    let granted = [2, 1, 0];
    let fresh = |info: &mut TstInfo| {
        let mut nonce = [0xff; 16];
        nonce[0] = 0x7f;
        info.nonce = Some(Int::new(&nonce).unwrap());
    };
    let stamper = Stamper { info: fresh, ..Stamper::new() };
    let token = stamper.stamp(MESSAGE, NOW);
    assert_eq!(request.token(&answer(&granted, &token)), Ok((token.clone(), NOW)));
    let refused = request.token(&answer(&[2, 1, 2, 0x30, 4, 0x0c, 2, b'n', b'o'], &[]));
    assert_eq!(refused, Err(ResponseError::Refused(": no".into())));
    // A refusal with a token is one.
    assert!(matches!(request.token(&answer(&[2, 1, 2], &token)), Err(ResponseError::Refused(_))));
    assert_eq!(request.token(&answer(&granted, &[])), Err(ResponseError::Malformed));
    assert_eq!(request.token(b"nonsense"), Err(ResponseError::Malformed));
    let other = request.token(&answer(&granted, &stamper.stamp(b"another", NOW)));
    assert_eq!(other, Err(TokenError::OtherMessage.into()));
    let stale = Stamper::new().stamp(MESSAGE, NOW);
    assert_eq!(request.token(&answer(&granted, &stale)), Err(ResponseError::Nonce));
}

proptest! {
    /// A token that was changed says the same time or nothing.
    #[test]
    fn no_change_makes_another_time(at in 0_usize..1600, bit in 0_u8..8) {
        let original = include_bytes!("../../tests/timestamps/p384.der");
        let authority = Authority::read("p384", include_bytes!("../../tests/timestamps/p384.pem")).unwrap();
        let time = accept(original, &authority).unwrap();
        let mut changed = original.to_vec();
        let at = at % changed.len();
        changed[at] ^= 1 << bit;
        if let Ok(other) = accept(&changed, &authority) {
            prop_assert_eq!(other, time);
        }
    }

    #[test]
    fn any_bytes_are_refused_in_words(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Token::read(&bytes).is_err());
    }
}
