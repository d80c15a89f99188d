//! What a machine booted and ran: logs that lead to its quoted registers, held against what a policy accepts.

use crate::json::Object;
use crate::merkle::Hash;
use crate::text;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Bytes of a policy at most.
pub const BOOT_POLICY_BYTES_MAX: usize = 16 << 20;
const VERSION: u32 = 1;

/// What is given of a boot. Nothing of it is trusted but the policy.
#[derive(Clone, Copy, Default)]
pub struct Boot<'a> {
    /// What firmware measured (`binary_bios_measurements`).
    pub firmware_log: Option<&'a [u8]>,
    /// What the kernel measured (`binary_runtime_measurements`).
    pub ima_list: Option<&'a [u8]>,
    /// What is accepted.
    pub policy: Option<&'a BootPolicy>,
}

/// Why a policy is none.
#[derive(Debug, Error)]
pub enum BootPolicyError {
    /// It is no such document.
    #[error("no policy of boots (JSON)")]
    Json(#[from] serde_json::Error),
    /// It is too long, or of another version.
    #[error("no policy of boots of version {VERSION}, of at most {BOOT_POLICY_BYTES_MAX} bytes")]
    Version,
}

/// A SHA-256 value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Accepted(#[serde(with = "text::hash")] pub Hash);

/// What is accepted of a boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BootPolicy {
    version: u32,
    /// SHA-256 over the registers 0 to 9, as IMA's first entry has it.
    pub boot_aggregates: Vec<Accepted>,
    /// SHA-256 of each content that the kernel may have measured; without it any may.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::json::present")]
    pub digests: Option<Vec<Accepted>>,
}

impl BootPolicy {
    /// A policy.
    #[must_use]
    pub fn new(boot_aggregates: &[Hash], digests: Option<&[Hash]>) -> Self {
        let all = |hashes: &[Hash]| hashes.iter().copied().map(Accepted).collect();
        Self { version: VERSION, boot_aggregates: all(boot_aggregates), digests: digests.map(all) }
    }

    /// Reads a policy.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(json: &[u8]) -> Result<Self, BootPolicyError> {
        if json.len() > BOOT_POLICY_BYTES_MAX {
            return Err(BootPolicyError::Version);
        }
        let Object(mut policy) = serde_json::from_slice::<Object<Self>>(json)?;
        if policy.version != VERSION {
            return Err(BootPolicyError::Version);
        }
        policy.boot_aggregates.sort_unstable();
        policy.digests.iter_mut().for_each(|digests| digests.sort_unstable());
        Ok(policy)
    }
}
