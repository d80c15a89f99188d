//! Quotes and credentials against a TPM in software: what the verifier computes without a TPM is what a TPM makes and takes.

use std::fs;

use attestation::tpm::{
    AttestationKey, Credential, EndorsementKey, MakerError, Makers, PcrValues, Quote, QuoteError, SECRET_BYTES,
};
use sha2::{Digest, Sha256};
use tests::{Maker, Swtpm};

use crate::bench::here;

const SECRET: &[u8; SECRET_BYTES] = b"a secret of thirty-two bytes....";
const KINDS: [(&str, &str); 2] = [("ecc", "ecdsa"), ("rsa", "rsassa")];

fn done(said: Result<(), String>) {
    said.unwrap_or_else(|said| panic!("{said}"));
}

/// An endorsement key and an attestation key of a kind, under these names.
fn keys(tpm: &Swtpm, name: &str, kind: &str, scheme: &str) -> (EndorsementKey, AttestationKey) {
    let file = |what: &str| format!("{name}.{what}");
    done(tpm.tool(&["tpm2_createek", "-c", &file("ek"), "-G", kind, "-u", &file("ek.pub")]));
    let ak = ["tpm2_createak", "-C", &file("ek"), "-c", &file("ak"), "-G", kind, "-g", "sha256", "-s", scheme];
    done(tpm.tool(&[&ak[..], &["-u", &file("ak.pub")]].concat()));
    done(tpm.tool(&["tpm2_flushcontext", "-t"]));
    let endorsement = EndorsementKey::read(&tpm.file(&file("ek.pub"))).expect("an endorsement key");
    done(tpm.tool(&["tpm2_readpublic", "-c", &file("ek"), "-n", &file("ek.name")]));
    assert_eq!(tpm.file(&file("ek.name")), endorsement.name());
    let attestation = AttestationKey::read(&tpm.file(&file("ak.pub"))).expect("an attestation key");
    (endorsement, attestation)
}

/// What the TPM makes of a credential.
fn activate(tpm: &Swtpm, name: &str, credential: &Credential) -> Result<Vec<u8>, String> {
    // As tpm2-tools keep it: a magic number and a version before it.
    let header = [0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1];
    let file = [&header[..], &credential.id_object, &credential.encrypted_secret].concat();
    fs::write(tpm.folder.join("credential"), file).expect("written");
    done(tpm.tool(&["tpm2_startauthsession", "--policy-session", "-S", "session"]));
    done(tpm.tool(&["tpm2_policysecret", "-S", "session", "-c", "e"]));
    let (ak, ek) = (format!("{name}.ak"), format!("{name}.ek"));
    let words = ["tpm2_activatecredential", "-c", &ak, "-C", &ek, "-i", "credential", "-o", "opened"];
    let opened = tpm.tool(&[&words[..], &["-P", "session:session"]].concat());
    for kind in ["-t", "-l", "-s"] {
        done(tpm.tool(&["tpm2_flushcontext", kind]));
    }
    opened.map(|()| tpm.file("opened"))
}

#[test]
fn a_credential_is_opened_by_its_own_tpm_for_its_own_key_alone() {
    if !here() {
        return;
    }
    let (tpm, other) = (Swtpm::start(), Swtpm::start());
    for (kind, scheme) in KINDS {
        let (endorsement, attestation) = keys(&tpm, kind, kind, scheme);
        let credential = endorsement.make_credential(&attestation, SECRET).expect("a credential");
        assert_eq!(activate(&tpm, kind, &credential), Ok(SECRET.to_vec()), "{kind}");
        // Another each time.
        assert_ne!(endorsement.make_credential(&attestation, SECRET), Ok(credential.clone()));
        // The same, changed; for another key of the TPM's; in another TPM.
        for part in 0..2 {
            let mut changed = credential.clone();
            let bytes = if part == 0 { &mut changed.id_object } else { &mut changed.encrypted_secret };
            *bytes.last_mut().expect("bytes") ^= 1;
            assert!(activate(&tpm, kind, &changed).is_err(), "{kind} {part}");
        }
        let second = format!("{kind}-second");
        let (_, another) = keys(&tpm, &second, kind, scheme);
        assert!(activate(&tpm, &second, &credential).is_err(), "{kind}: another key");
        let for_another = endorsement.make_credential(&another, SECRET).expect("a credential");
        assert!(activate(&tpm, kind, &for_another).is_err(), "{kind}: a credential for another key");
        keys(&other, kind, kind, scheme);
        assert!(activate(&other, kind, &credential).is_err(), "{kind}: another TPM");
    }
}

