//! Which identities are trusted: trust bundles, the SPIFFE IDs that may sign, and how long their certificates may live.

use crate::{files, report};
use attestation::identity::{BUNDLE_BYTES_MAX, Bundle, IdError, Identities, Pattern, TrustDomain};
use std::fs;
use std::io;
use std::path::Path;

/// Entries of a folder of bundles at most.
const BUNDLES_MAX: usize = 4096;

/// Identities to trust.
#[derive(clap::Args, Debug, Clone, Default)]
#[group(id = "identities")]
pub struct Args {
    /// Trust bundle of a SPIFFE trust domain, as DOMAIN=FILE: certificates in PEM, or SPIFFE's own JSON; a folder stands for all
    /// files in it, so that old bundles are kept for old statements. Needs --spiffe-id
    #[arg(long = "trust-bundle", value_name = "DOMAIN=FILE", requires = "spiffe_ids")]
    pub bundles: Vec<String>,
    /// SPIFFE ID that may sign; `*` stands for one segment of its path, a last `**` for all further ones; repeatable
    #[arg(long = "spiffe-id", value_name = "ID", requires = "bundles")]
    pub spiffe_ids: Vec<Pattern>,
    /// Refuse an SVID that is valid for longer than so many seconds
    #[arg(long, value_name = "SECONDS", requires = "bundles")]
    pub svid_lifetime_max: Option<u64>,
}

impl Args {
    /// Reads the bundles; none if no identity is trusted.
    ///
    /// # Errors
    /// What is wrong with which, in a sentence.
    pub fn read(&self) -> Result<Option<Identities>, String> {
        if self.bundles.is_empty() {
            return Ok(None);
        }
        let mut bundles = Vec::new();
        for given in &self.bundles {
            let named = |problem: &str| {
                let given = attestation::escape::escape(given.as_bytes());
                format!("--trust-bundle {given}: {problem}")
            };
            let (domain, path) = given.split_once('=').ok_or_else(|| named("say whose it is, as DOMAIN=FILE"))?;
            let domain: TrustDomain = domain.parse().map_err(|error: IdError| named(&error.to_string()))?;
            bundles.extend(read(&domain, Path::new(path)).map_err(|problem| named(&problem))?);
        }
        let (patterns, lifetime_max) = (self.spiffe_ids.clone(), self.svid_lifetime_max);
        Ok(Some(Identities { bundles, patterns, lifetime_max }))
    }
}

/// The bundle in a file, or those in a folder's files.
fn read(domain: &TrustDomain, path: &Path) -> Result<Vec<Bundle>, String> {
    if !path.is_dir() {
        return Ok(vec![bundle(domain, path)?]);
    }
    let unreadable = |error: io::Error| error.to_string();
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        // One that is being written.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        files.push(entry.path());
        if files.len() > BUNDLES_MAX {
            return Err(format!("more than {BUNDLES_MAX} files"));
        }
    }
    if files.is_empty() {
        return Err("a folder without a bundle".to_owned());
    }
    files.sort();
    files
        .iter()
        .map(|file| bundle(domain, file).map_err(|problem| format!("{}: {problem}", report::path(file))))
        .collect()
}

fn bundle(domain: &TrustDomain, path: &Path) -> Result<Bundle, String> {
    let bytes = files::read_at_most(path, BUNDLE_BYTES_MAX as u64 + 1).map_err(|error| error.to_string())?;
    Bundle::read(domain.clone(), &bytes).map_err(|error| error.to_string())
}
