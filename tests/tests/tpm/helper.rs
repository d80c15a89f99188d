//! The helper that asks the TPM, with software TPMs: what it hands out is held against keys by the pure verifier, and what goes wrong is
//! said.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use attestation::tpm::{
    AttestationKey, Credential, EndorsementKey, Makers, PcrValues, Quote, QuoteError, SECRET_BYTES, SigningKey,
    signature_to_der,
};
use tests::{Maker, Swtpm, TpmHelper};
use tpm_protocol::{Algorithm, Answer, Ask, FaultCode};

use crate::bench::{Bench, NONCE, attestation_key, digest, endorsement_key, here, now, quote, read};

const SECRET: &[u8; SECRET_BYTES] = b"a secret of thirty-two bytes....";

#[test]
fn a_quote_is_the_attestation_keys_and_of_what_the_registers_held() {
    if !here() {
        return;
    }
    let (mut bench, mut other) = (Bench::new(), Bench::new());
    bench.extend(digest("a"));
    let (key, given) = (bench.key(), bench.quote(&[0, 10, 12]));
    let shown = given.verify(&key).expect("it holds");
    assert_ne!(given.values.value(12), Some(&[0; 32]));
    let identity = bench.helper.identity();
    assert_eq!((identity.manufacturer.as_str(), identity.model.as_str()), ("IBM", "SWTPM"));
    assert_eq!((shown.reset_count, shown.firmware), (identity.clock.reset_count, identity.firmware_version));
    assert_eq!(*identity.attestation_name, *key.name());
    assert_eq!(
        (identity.banks.len(), identity.banks[0].algorithm.as_str(), identity.banks[0].pcrs.len()),
        (1, "sha256", 24)
    );
    // Another answer, other values, another TPM's key, and that TPM's quote.
    assert_eq!(given.quote.verify(&key, &[8; 32]), Err(QuoteError::OtherData));
    let mut values = given.values.clone();
    values.set(10, [1; 32]);
    assert_eq!(shown.had(&values), Err(QuoteError::Values));
    assert_eq!(given.verify(&other.key()), Err(QuoteError::Signature));
    assert_eq!(other.quote(&[0, 10, 12]).verify(&key), Err(QuoteError::Signature));
    for at in 0..given.quote.attest.len() {
        let mut changed = given.quote.clone();
        changed.attest[at] ^= 0x10;
        assert!(changed.verify(&key, &NONCE).is_err(), "{at}");
    }
    for at in 0..given.quote.signature.len() {
        let mut changed = given.quote.clone();
        changed.signature[at] ^= 0x10;
        assert!(changed.verify(&key, &NONCE).is_err(), "{at}");
    }
}

#[test]
fn the_endorsement_key_is_certified_by_its_maker() {
    if !here() {
        return;
    }
    let (maker, stranger) = (Maker::new(), Maker::new());
    let mut bench = Bench::of(Swtpm::made_by(&maker));
    let _other = Swtpm::made_by(&stranger);
    let identity = bench.helper.identity();
    let endorsement = &identity.endorsement[0];
    assert_eq!((identity.endorsement.len(), endorsement.algorithm), (1, Algorithm::Rsa2048));
    let certificate = endorsement.certificate.as_deref().expect("a certificate");
    let vouch = |maker: &Maker| {
        let makers = Makers::read(maker.authorities().as_bytes()).expect("makers");
        makers.vouch(&endorsement_key(&identity), certificate, now())
    };
    assert_eq!(vouch(&maker), Ok(()));
    assert!(vouch(&stranger).is_err());
}

#[test]
fn a_tpm_without_a_certificate_says_so() {
    if !here() {
        return;
    }
    let mut bench = Bench::of(Swtpm::start());
    assert_eq!(bench.fault(Ask::Identify { certified: true }), FaultCode::NoEkCertificate);
    let identity = bench.helper.identity();
    assert_eq!(identity.endorsement.len(), 1);
    assert!(identity.endorsement[0].certificate.is_none());
    assert!(bench.quote(&[0]).verify(&attestation_key(&identity)).is_ok());
}

