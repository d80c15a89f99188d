//! The proof that one frame stands in a signed log: the frame, its place, and the hashes from its leaf to the root
//! (docs/format.md, section 10). Whoever has the statement can check it without the log.

use crate::evidence::{FRAME_BYTES_MAX, LogHead};
use crate::hex;
use crate::json::Object;
use crate::merkle::{self, Hash, MerkleError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use proto::evidence::Frame;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The version of proofs that is written and read.
const VERSION: u32 = 1;
/// Bytes of a proof at most: room for a frame in base64, a hash for each level of a tree, and what is around them.
pub const PROOF_BYTES_MAX: usize = 1_500_000;
const _: () = assert!(FRAME_BYTES_MAX / 3 * 4 + (8 << 10) < PROOF_BYTES_MAX);

/// Why a proof is none, or does not hold.
#[derive(Debug, Error)]
pub enum ProofError {
    /// No JSON object with exactly the keys of a proof.
    #[error("it has not the form of a proof")]
    Form(#[source] serde_json::Error),
    /// A version that is not known.
    #[error("version {0} of proofs is not known")]
    Version(u32),
    /// A value is not of the form that it must have.
    #[error("its {0} is not of the form that it must have")]
    Value(&'static str),
    /// Its session, tree size or root are not those of the statement.
    #[error("it is of another log")]
    OtherLog,
    /// Its hashes do not lead from the frame to the root.
    #[error(transparent)]
    Tree(#[from] MerkleError),
}

/// A frame with the way from its leaf to the root of the log's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The session's id.
    pub session_id: [u8; 16],
    /// Leaves of the tree.
    pub tree_size: u64,
    /// Root of the tree.
    pub root: Hash,
    /// Index of the frame's leaf, from 0.
    pub leaf: u64,
    /// The frame's bytes, as they stand in the log.
    pub frame: Vec<u8>,
    /// From the leaf's sibling up (RFC 6962 section 2.1.1).
    pub hashes: Vec<Hash>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    version: u32,
    session_id: String,
    tree_size: u64,
    root_sha256: String,
    leaf: u64,
    frame: String,
    hashes: Vec<String>,
}

impl Proof {
    /// As a line of JSON, without its end.
    ///
    /// # Errors
    /// None: numbers and text have a form.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Wire {
            version: VERSION,
            session_id: hex::encode(&self.session_id),
            tree_size: self.tree_size,
            root_sha256: hex::encode(&self.root),
            leaf: self.leaf,
            frame: STANDARD.encode(&self.frame),
            hashes: self.hashes.iter().map(|hash| hex::encode(hash)).collect(),
        })
    }

    /// From JSON, of at most [`PROOF_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// [`ProofError`], for what has not the form of a proof.
    pub fn read(json: &[u8]) -> Result<Self, ProofError> {
        if json.len() > PROOF_BYTES_MAX {
            return Err(ProofError::Value("size"));
        }
        let Object(wire) = serde_json::from_slice::<Object<Wire>>(json).map_err(ProofError::Form)?;
        if wire.version != VERSION {
            return Err(ProofError::Version(wire.version));
        }
        let session_id = hex::decode(&wire.session_id).and_then(|id| id.try_into().ok());
        let hashes: Option<Vec<Hash>> = wire.hashes.iter().map(|hash| hex::decode_sha256(hash)).collect();
        Ok(Self {
            session_id: session_id.ok_or(ProofError::Value("session"))?,
            tree_size: wire.tree_size,
            root: hex::decode_sha256(&wire.root_sha256).ok_or(ProofError::Value("root"))?,
            leaf: wire.leaf,
            frame: STANDARD.decode(&wire.frame).map_err(|_| ProofError::Value("frame"))?,
            hashes: hashes.ok_or(ProofError::Value("list of hashes"))?,
        })
    }

    /// The frame, if it stands in this log.
    ///
    /// # Errors
    /// [`ProofError`], if it does not, or is no frame.
    pub fn check(&self, head: &LogHead) -> Result<Frame, ProofError> {
        if (self.session_id, self.tree_size, self.root) != (head.session_id, head.tree_size, head.root) {
            return Err(ProofError::OtherLog);
        }
        let leaf = merkle::leaf_hash(&self.frame);
        merkle::verify_inclusion(&leaf, self.leaf, head.tree_size, &self.hashes, &head.root)?;
        Frame::decode(self.frame.as_slice())
            .ok()
            .filter(|frame| frame.body.is_some() && frame.encode_to_vec() == self.frame)
            .ok_or(ProofError::Value("frame"))
    }
}
