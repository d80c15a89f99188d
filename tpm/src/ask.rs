//! Each question, and how the TPM is asked. A question opens the device once, and has at most one command that changes
//! anything.

use tpm_protocol::{Algorithm, Answer, Bank, Bytes, Clock, Endorsement, Identity, NONCE_BYTES_MAX};
use tss_esapi::Context;
use tss_esapi::abstraction::ek;
use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::tss::{TPM2_RH_NULL, TPM2_ST_HASHCHECK};
use tss_esapi::constants::{CapabilityType, PropertyTag, SessionType};
use tss_esapi::handles::{AuthHandle, KeyHandle, ObjectHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    Attest, AttestInfo, CapabilityData, Data, Digest, DigestValues, EncryptedSecret, HashcheckTicket, IdObject,
    Signature, SignatureScheme, SymmetricDefinition,
};
use tss_esapi::traits::Marshall as _;
use tss_esapi::tss2_esys::TPMT_TK_HASHCHECK;

use crate::fault::{Error, Said, said};
use crate::keys::{self, Keys, Which, authorized};
use crate::pcrs::{self, Pcrs};
use crate::serve::Helper;

const SHA256_BYTES: usize = 32;
/// How often registers are quoted that change meanwhile.
const QUOTES_MAX: u32 = 8;
/// Where certificates of endorsement keys are (TCG EK Credential Profile, section 2.2.1.4).
const RSA_CERTIFICATE: u32 = 0x01c0_0002;
const ECC_CERTIFICATE: u32 = 0x01c0_000a;
/// Of what a quote for the clock alone is over.
const ANY_PCR: u8 = 0;

pub(crate) fn identify(helper: &Helper, certified: bool) -> Result<Answer, Error> {
    helper.device.ask(|context| {
        let mut endorsement = Vec::new();
        for algorithm in [Algorithm::Rsa2048, Algorithm::EccP256] {
            if let Some(certificate) = certificate(context, algorithm)? {
                endorsement.push(endorsement_key(context, algorithm, Some(certificate))?);
            }
        }
        if endorsement.is_empty() {
            if certified {
                return Err(Error::NoEkCertificate);
            }
            endorsement.push(endorsement_key(context, Algorithm::Rsa2048, None)?);
        }
        let key = keys::attestation(context, &helper.state)?;
        let (_, name, _) = context.execute_without_session(|context| context.read_public(key.handle))?;
        let (attest, _) = quote_once(context, key.handle, &[], &Pcrs::new(&[ANY_PCR])?)?;
        let clock = attest.clock_info();
        let identity = Identity {
            manufacturer: text(context, &[PropertyTag::Manufacturer])?,
            model: text(
                context,
                &[
                    PropertyTag::VendorString1,
                    PropertyTag::VendorString2,
                    PropertyTag::VendorString3,
                    PropertyTag::VendorString4,
                ],
            )?,
            firmware_version: attest.firmware_version(),
            endorsement,
            attestation_key: keys::sized(&key.public)?.into(),
            attestation_name: name.value().into(),
            clock: Clock {
                clock_ms: clock.clock(),
                reset_count: clock.reset_count(),
                restart_count: clock.restart_count(),
                safe: clock.safe(),
            },
            banks: banks(context)?,
        };
        Ok(Answer::Identity(Box::new(identity)))
    })
}

/// Registers and the quote over them are read one after the other: where they differ, somebody extended one between.
pub(crate) fn quote(helper: &Helper, nonce: &[u8], pcrs: &[u8]) -> Result<Answer, Error> {
    check_nonce(nonce)?;
    let pcrs = Pcrs::new(pcrs)?;
    helper.device.ask(|context| {
        let key = keys::attestation(context, &helper.state)?;
        for _ in 0..QUOTES_MAX {
            let values = pcrs.read(context)?;
            let (attest, signature) = quote_once(context, key.handle, nonce, &pcrs)?;
            let AttestInfo::Quote { info } = attest.attested() else { continue };
            if info.pcr_digest().value() == pcrs::digest(&values) {
                let (attest, signature) = signed(&attest, &signature)?;
                let key = keys::sized(&key.public)?.into();
                return Ok(Answer::Quote { attest, signature, values, key });
            }
        }
        Err(Error::Changing)
    })
}

pub(crate) fn extend(helper: &Helper, pcr: u8, sha256: &[u8]) -> Result<Answer, Error> {
    if helper.seal_pcr != Some(pcr) {
        return Err(Error::Register(pcr));
    }
    let (handle, digest) = (pcrs::handle(pcr)?, check_digest(sha256)?);
    helper.device.ask(|context| {
        let mut values = DigestValues::new();
        values.set(HashingAlgorithm::Sha256, digest.clone());
        authorized(context, |context| context.pcr_extend(handle, values))?;
        Ok(Answer::Extended)
    })
}