#[test]
fn a_credential_is_opened_by_the_tpm_with_both_keys_alone() {
    if !here() {
        return;
    }
    let (mut bench, mut other) = (Bench::new(), Bench::new());
    let identity = bench.helper.identity();
    let key = attestation_key(&identity);
    bench.tpm.tool(&["tpm2_createek", "-c", "ek.ctx", "-G", "ecc", "-u", "ek.pub"]).expect("a key");
    bench.tpm.tool(&["tpm2_flushcontext", "-t"]).expect("room");
    let ecc = EndorsementKey::read(&bench.tpm.file("ek.pub")).expect("such a key");
    let foreign = other.key();
    for (algorithm, endorsement) in [(Algorithm::Rsa2048, endorsement_key(&identity)), (Algorithm::EccP256, ecc)] {
        let made = endorsement.make_credential(&key, SECRET).expect("made");
        assert_eq!(bench.activate(algorithm, &made), Ok(SECRET.to_vec()));
        // For another attestation key; by another TPM; changed.
        let for_another = endorsement.make_credential(&foreign, SECRET).expect("made");
        assert_eq!(bench.activate(algorithm, &for_another), Err(FaultCode::Credential));
        assert_eq!(other.activate(algorithm, &made), Err(FaultCode::Credential));
        for at in [0, 2, 20, 40, made.id_object.len() - 1] {
            let mut changed = made.clone();
            changed.id_object[at] ^= 1;
            assert_eq!(bench.activate(algorithm, &changed), Err(FaultCode::Credential), "{at}");
        }
        for at in [0, 1, 30, made.encrypted_secret.len() - 1] {
            let mut changed = made.clone();
            changed.encrypted_secret[at] ^= 1;
            assert_eq!(bench.activate(algorithm, &changed), Err(FaultCode::Credential), "{at}");
        }
        assert_eq!(bench.activate(algorithm, &made), Ok(SECRET.to_vec()));
    }
}

#[test]
fn extensions_are_replayed_and_other_registers_refused() {
    if !here() {
        return;
    }
    let mut bench = Bench::new();
    let mut replayed = PcrValues::new();
    for text in ["one", "two", "three"] {
        bench.extend(digest(text));
        replayed.extend(12, &digest(text));
    }
    assert_eq!(read(&mut bench.helper, &[12]), replayed);
    let given = bench.quote(&[12]);
    assert!(given.verify(&bench.key()).is_ok() && given.values == replayed);
    for pcr in [0, 10, 11, 13, 16, 23, 24] {
        let code = bench.fault(Ask::Extend { pcr, sha256: vec![0; 32].into() });
        assert_eq!(code, FaultCode::Refused, "{pcr}");
    }
    let all: Vec<u8> = (0..24).collect();
    assert_eq!(read(&mut bench.helper, &all).value(12), replayed.value(12));
}

#[test]
fn a_reset_is_told_apart_and_the_keys_come_back() {
    if !here() {
        return;
    }
    let mut bench = Bench::new();
    let key = bench.key();
    bench.extend(digest("before"));
    let given_before = bench.quote(&[12]);
    let before = given_before.verify(&key).expect("it holds");
    let resumed = bench.quote(&[12]).verify(&key).expect("it holds");
    assert!(before.is_same_boot(&resumed));
    assert!(before.clock_ms <= resumed.clock_ms);
    bench.tpm.power_off();
    bench.tpm.power_on();
    // The same helper, and one that is started anew.
    let given = bench.quote(&[12]);
    let after = given.verify(&key).expect("it holds");
    assert!(!before.is_same_boot(&after));
    assert_eq!(after.reset_count, before.reset_count + 1);
    assert_eq!(given.values.value(12), Some(&[0; 32]));
    bench.extend(digest("before"));
    let given = quote(&mut bench.another_helper(), &[12]);
    let same_values = given.verify(&key).expect("it holds");
    // A replay of the register alone would not be seen: the count is what says it.
    assert_eq!(given.values, given_before.values);
    assert!(!same_values.is_same_boot(&before));
    assert_eq!(same_values.reset_count, after.reset_count);
    // Shut down as for a sleep, and started as for a boot: the registers go back all the same, and only the other count says so.
    bench.tpm.tool(&["tpm2_shutdown"]).expect("shut down");
    bench.tpm.power_off();
    bench.tpm.power_on();
    let given = bench.quote(&[12]);
    let restarted = given.verify(&key).expect("it holds");
    assert_eq!(given.values.value(12), Some(&[0; 32]));
    assert_eq!(restarted.reset_count, same_values.reset_count);
    assert!(!restarted.is_same_boot(&same_values));
}

