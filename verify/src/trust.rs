//! What verification trusts, as read from files, and what stands beside a statement.

use crate::pack::Pack;
use crate::{Args, files, keyless, platform, report, times};
use attestation::dsse::PublicKey;
use attestation::evidence::Limits;
use attestation::identity::{Bundle, Identities};
use attestation::platform::Machine;
use attestation::receipt::Receipt;
use attestation::verify::{Objects, Options, Verdict, Voucher, verify};
use attestation::x509::UnixSeconds;
use std::io;
use std::path::Path;

/// All that was given to trust, and the time that it is.
pub struct Trust {
    keys: Vec<PublicKey>,
    identities: Option<Identities>,
    times: times::Read,
    platform: platform::Read,
    keyless: Option<keyless::Read>,
}

/// A statement that was sent, with what belongs to it.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    /// The envelope.
    pub envelope: Vec<u8>,
    /// The quote, firmware's log and the kernel's list.
    pub beside: [Option<Vec<u8>>; 3],
    /// Its Sigstore bundle.
    pub bundle: Option<Vec<u8>>,
}

/// What was given with one statement.
pub(crate) struct Given<'a> {
    receipts: Vec<Receipt>,
    pub(crate) platform: platform::Given,
    keyless: Option<keyless::Given<'a>>,
}

impl Trust {
    /// Reads what the options name.
    ///
    /// # Errors
    /// What is wrong with which, in a sentence.
    pub fn read(args: &Args) -> Result<Self, String> {
        let keys = args.keys.iter().map(|path| read_key(path)).collect::<Result<_, _>>()?;
        let (identities, times) = (args.identity.read()?, args.times.read()?);
        Ok(Self { keys, identities, times, platform: args.platform.read()?, keyless: args.keyless.read()? })
    }

    /// The same with more bundles, of authorities that are not in files; for the identities that the options name.
    #[must_use]
    pub fn with_bundles(mut self, args: &Args, bundles: Vec<Bundle>) -> Self {
        let identities = self.identities.get_or_insert_with(|| Identities {
            bundles: Vec::new(),
            patterns: args.identity.spiffe_ids.clone(),
            lifetime_max: args.identity.svid_lifetime_max,
        });
        identities.bundles.extend(bundles);
        self
    }

    pub(crate) fn beside(&self, file: &Path) -> io::Result<Given<'_>> {
        Ok(Given {
            receipts: self.times.receipts.clone(),
            platform: self.platform.beside(file)?,
            keyless: self.keyless.as_ref().map(|keyless| keyless.beside(file)).transpose()?,
        })
    }

    pub(crate) fn packed(&self, pack: &Pack) -> io::Result<Given<'_>> {
        let bundle = pack.beside(platform::BESIDE.len() - 1)?;
        Ok(Given {
            receipts: self.times.receipts.iter().chain(&pack.receipts).cloned().collect(),
            platform: self.platform.packed(pack)?,
            keyless: self.keyless.as_ref().map(|keyless| keyless.packed(bundle)),
        })
    }

    pub(crate) fn options<'a>(
        &'a self,
        evidence: Option<&'a dyn Objects>,
        given: &'a Given<'a>,
        accept_incomplete: bool,
    ) -> Options<'a> {
        Options {
            platform: self.platform.platform(&given.platform),
            voucher: given.keyless.as_ref().map(|given| given as &dyn Voucher),
            keys: &self.keys,
            identities: self.identities.as_ref(),
            authorities: &self.times.authorities,
            logs: &self.times.logs,
            receipts: &given.receipts,
            now: self.times.now,
            clock: self.times.clock,
            evidence,
            accept_incomplete,
            limits: Limits::default(),
        }
    }

    /// Verifies a statement that was sent, at this time, by these machines too. Its log is not at hand, and it may be incomplete.
    #[must_use]
    pub fn verify_sent(&self, sent: &Sent, machines: &[Machine], now: UnixSeconds) -> Verdict {
        let given = Given {
            receipts: self.times.receipts.clone(),
            platform: platform::Given { files: sent.beside.clone(), ..platform::Given::default() },
            keyless: self.keyless.as_ref().map(|keyless| keyless.packed(sent.bundle.clone())),
        };
        let mut options = self.options(None, &given, true);
        (options.now, options.clock, options.platform.machines) = (now, now, machines);
        verify(sent.envelope.as_slice(), &options)
    }

    /// Whether bundles are looked at.
    #[must_use]
    pub fn takes_bundles(&self) -> bool {
        self.keyless.is_some()
    }
}

fn read_key(path: &Path) -> Result<PublicKey, String> {
    let named = |error: &dyn std::error::Error| format!("--key {}: {error}", report::path(path));
    let pem = files::read_small(path).map_err(|error| named(&error))?;
    PublicKey::from_pem(&pem).map_err(|error| named(&error))
}