#[test]
fn a_quote_is_of_its_tpm_its_question_and_its_registers() {
    if !here() {
        return;
    }
    let tpm = Swtpm::start();
    let head = Sha256::digest("a tree head");
    done(tpm.tool(&["tpm2_pcrextend", &format!("11:sha256={}", attestation::hex::encode(&head))]));
    let extended = Sha256::new().chain_update([0; 32]).chain_update(head).finalize();
    let mut values = PcrValues::new();
    assert!(values.set(7, [0; 32]) && values.set(11, extended.into()));
    for (kind, scheme) in KINDS {
        let (_, key) = keys(&tpm, kind, kind, scheme);
        let quote = ["tpm2_quote", "-c", &format!("{kind}.ak"), "-l", "sha256:7,11", "-q", "0a0b", "-g", "sha256"];
        done(tpm.tool(&[&quote[..], &["-m", "attest", "-s", "signature"]].concat()));
        done(tpm.tool(&["tpm2_flushcontext", "-t"]));
        let quote = Quote { attest: tpm.file("attest"), signature: tpm.file("signature") };
        let quoted = quote.verify(&key, &[0x0a, 0x0b]).expect("a quote");
        assert_eq!((quoted.registers(), quoted.had(&values)), (&[7, 11][..], Ok(())), "{kind}");
        assert_eq!(quote.verify(&key, &[0x0a, 0x0c]), Err(QuoteError::OtherData));
        let stranger = Swtpm::start();
        let (_, other) = keys(&stranger, kind, kind, scheme);
        assert_eq!(quote.verify(&other, &[0x0a, 0x0b]), Err(QuoteError::Signature));
    }
}

#[test]
fn a_maker_vouches_for_the_keys_of_its_tpms() {
    if !here() {
        return;
    }
    let (maker, stranger) = (Maker::new(), Maker::new());
    let (tpm, twin, other) = (Swtpm::made_by(&maker), Swtpm::made_by(&maker), Swtpm::made_by(&stranger));
    // The certificate stands in the TPM's own memory (TCG EK Credential Profile, section 2.2.1.4).
    let carried = |tpm: &Swtpm| {
        done(tpm.tool(&["tpm2_nvread", "0x01c00002", "-C", "o", "-o", "certificate"]));
        tpm.file("certificate")
    };
    let of = |tpm: &Swtpm| (keys(tpm, "rsa", "rsa", "rsassa").0, carried(tpm));
    let ((key, certificate), (_, twins), (foreign, foreigns)) = (of(&tpm), of(&twin), of(&other));
    let makers = Makers::read(maker.authorities().as_bytes()).expect("makers");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    assert_eq!(makers.vouch(&key, &certificate, now), Ok(()));
    // Memory beyond the certificate is not looked at.
    assert_eq!(makers.vouch(&key, &[&certificate[..], &[0xff; 40]].concat(), now), Ok(()));
    assert_eq!(makers.vouch(&key, &certificate, 1_000_000_000), Err(MakerError::NotValidThen));
    assert_eq!(makers.vouch(&key, &twins, now), Err(MakerError::OtherKey));
    assert!(matches!(makers.vouch(&foreign, &foreigns, now), Err(MakerError::Unknown | MakerError::Chain)));
    assert_eq!(makers.vouch(&key, b"nothing", now), Err(MakerError::Malformed));
    for at in [100, 300, certificate.len() - 10] {
        let mut changed = certificate.clone();
        changed[at] ^= 1;
        assert!(makers.vouch(&key, &changed, now).is_err(), "{at}");
    }
    // What is between alone vouches for nothing.
    let authorities = maker.authorities();
    let between = &authorities[authorities.rfind("-----BEGIN").expect("PEM")..];
    assert_eq!(Makers::read(between.as_bytes()).err(), Some(MakerError::Format));
}