#[test]
fn a_signing_key_is_certified_signs_and_is_kept() {
    if !here() {
        return;
    }
    let mut bench = Bench::new();
    let sign = |helper: &mut TpmHelper| match helper.ask(Ask::Sign { sha256: digest("statement").to_vec().into() }) {
        Ok(Answer::Signed { signature }) => Ok(signature),
        Ok(other) => panic!("{other:?}"),
        Err(fault) => Err(fault.code),
    };
    assert_eq!(sign(&mut bench.helper), Err(FaultCode::NoSigningKey));
    let key = bench.key();
    let certified = |helper: &mut TpmHelper| match helper.ask(Ask::SigningKey { nonce: NONCE.to_vec().into() }) {
        Ok(Answer::SigningKey { public, attest, signature }) => {
            let signing = SigningKey::read(&public).expect("such a key");
            let certificate = Quote { attest: attest.to_vec(), signature: signature.to_vec() };
            assert_eq!(certificate.certifies(&key, &[8; 32], &signing), Err(QuoteError::OtherData));
            assert_eq!(certificate.certifies(&key, &NONCE, &signing), Ok(()));
            signing
        }
        other => panic!("{other:?}"),
    };
    let signing = certified(&mut bench.helper);
    let verifies = |signature: &[u8], text: &str| {
        signing.key().verifies(&digest(text), &signature_to_der(signature).expect("ECDSA"))
    };
    let signature = sign(&mut bench.helper).expect("signed");
    assert!(verifies(&signature, "statement"));
    assert!(!verifies(&signature, "another"));
    bench.tpm.power_off();
    bench.tpm.power_on();
    let mut again = bench.another_helper();
    assert_eq!(certified(&mut again), signing);
    assert!(verifies(&sign(&mut again).expect("signed"), "statement"));
    let mode = |name: &str| fs::metadata(bench.state.join(name)).expect("it is there").permissions().mode() & 0o777;
    let modes = ["tpm", "tpm/attestation-key", "tpm/signing-key"].map(mode);
    assert_eq!(modes, [0o700, 0o600, 0o600]);
}

#[test]
fn the_attestation_key_signs_nothing_from_outside() {
    if !here() {
        return;
    }
    let bench = &mut Bench::new();
    let _ = bench.key();
    // In the signing key's place.
    fs::copy(bench.state.join("tpm/attestation-key"), bench.state.join("tpm/signing-key")).expect("copied");
    assert_eq!(bench.fault(Ask::Sign { sha256: vec![0; 32].into() }), FaultCode::Tpm);
}

#[test]
fn keys_of_another_tpm_are_not_replaced() {
    if !here() {
        return;
    }
    let (mut bench, mut other) = (Bench::new(), Bench::new());
    let (key, foreign) = (bench.key(), other.key());
    let (own, theirs) = (bench.state.join("tpm/attestation-key"), other.state.join("tpm/attestation-key"));
    let kept = fs::read(&own).expect("kept");
    fs::copy(theirs, &own).expect("copied");
    assert_eq!(bench.fault(Ask::Identify { certified: true }), FaultCode::ForeignKeys);
    fs::write(&own, "").expect("written");
    assert_eq!(bench.fault(Ask::Identify { certified: true }), FaultCode::State);
    assert_eq!(fs::read(&own).expect("kept"), b"");
    fs::write(&own, kept).expect("written");
    assert_eq!(bench.key(), key);
    assert_ne!(key, foreign);
}

