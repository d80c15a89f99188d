//! A software TPM, a helper that asks it, and what it gave, held against keys.

use std::time::{SystemTime, UNIX_EPOCH};

use attestation::tpm::{AttestationKey, Credential, EndorsementKey, PcrValues, Quote, QuoteError, Quoted};
use sha2::{Digest as _, Sha256};
use tests::{Maker, Scratch, Swtpm, TpmHelper};
use tpm_protocol::{Algorithm, Answer, Ask, FaultCode, Identity, Register};

pub(crate) const NONCE: [u8; 32] = [7; 32];

/// A TPM, a folder for its keys, and a helper.
pub(crate) struct Bench {
    pub(crate) helper: TpmHelper,
    pub(crate) state: Scratch,
    pub(crate) tpm: Swtpm,
}

/// What the helper gave for a quote.
pub(crate) struct Given {
    pub(crate) quote: Quote,
    pub(crate) values: PcrValues,
}

/// Whether these tests run: what they test does not depend on the kernel, and a guest has no software TPM.
pub(crate) fn here() -> bool {
    if tests::kernel() == "host" {
        return true;
    }
    println!("NOT RUN: the software TPM is on the host, and another kernel changes nothing of what it signs");
    false
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::of(Swtpm::made_by(&Maker::new()))
    }

    pub(crate) fn of(tpm: Swtpm) -> Self {
        let state = Scratch::new();
        let helper = TpmHelper::start(&tpm.tcti(), &state.join("tpm"));
        Self { helper, state, tpm }
    }

    pub(crate) fn another_helper(&self) -> TpmHelper {
        TpmHelper::start(&self.tpm.tcti(), &self.state.join("tpm"))
    }

    pub(crate) fn quote(&mut self, pcrs: &[u8]) -> Given {
        quote(&mut self.helper, pcrs)
    }

    pub(crate) fn key(&mut self) -> AttestationKey {
        attestation_key(&self.helper.identity())
    }

    pub(crate) fn extend(&mut self, sha256: [u8; 32]) {
        let extended = self.helper.ask(Ask::Extend { pcr: 12, sha256: sha256.to_vec().into() });
        assert!(matches!(extended, Ok(Answer::Extended)), "{extended:?}");
    }

    pub(crate) fn fault(&mut self, ask: Ask) -> FaultCode {
        self.helper.ask(ask).expect_err("a fault").code
    }

    pub(crate) fn activate(&mut self, endorsement: Algorithm, credential: &Credential) -> Result<Vec<u8>, FaultCode> {
        let blob = credential.id_object.clone().into();
        let encrypted_seed = credential.encrypted_secret.clone().into();
        match self.helper.ask(Ask::Activate { endorsement, blob, encrypted_seed }) {
            Ok(Answer::Activated { secret }) => Ok(secret.to_vec()),
            Ok(other) => panic!("{other:?}"),
            Err(fault) => Err(fault.code),
        }
    }
}

pub(crate) fn quote(helper: &mut TpmHelper, pcrs: &[u8]) -> Given {
    match helper.ask(Ask::Quote { nonce: NONCE.to_vec().into(), pcrs: pcrs.to_vec() }) {
        Ok(Answer::Quote { attest, signature, values, .. }) => {
            let quote = Quote { attest: attest.to_vec(), signature: signature.to_vec() };
            Given { quote, values: held(&values) }
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn read(helper: &mut TpmHelper, pcrs: &[u8]) -> PcrValues {
    match helper.ask(Ask::Read { pcrs: pcrs.to_vec() }) {
        Ok(Answer::Values { values }) => held(&values),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn held(registers: &[Register]) -> PcrValues {
    let mut values = PcrValues::new();
    for register in registers {
        assert!(values.set(register.pcr, register.sha256.as_ref().try_into().expect("32 bytes")));
    }
    values
}

pub(crate) fn attestation_key(identity: &Identity) -> AttestationKey {
    AttestationKey::read(&identity.attestation_key).expect("such a key")
}

pub(crate) fn endorsement_key(identity: &Identity) -> EndorsementKey {
    EndorsementKey::read(&identity.endorsement[0].public).expect("such a key")
}

impl Given {
    pub(crate) fn verify(&self, key: &AttestationKey) -> Result<Quoted, QuoteError> {
        let quoted = self.quote.verify(key, &NONCE)?;
        quoted.had(&self.values).map(|()| quoted)
    }
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

pub(crate) fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}
