//! The helper's keys in the TPM, all on P-256 and in the endorsement hierarchy: a parent that is derived anew each
//! time, the attestation key and the signing key below it.
//!
//! The hierarchy is the endorsement's since a TPM blurs its counters in what keys of the owner sign. The parent is not
//! an endorsement key, though it could be: its use would cost a session each time, of which a TPM without a resource
//! manager has three, and RSA's are derived for seconds. That the keys belong together with an endorsement key is what
//! a credential shows. No key has a password: who may open the device may use them, and they are made so that guesses
//! at passwords of others (lockout) do not stop them.

use tpm_protocol::Algorithm;
use tss_esapi::Context;
use tss_esapi::abstraction::{AsymmetricAlgorithmSelection, ek};
use tss_esapi::attributes::{ObjectAttributes, ObjectAttributesBuilder};
use tss_esapi::handles::{KeyHandle, ObjectHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{
    EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme, Private, Public, PublicBuilder,
    PublicEccParametersBuilder, SymmetricDefinitionObject,
};
use tss_esapi::traits::{Marshall as _, UnMarshall as _};

use crate::fault::{Error, Said, said};
use crate::state::{Kept, State};

/// A key below the parent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Attestation,
    Signing,
}

impl Which {
    fn file(self) -> &'static str {
        match self {
            Self::Attestation => "attestation-key",
            Self::Signing => "signing-key",
        }
    }

    fn attributes(self) -> Result<ObjectAttributes, Error> {
        let restricted = self == Self::Attestation;
        Ok(bound().with_sign_encrypt(true).with_restricted(restricted).build()?)
    }
}

/// A key that is loaded.
pub(crate) struct Loaded {
    pub(crate) handle: KeyHandle,
    pub(crate) public: Public,
}

/// The parent, and whichever keys below it are asked for; all go when the context is closed.
pub(crate) struct Keys<'a> {
    state: &'a State,
    parent: KeyHandle,
}

impl<'a> Keys<'a> {
    pub(crate) fn open(context: &mut Context, state: &'a State) -> Result<Self, Error> {
        let parent = primary(context, parent_template()?)?.handle;
        Ok(Self { state, parent })
    }

    /// The key, made and kept if there is none yet.
    pub(crate) fn made(&self, context: &mut Context, which: Which) -> Result<Loaded, Error> {
        let held = self.state.hold()?;
        if let Some(kept) = held.key(which.file())? {
            return self.load(context, &kept);
        }
        let template = signing(which.attributes()?, EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256)))?;
        let parent = self.parent;
        let made = authorized(context, |context| context.create(parent, template, None, None, None, None))?;
        let kept = Kept::new(made.out_public.marshall()?, made.out_private.value());
        // Loaded once before it is kept.
        let loaded = self.load(context, &kept)?;
        held.keep(which.file(), &kept)?;
        Ok(loaded)
    }

    /// The key, if there is one.
    pub(crate) fn kept(&self, context: &mut Context, which: Which) -> Result<Option<Loaded>, Error> {
        let kept = self.state.hold()?.key(which.file())?;
        kept.map(|kept| self.load(context, &kept)).transpose()
    }

    /// Makes room: the keys that were loaded need their parent no more.
    pub(crate) fn close(self, context: &mut Context) -> Result<(), Error> {
        Ok(context.flush_context(ObjectHandle::from(self.parent))?)
    }

    fn load(&self, context: &mut Context, kept: &Kept) -> Result<Loaded, Error> {
        let foreign = || Error::ForeignKeys(self.state.folder().to_owned());
        let public = Public::unmarshall(&kept.public).map_err(|_| foreign())?;
        let private = Private::try_from(&*kept.private).map_err(|_| foreign())?;
        let (parent, area) = (self.parent, public.clone());
        let handle = authorized(context, |context| context.load(parent, private, area));
        match handle {
            Err(Error::Tpm(error)) if said(error) == Said::Integrity => Err(foreign()),
            other => Ok(Loaded { handle: other?, public }),
        }
    }
}

/// The attestation key alone, made and kept if there is none yet.
pub(crate) fn attestation(context: &mut Context, state: &State) -> Result<Loaded, Error> {
    let keys = Keys::open(context, state)?;
    let key = keys.made(context, Which::Attestation)?;
    keys.close(context)?;
    Ok(key)
}

/// An endorsement key by TCG's template.
pub(crate) fn endorsement(context: &mut Context, algorithm: Algorithm) -> Result<Loaded, Error> {
    let template = ek::create_ek_public_from_default_template_2(selection(algorithm), None)?;
    primary(context, template)
}

/// How the library names it.
pub(crate) fn selection(algorithm: Algorithm) -> AsymmetricAlgorithmSelection {
    match algorithm {
        Algorithm::Rsa2048 => AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa2048),
        Algorithm::EccP256 => AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256),
    }
}

/// As `TPM2B_PUBLIC`.
pub(crate) fn sized(public: &Public) -> Result<Vec<u8>, Error> {
    let area = public.marshall()?;
    let length = u16::try_from(area.len()).unwrap_or(u16::MAX).to_be_bytes();
    Ok([length.as_slice(), &area].concat())
}

/// With the empty password, which takes no session of the TPM's.
pub(crate) fn authorized<T>(
    context: &mut Context,
    command: impl FnOnce(&mut Context) -> tss_esapi::Result<T>,
) -> Result<T, Error> {
    Ok(context.execute_with_session(Some(AuthSession::Password), command)?)
}

fn primary(context: &mut Context, template: Public) -> Result<Loaded, Error> {
    let made =
        authorized(context, |context| context.create_primary(Hierarchy::Endorsement, template, None, None, None, None));
    match made {
        Err(Error::Tpm(error)) if said(error) == Said::Authorization => Err(Error::Password),
        made => made.map(|made| Loaded { handle: made.key_handle, public: made.out_public }),
    }
}

/// Made in this TPM, never to leave it, usable without a password and beyond any lockout.
fn bound() -> ObjectAttributesBuilder {
    ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
}

fn parent_template() -> Result<Public, Error> {
    let attributes = bound().with_restricted(true).with_decrypt(true).build()?;
    template(attributes, EccScheme::Null, SymmetricDefinitionObject::AES_128_CFB)
}

fn signing(attributes: ObjectAttributes, scheme: EccScheme) -> Result<Public, Error> {
    template(attributes, scheme, SymmetricDefinitionObject::Null)
}

fn template(
    attributes: ObjectAttributes,
    scheme: EccScheme,
    symmetric: SymmetricDefinitionObject,
) -> Result<Public, Error> {
    let parameters = PublicEccParametersBuilder::new()
        .with_symmetric(symmetric)
        .with_ecc_scheme(scheme)
        .with_curve(EccCurve::NistP256)
        .with_key_derivation_function_scheme(KeyDerivationFunctionScheme::Null)
        .with_is_signing_key(attributes.sign_encrypt())
        .with_is_decryption_key(attributes.decrypt())
        .with_restricted(attributes.restricted())
        .build()?;
    let public = PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(parameters)
        .with_ecc_unique_identifier(EccPoint::default());
    Ok(public.build()?)
}