/// Clearing a TPM sets its counters back, so that resets could be counted up again to where they were: the attestation key
/// must not outlive it.
#[test]
fn a_cleared_tpm_has_lost_the_keys() {
    if !here() {
        return;
    }
    let mut bench = Bench::new();
    let before = bench.helper.identity();
    bench.tpm.tool(&["tpm2_clear"]).expect("cleared");
    assert_eq!(bench.fault(Ask::Quote { nonce: NONCE.to_vec().into(), pcrs: vec![12] }), FaultCode::ForeignKeys);
    fs::remove_file(bench.state.join("tpm/attestation-key")).expect("removed");
    let after = bench.helper.identity();
    assert_ne!(after.attestation_name, before.attestation_name);
    // The endorsement key is the same, and so is its certificate.
    assert_eq!(*after.endorsement[0].public, *before.endorsement[0].public);
    assert!(after.clock.reset_count < before.clock.reset_count);
}

#[test]
fn a_tpm_that_is_gone_is_said_and_found_again() {
    if !here() {
        return;
    }
    let mut bench = Bench::new();
    let key = bench.key();
    let ask = || Ask::Quote { nonce: NONCE.to_vec().into(), pcrs: vec![12] };
    bench.tpm.power_off();
    assert_eq!(bench.fault(ask()), FaultCode::Unreachable);
    bench.tpm.power_on();
    assert!(bench.quote(&[12]).verify(&key).is_ok());
    // While it is asked.
    bench.tpm.freeze();
    bench.helper.put(ask());
    std::thread::sleep(std::time::Duration::from_millis(200));
    bench.tpm.power_off();
    let code = bench.helper.answer().expect_err("a fault").code;
    assert!([FaultCode::Vanished, FaultCode::Unreachable].contains(&code), "{code:?}");
    bench.tpm.power_on();
    assert!(bench.quote(&[12]).verify(&key).is_ok());
    let mut nowhere = TpmHelper::start("device:/nowhere/tpm", &bench.state.join("tpm"));
    assert_eq!(nowhere.ask(ask()).expect_err("a fault").code, FaultCode::NoDevice);
    let mut nonsense = TpmHelper::start("telepathy", &bench.state.join("tpm"));
    assert_eq!(nonsense.ask(ask()).expect_err("a fault").code, FaultCode::Unreachable);
}

#[test]
fn it_goes_away_in_the_middle_of_a_question() {
    if !here() {
        return;
    }
    let mut bench = Bench::new();
    let key = bench.key();
    // Many commands each: the question is begun at some time, and the TPM goes at another.
    let (mut vanished, mut unreachable) = (0, 0);
    for round in 0..40 {
        bench.helper.put(Ask::Identify { certified: true });
        std::thread::sleep(std::time::Duration::from_micros(round * 900));
        bench.tpm.power_off();
        match bench.helper.answer() {
            Ok(_) => {}
            Err(fault) if fault.code == FaultCode::Vanished => vanished += 1,
            Err(fault) if fault.code == FaultCode::Unreachable => unreachable += 1,
            Err(other) => panic!("{other:?}"),
        }
        bench.tpm.power_on();
    }
    println!("vanished {vanished} times, was not reached {unreachable} times");
    assert!(vanished > 0);
    assert_eq!(bench.key(), key);
}

/// `TPM2_StartAuthSession` of a policy session, without a key, a salt or encryption.
fn start_session() -> Vec<u8> {
    let mut command = vec![0x80, 0x01, 0, 0, 0, 0, 0, 0, 0x01, 0x76];
    command.extend([0x40, 0, 0, 0x07, 0x40, 0, 0, 0x07, 0, 16]);
    command.extend([0x5a; 16]);
    command.extend([0, 0, 0x01, 0, 0x10, 0, 0x0b]);
    let length = u32::try_from(command.len()).expect("a length");
    command[2..6].copy_from_slice(&length.to_be_bytes());
    command
}