pub(crate) fn read(helper: &Helper, pcrs: &[u8]) -> Result<Answer, Error> {
    let pcrs = Pcrs::new(pcrs)?;
    helper.device.ask(|context| Ok(Answer::Values { values: pcrs.read(context)? }))
}

pub(crate) fn activate(
    helper: &Helper,
    endorsement: Algorithm,
    blob: &[u8],
    encrypted_seed: &[u8],
) -> Result<Answer, Error> {
    let blob = unsized_of(blob).and_then(|blob| IdObject::try_from(blob).ok()).ok_or(Error::Credential)?;
    let seed = unsized_of(encrypted_seed).and_then(|seed| EncryptedSecret::try_from(seed).ok());
    let seed = seed.ok_or(Error::Credential)?;
    helper.device.ask(|context| {
        let key = keys::attestation(context, &helper.state)?;
        let endorsement = keys::endorsement(context, endorsement)?;
        let policy = endorsement_policy(context)?;
        let sessions = (Some(AuthSession::Password), Some(policy), None);
        let (blob, seed) = (blob.clone(), seed.clone());
        let opened = context.execute_with_sessions(sessions, |context| {
            context.activate_credential(key.handle, endorsement.handle, blob, seed)
        });
        match opened.map_err(|error| (said(error), error)) {
            Ok(secret) => Ok(Answer::Activated { secret: secret.value().into() }),
            Err((Said::Integrity | Said::Other, _)) => Err(Error::Credential),
            Err((_, error)) => Err(error.into()),
        }
    })
}

pub(crate) fn signing_key(helper: &Helper, nonce: &[u8]) -> Result<Answer, Error> {
    check_nonce(nonce)?;
    helper.device.ask(|context| {
        let keys = Keys::open(context, &helper.state)?;
        let key = keys.made(context, Which::Attestation)?;
        let signing = keys.made(context, Which::Signing)?;
        keys.close(context)?;
        let both = (Some(AuthSession::Password), Some(AuthSession::Password), None);
        let nonce = Data::try_from(nonce)?;
        let (attest, signature) = context.execute_with_sessions(both, |context| {
            context.certify(ObjectHandle::from(signing.handle), key.handle, nonce, SignatureScheme::Null)
        })?;
        let (attest, signature) = signed(&attest, &signature)?;
        Ok(Answer::SigningKey { public: keys::sized(&signing.public)?.into(), attest, signature })
    })
}

pub(crate) fn sign(helper: &Helper, sha256: &[u8]) -> Result<Answer, Error> {
    let digest = check_digest(sha256)?;
    helper.device.ask(|context| {
        let keys = Keys::open(context, &helper.state)?;
        let key = keys.kept(context, Which::Signing)?.ok_or(Error::NoSigningKey)?;
        // Of a digest that the TPM did not make itself.
        let none = TPMT_TK_HASHCHECK { tag: TPM2_ST_HASHCHECK, hierarchy: TPM2_RH_NULL, digest: Default::default() };
        let none = HashcheckTicket::try_from(none)?;
        let digest = digest.clone();
        let made = authorized(context, |context| context.sign(key.handle, digest, SignatureScheme::Null, none))?;
        Ok(Answer::Signed { signature: made.marshall()?.into() })
    })
}

fn check_nonce(nonce: &[u8]) -> Result<(), Error> {
    if nonce.len() <= NONCE_BYTES_MAX { Ok(()) } else { Err(Error::Nonce(nonce.len())) }
}

fn check_digest(sha256: &[u8]) -> Result<Digest, Error> {
    if sha256.len() != SHA256_BYTES {
        return Err(Error::Digest(sha256.len()));
    }
    Ok(Digest::try_from(sha256)?)
}

/// A buffer without its length before it.
fn unsized_of(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    (usize::from(u16::from_be_bytes(*length)) == rest.len()).then_some(rest)
}

fn quote_once(context: &mut Context, key: KeyHandle, nonce: &[u8], pcrs: &Pcrs) -> Result<(Attest, Signature), Error> {
    let (nonce, selection) = (Data::try_from(nonce)?, pcrs.selection()?);
    authorized(context, |context| context.quote(key, nonce, SignatureScheme::Null, selection))
}

fn signed(attest: &Attest, signature: &Signature) -> Result<(Bytes, Bytes), Error> {
    Ok((attest.marshall()?.into(), signature.marshall()?.into()))
}

