//! Chains made for the purpose, good and bad, against their bundles.

use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};
use time::OffsetDateTime;

/// Any time.
pub(crate) const NOW: UnixSeconds = 1_800_000_000;
pub(crate) const HOUR: u64 = 3600;
const DOMAIN: &str = "example.org";
pub(crate) const ID: &str = "spiffe://example.org/ci/builder";

fn at(seconds: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds.cast_signed()).unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// A certificate as SPIRE makes them, of a workload.
pub(crate) fn workload() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![uri(ID)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyAgreement];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (at(NOW - 10), at(NOW + HOUR));
    params
}

/// And of an authority.
pub(crate) fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![uri("spiffe://example.org")];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (at(NOW - 24 * HOUR), at(NOW + 24 * HOUR));
    params
}

pub(crate) struct Authority {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

pub(crate) fn root(params: CertificateParams) -> Authority {
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Authority { der, issuer: Issuer::new(params, key) }
}

impl Authority {
    fn signs(&self, params: &CertificateParams) -> Vec<u8> {
        params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap().der().to_vec()
    }

    /// A workload's certificate for this key, and in PEM for an envelope.
    pub(crate) fn certifies(&self, params: &CertificateParams, pkcs8_pem: &str) -> Vec<u8> {
        let key = KeyPair::from_pem(pkcs8_pem).unwrap();
        pem(params.signed_by(&key, &self.issuer).unwrap().der()).into_bytes()
    }