#[test]
fn sessions_that_others_hold_are_said_and_ours_are_given_back() {
    if !here() {
        return;
    }
    let mut bench = Bench::new();
    let identity = bench.helper.identity();
    // More than a TPM without a resource manager has, if one were left behind.
    for _ in 0..8 {
        let made = endorsement_key(&identity).make_credential(&attestation_key(&identity), SECRET);
        assert_eq!(bench.activate(Algorithm::Rsa2048, &made.expect("made")), Ok(SECRET.to_vec()));
        let changed = Credential { id_object: vec![0, 0], encrypted_secret: vec![0, 0] };
        assert_eq!(bench.activate(Algorithm::Rsa2048, &changed), Err(FaultCode::Credential));
    }
    let started = |answer: Vec<u8>| answer.get(6..10) == Some(&[0; 4]);
    let taken = (0..10).take_while(|_| started(bench.tpm.command(&start_session()))).count();
    assert_eq!(taken, 3);
    assert_eq!(bench.fault(Ask::Identify { certified: true }), FaultCode::NoSessions);
    // What needs none goes on.
    assert!(bench.quote(&[12]).verify(&attestation_key(&identity)).is_ok());
    bench.tpm.tool(&["tpm2_flushcontext", "-l"]).expect("room");
    assert_eq!(bench.helper.identity().attestation_name, identity.attestation_name);
}

#[test]
fn guesses_at_others_passwords_stop_nothing_of_ours() {
    if !here() {
        return;
    }
    let mut bench = Bench::new();
    let identity = bench.helper.identity();
    // With no attempt left the TPM is in lockout at once (`TPM2_DictionaryAttackParameters`, with the empty password).
    let mut command = vec![0x80, 0x02, 0, 0, 0, 39, 0, 0, 0x01, 0x3a, 0x40, 0, 0, 0x0a, 0, 0, 0, 9];
    command.extend([0x40, 0, 0, 0x09, 0, 0, 0, 0, 0]);
    command.extend([0, 1000, 1000].map(u32::to_be_bytes).concat());
    assert_eq!(bench.tpm.command(&command).get(6..10), Some([0; 4].as_slice()));
    assert!(bench.quote(&[12]).verify(&attestation_key(&identity)).is_ok());
    let made = endorsement_key(&identity).make_credential(&attestation_key(&identity), SECRET);
    assert_eq!(bench.activate(Algorithm::Rsa2048, &made.expect("made")), Ok(SECRET.to_vec()));
    bench.tpm.power_off();
    bench.tpm.power_on();
    assert_eq!(bench.helper.identity().attestation_name, identity.attestation_name);
}

#[test]
fn two_helpers_at_once_have_one_key_and_lose_nothing() {
    if !here() {
        return;
    }
    const ROUNDS: usize = 20;
    let bench = Bench::new();
    let keys: Vec<AttestationKey> = std::thread::scope(|scope| {
        let helpers: Vec<_> = (0..2)
            .map(|_| {
                let mut helper = bench.another_helper();
                scope.spawn(move || {
                    let key = attestation_key(&helper.identity());
                    for _ in 0..ROUNDS {
                        let extended = helper.ask(Ask::Extend { pcr: 12, sha256: digest("x").to_vec().into() });
                        assert!(matches!(extended, Ok(Answer::Extended)), "{extended:?}");
                        quote(&mut helper, &[12]).verify(&key).expect("it holds");
                    }
                    key
                })
            })
            .collect();
        helpers.into_iter().map(|helper| helper.join().expect("it ends")).collect()
    });
    assert_eq!(keys[0], keys[1]);
    let mut replayed = PcrValues::new();
    for _ in 0..2 * ROUNDS {
        replayed.extend(12, &digest("x"));
    }
    assert_eq!(read(&mut bench.another_helper(), &[12]), replayed);
}