/// A session in which the endorsement hierarchy has agreed, as TCG's templates ask for.
fn endorsement_policy(context: &mut Context) -> Result<AuthSession, Error> {
    let session = context.execute_without_session(|context| {
        context.start_auth_session(
            None,
            None,
            None,
            SessionType::Policy,
            SymmetricDefinition::AES_128_CFB,
            HashingAlgorithm::Sha256,
        )
    })?;
    let session = session.ok_or(Error::NoSessions)?;
    let (attributes, mask) = SessionAttributesBuilder::new().with_continue_session(true).build();
    context.tr_sess_set_attributes(session, attributes, mask)?;
    let policy = PolicySession::try_from(session)?;
    let agreed = authorized(context, |context| {
        context.policy_secret(
            policy,
            AuthHandle::Endorsement,
            Default::default(),
            Default::default(),
            Default::default(),
            None,
        )
    });
    match agreed {
        Err(Error::Tpm(error)) if said(error) == Said::Authorization => Err(Error::Password),
        agreed => agreed.map(|_| session),
    }
}

fn endorsement_key(
    context: &mut Context,
    algorithm: Algorithm,
    certificate: Option<Vec<u8>>,
) -> Result<Endorsement, Error> {
    let key = keys::endorsement(context, algorithm)?;
    context.flush_context(ObjectHandle::from(key.handle))?;
    Ok(Endorsement { algorithm, certificate: certificate.map(Bytes::from), public: keys::sized(&key.public)?.into() })
}

/// The certificate of an endorsement key, from the index that TCG's profile names; none if there is no such index.
fn certificate(context: &mut Context, algorithm: Algorithm) -> Result<Option<Vec<u8>>, Error> {
    let index = match algorithm {
        Algorithm::Rsa2048 => RSA_CERTIFICATE,
        Algorithm::EccP256 => ECC_CERTIFICATE,
    };
    // The first from this one on.
    let (data, _) =
        context.execute_without_session(|context| context.get_capability(CapabilityType::Handles, index, 1))?;
    let is_there = match data {
        CapabilityData::Handles(handles) => handles.iter().any(|handle| u32::from(*handle) == index),
        _ => false,
    };
    if !is_there {
        return Ok(None);
    }
    Ok(Some(trimmed(ek::retrieve_ek_pubcert(context, keys::selection(algorithm))?)))
}

/// Without what some manufacturers leave behind the certificate in its index.
fn trimmed(mut content: Vec<u8>) -> Vec<u8> {
    // In DER a sequence, and its length in two bytes.
    if let Some(([0x30, 0x82], rest)) = content.split_first_chunk()
        && let Some((length, _)) = rest.split_first_chunk()
    {
        content.truncate(usize::from(u16::from_be_bytes(*length)) + 4);
    }
    content
}

/// What properties have as text, four characters each.
fn text(context: &mut Context, properties: &[PropertyTag]) -> Result<String, Error> {
    let mut text = String::new();
    for property in properties {
        let value = context.execute_without_session(|context| context.get_tpm_property(*property))?;
        let characters = value.unwrap_or_default().to_be_bytes().map(char::from);
        text.extend(characters.into_iter().filter(char::is_ascii_graphic));
    }
    Ok(text)
}

fn banks(context: &mut Context) -> Result<Vec<Bank>, Error> {
    let (data, _) =
        context.execute_without_session(|context| context.get_capability(CapabilityType::AssignedPcr, 0, 1))?;
    let CapabilityData::AssignedPcr(list) = data else { return Ok(Vec::new()) };
    let bank = |selection: &tss_esapi::structures::PcrSelection| Bank {
        algorithm: format!("{:?}", selection.hashing_algorithm()).to_lowercase(),
        pcrs: selection.selected().into_iter().map(pcrs::number).collect(),
    };
    Ok(list.get_selections().iter().map(bank).filter(|bank| !bank.pcrs.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::{trimmed, unsized_of};

    #[test]
    fn a_buffer_has_the_length_that_it_says() {
        assert_eq!(unsized_of(&[0, 1, 7]), Some([7].as_slice()));
        for wrong in [&[][..], &[0], &[0, 1], &[0, 1, 7, 7], &[1, 0, 7]] {
            assert_eq!(unsized_of(wrong), None);
        }
    }

    #[test]
    fn what_stands_behind_a_certificate_is_left_out() {
        assert_eq!(trimmed(vec![0x30, 0x82, 0, 2, 1, 2, 0xff, 0xff]), [0x30, 0x82, 0, 2, 1, 2]);
        // What is shorter than it says, or none, is left as it is.
        for whole in [vec![0x30, 0x82, 0, 9, 1], vec![], vec![1, 2, 3, 4, 5]] {
            assert_eq!(trimmed(whole.clone()), whole);
        }
    }
}