    fn below(&self, params: CertificateParams) -> Authority {
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Authority { der, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn trusted(&self) -> Identities {
        let bundle = Bundle::of(DOMAIN.parse().unwrap(), &[&self.der]).unwrap();
        Identities { bundles: vec![bundle], patterns: vec![ID.parse().unwrap()], lifetime_max: None }
    }
}

fn chain(leaf: Vec<u8>, between: &[&Authority]) -> Chain {
    Chain::from_der(leaf, between.iter().map(|authority| authority.der.clone()).collect()).unwrap()
}

fn accept(leaf: &CertificateParams) -> Result<Svid, Refused> {
    let root = root(authority("root"));
    root.trusted().accept(&chain(root.signs(leaf), &[]), NOW)
}

#[test]
fn an_svid_is_who_it_says_from_when_to_when() {
    let svid = accept(&workload()).unwrap();
    assert_eq!((svid.id().to_string().as_str(), svid.not_before(), svid.not_after()), (ID, NOW - 10, NOW + HOUR));
    assert_eq!(svid.lifetime(), HOUR + 10);
}

#[test]
fn authorities_between_are_followed_and_only_as_they_may_sign() {
    let root = root(authority("root"));
    let between = root.below(authority("between"));
    let leaf = between.signs(&workload());
    assert!(root.trusted().accept(&chain(leaf.clone(), &[&between]), NOW).is_ok());
    let missing = root.trusted().accept(&chain(leaf, &[]), NOW);
    assert_eq!(missing, Err(ChainError::UnknownIssuer.into()));
    let mut no_signer = authority("between");
    no_signer.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let between = root.below(no_signer);
    let refused = root.trusted().accept(&chain(between.signs(&workload()), &[&between]), NOW);
    assert_eq!(refused, Err(ChainError::KeyUsage(1).into()));
    let mut no_authority = authority("between");
    no_authority.is_ca = IsCa::NoCa;
    let between = root.below(no_authority);
    let refused = root.trusted().accept(&chain(between.signs(&workload()), &[&between]), NOW);
    assert!(matches!(refused, Err(Refused::Chain(ChainError::Other(_)))), "{refused:?}");
}

#[test]
fn another_authority_of_the_same_name_is_none() {
    let (ours, theirs) = (root(authority("root")), root(authority("root")));
    let refused = ours.trusted().accept(&chain(theirs.signs(&workload()), &[]), NOW);
    assert!(matches!(refused, Err(Refused::Chain(_))), "{refused:?}");
}

#[test]
fn time_is_that_of_every_certificate() {
    let root = root(authority("root"));
    let (trusted, leaf) = (root.trusted(), chain(root.signs(&workload()), &[]));
    let at = |time: u64| trusted.accept(&leaf, time).map(drop);
    assert_eq!((at(NOW - 10), at(NOW + HOUR)), (Ok(()), Ok(())));
    assert_eq!(at(NOW - 11), Err(ChainError::NotYet.into()));
    assert_eq!(at(NOW + HOUR + 1), Err(ChainError::Expired.into()));
    assert_eq!(at(NOW + 25 * HOUR), Err(ChainError::NoAuthority.into()));
}

#[test]
fn old_authorities_stand_beside_new_ones() {
    let (mut old, new) = (authority("old"), root(authority("new")));
    old.not_after = at(NOW + HOUR);
    let old = root(old);
    let mut trusted = new.trusted();
    trusted.bundles.extend(old.trusted().bundles);
    assert!(trusted.accept(&chain(old.signs(&workload()), &[]), NOW).is_ok());
    assert!(trusted.accept(&chain(new.signs(&workload()), &[]), NOW).is_ok());
}

#[test]
fn a_name_is_one_spiffe_id_of_an_accepted_workload() {
    let named = |names: &[&str]| {
        let mut params = workload();
        params.subject_alt_names = names.iter().map(|name| uri(name)).collect();
        accept(&params).map(drop)
    };
    assert_eq!(named(&[]), Err(SvidError::Names(0).into()));
    assert_eq!(named(&[ID, "spiffe://example.org/ci/other"]), Err(SvidError::Names(2).into()));
    for wrong in
        ["https://example.org/ci/builder", "spiffe://example.org", "spiffe://example.org/", "spiffe://EXAMPLE.org/ci"]
    {
        assert_eq!(named(&[wrong]), Err(SvidError::Id.into()), "{wrong}");
    }
    let other = "spiffe://example.org/ci/other";
    assert_eq!(named(&[other]), Err(Refused::Name(other.parse().unwrap())));
    let foreign = "spiffe://example.com/ci/builder";
    assert_eq!(named(&[foreign]), Err(Refused::Name(foreign.parse().unwrap())));
}

#[test]
fn a_bundle_speaks_for_its_own_trust_domain_only() {
    let root = root(authority("root"));
    let mut trusted = root.trusted();
    let foreign = "spiffe://example.com/ci/builder";
    trusted.patterns = vec![foreign.parse().unwrap()];
    let mut params = workload();
    params.subject_alt_names = vec![uri(foreign)];
    let refused = trusted.accept(&chain(root.signs(&params), &[]), NOW);
    assert_eq!(refused, Err(Refused::NoBundle("example.com".to_owned())));
}

#[test]
fn what_a_key_is_for_is_looked_at() {
    let usages = |usages: &[KeyUsagePurpose]| {
        let mut params = workload();
        params.key_usages = usages.to_vec();
        accept(&params).map(drop)
    };
    for wrong in [
        &[][..],
        &[KeyUsagePurpose::KeyAgreement],
        &[KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign],
        &[KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign],
    ] {
        assert_eq!(usages(wrong), Err(SvidError::KeyUsage.into()), "{wrong:?}");
    }
    let mut params = workload();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    assert!(matches!(accept(&params), Err(Refused::Chain(ChainError::Other(_)))));
    params.extended_key_usages = vec![];
    assert!(accept(&params).is_ok());
}

#[test]
fn an_authority_is_no_workload() {
    let mut params = workload();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(accept(&params).map(drop), Err(SvidError::Authority.into()));
}

#[test]
fn a_key_of_another_kind_is_refused() {
    let root = root(authority("root"));
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let leaf = workload().signed_by(&key, &root.issuer).unwrap().der().to_vec();
    assert_eq!(root.trusted().accept(&chain(leaf, &[]), NOW).map(drop), Err(SvidError::Key.into()));
}

#[test]
fn what_is_critical_and_unknown_is_refused() {
    let mut params = workload();
    let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
    params.custom_extensions = vec![unknown.clone()];
    assert!(accept(&params).is_ok());
    unknown.set_criticality(true);
    params.custom_extensions = vec![unknown];
    assert!(matches!(accept(&params), Err(Refused::Chain(ChainError::Other(_)))));
}

#[test]
fn constraints_of_names_are_kept_or_refused() {
    let root = root(authority("root"));
    for subtree in
        [GeneralSubtree::DirectoryName(rcgen::DistinguishedName::new()), GeneralSubtree::DnsName("a.b".into())]
    {
        let mut params = authority("between");
        params.name_constraints =
            Some(NameConstraints { permitted_subtrees: vec![subtree], excluded_subtrees: vec![] });
        let between = root.below(params);
        let mut leaf = workload();
        leaf.subject_alt_names.push(SanType::DnsName("c.d".try_into().unwrap()));
        let refused = root.trusted().accept(&chain(between.signs(&leaf), &[&between]), NOW);
        assert!(matches!(refused, Err(Refused::Chain(ChainError::Other(_)))), "{refused:?}");
    }
}

#[test]
fn a_lifetime_beyond_the_limit_is_refused() {
    let root = root(authority("root"));
    let leaf = chain(root.signs(&workload()), &[]);
    let limited = |max: u64| Identities { lifetime_max: Some(max), ..root.trusted() }.accept(&leaf, NOW).map(drop);
    assert_eq!(limited(HOUR + 10), Ok(()));
    assert_eq!(limited(HOUR), Err(Refused::Lifetime { seconds: HOUR + 10, max: HOUR }));
}

#[test]
fn every_changed_byte_of_a_chain_is_refused() {
    let root = root(authority("root"));
    let (trusted, leaf) = (root.trusted(), root.signs(&workload()));
    for at in 0..leaf.len() {
        let mut changed = leaf.clone();
        changed[at] ^= 1;
        assert!(trusted.accept(&chain(changed, &[]), NOW).is_err(), "byte {at}");
    }
}

#[test]
fn too_many_certificates_or_bytes_are_refused() {
    assert_eq!(
        Chain::from_der(vec![], vec![vec![]; INTERMEDIATES_MAX + 1]),
        Err(ChainError::TooLong(INTERMEDIATES_MAX + 1))
    );
    let pem = pem(&root(authority("root")).der);
    let one = |bytes: &[u8]| Chain::from_pem(bytes, &[] as &[Vec<u8>]);
    assert!(one(pem.as_bytes()).is_ok());
    let padded = |bytes: usize| format!("{pem}{}", "\n".repeat(bytes - pem.len()));
    assert!(one(padded(CERTIFICATE_BYTES_MAX).as_bytes()).is_ok());
    for wrong in [format!("{pem}{pem}"), String::new(), "text".into(), padded(CERTIFICATE_BYTES_MAX + 1)] {
        assert_eq!(one(wrong.as_bytes()), Err(ChainError::Certificate(0)));
    }
}

#[test]
fn a_bundle_is_pem_or_json_and_of_authorities() {
    use base64::Engine as _;
    let root = root(authority("root"));
    let read = |bytes: &[u8]| Bundle::read(DOMAIN.parse().unwrap(), bytes);
    let encoded = base64::engine::general_purpose::STANDARD.encode(&root.der);
    let json = format!(
        r#"{{"keys":[{{"use":"jwt-svid","kty":"EC"}},{{"use":"x509-svid","kty":"EC","x5c":["{encoded}"]}}],"spiffe_sequence":1}}"#
    );
    let leaf = chain(root.signs(&workload()), &[]);
    for good in [pem(&root.der), format!("{}{}", pem(&root.der), pem(&root.der)), json.clone()] {
        let trusted = Identities { bundles: vec![read(good.as_bytes()).unwrap()], ..root.trusted() };
        assert!(trusted.accept(&leaf, NOW).is_ok());
    }
    let workload = pem(&root.signs(&workload()));
    assert!(matches!(read(workload.as_bytes()), Err(BundleError::NoAuthority(0))));
    for wrong in ["", "text", "{}", "{\"keys\":1}", "[]"] {
        assert!(matches!(read(wrong.as_bytes()), Err(BundleError::Format(_))), "{wrong}");
    }
    assert!(matches!(read(b"{\"keys\":[]}"), Err(BundleError::Count(0))));
    assert!(matches!(read(json.replace("x509-svid", "other").as_bytes()), Err(BundleError::Count(0))));
    assert!(matches!(read(json.replace(&encoded, "AAAA").as_bytes()), Err(BundleError::Certificate(0))));
    assert!(matches!(read(&vec![b' '; BUNDLE_BYTES_MAX + 1]), Err(BundleError::TooLarge)));
}

#[test]
fn patterns_stand_for_whole_segments() {
    let matches = |pattern: &str, id: &str| {
        pattern.parse::<Pattern>().unwrap().matches(&format!("spiffe://example.org{id}").parse().unwrap())
    };
    let domain = |path: &str| format!("spiffe://example.org{path}");
    for (pattern, yes, no) in [
        ("/a/b", vec!["/a/b"], vec!["/a", "/a/b/c", "/a/c", "/A/b"]),
        ("/*/b", vec!["/a/b", "/x/b"], vec!["/b", "/a/a/b", "/a/c"]),
        ("/a/**", vec!["/a/b", "/a/b/c"], vec!["/a", "/b/a"]),
        ("/**", vec!["/a", "/a/b"], vec![""]),
        ("/*", vec!["/a"], vec!["/a/b"]),
    ] {
        for (ids, expected) in [(yes, true), (no, false)] {
            for id in ids {
                assert_eq!(matches(&domain(pattern), id), expected, "{pattern} {id}");
            }
        }
    }
    assert!(!matches("spiffe://example.com/a", "/a"));
    for wrong in [
        "example.org/a",
        "spiffe://",
        "spiffe://*/a",
        "spiffe://example.org/",
        "spiffe://example.org/a/**/b",
        "spiffe://example.org/a*",
        "spiffe://example.org//a",
        "spiffe://example.org/..",
    ] {
        assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
    }
}
