//! One frame of a log: its proof, made from the evidence and checked without it.

use super::checks::{chain, proven, refused};
use super::{Check, Objects};
use crate::codes;
use crate::evidence::{Limits, LogError, LogHead, LogReader, describe};
use crate::hex;
use crate::merkle::{self, MerkleError};
use crate::proof::Proof;
use crate::statement::Claims;
use proto::evidence::Frame;
use std::io::{self, Read as _};
use thiserror::Error;

const NAME: &str = "inclusion";
const OPEN: &str = "That the frame is true, or what else stands in the log.";

/// Why there is no proof.
#[derive(Debug, Error)]
pub enum ProveError {
    /// The tree has no such leaf.
    #[error(transparent)]
    Leaf(#[from] MerkleError),
    /// A segment that the statement names cannot be opened.
    #[error("segment {name} cannot be read")]
    Object {
        /// Which, by its SHA-256.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    /// The log has more frames than are held at once.
    #[error("the log has more than {LEAVES_MAX} frames")]
    TooLarge,
    /// It is not the log that the statement names.
    #[error("the evidence is not the log that the statement names")]
    OtherLog,
}

/// Leaves of a log at most whose frames are proven: their hashes are held at once, 1 GiB of them.
const LEAVES_MAX: u64 = 1 << 25;

/// The frame at `leaf` and its proof, from all of the log.
///
/// # Errors
/// [`ProveError`], if the evidence is not that of the statement, or has no such frame.
pub fn prove(objects: &dyn Objects, head: &LogHead, leaf: u64, limits: Limits) -> Result<(Proof, Frame), ProveError> {
    let none = MerkleError::OutOfRange { index: leaf, size: head.tree_size };
    let index = usize::try_from(leaf).ok().filter(|_| leaf < head.tree_size).ok_or(none)?;
    if head.tree_size > LEAVES_MAX {
        return Err(ProveError::TooLarge);
    }
    let (mut log, mut leaves, mut wanted) = (LogReader::new(limits), Vec::new(), None);
    for segment in &head.segments {
        let opened = objects.open(&segment.sha256);
        let input = opened.map_err(|source| ProveError::Object { name: hex::encode(&segment.sha256), source })?;
        let mut frames = log.segment(input.take(segment.bytes.saturating_add(1)))?;
        while let Some((bytes, frame)) = frames.next_frame()? {
            if leaves.len() as u64 >= head.tree_size {
                return Err(ProveError::OtherLog);
            }
            if leaves.len() == index {
                wanted = Some((bytes.to_vec(), frame));
            }
            leaves.push(merkle::leaf_hash(bytes));
        }
    }
    let (bytes, frame) = wanted.filter(|_| log.head() == *head).ok_or(ProveError::OtherLog)?;
    let hashes = merkle::inclusion_proof(&leaves, index)?;
    let LogHead { session_id, tree_size, root, .. } = *head;
    Ok((Proof { session_id, tree_size, root, leaf, frame: bytes, hashes }, frame))
}

/// Whether a proof, in JSON, holds for the log that a statement names.
#[must_use]
pub fn inclusion(proof: &[u8], claims: &Claims) -> Check {
    let proof = match Proof::read(proof) {
        Ok(proof) => proof,
        Err(error) => return refused(NAME, codes::PROOF_MALFORMED, chain(&error), OPEN),
    };
    match proof.check(&claims.log) {
        Ok(frame) => {
            let says = format!("frame {} of {}: {}", proof.leaf, proof.tree_size, describe(&frame));
            proven(NAME, says, OPEN)
        }
        Err(error) => refused(NAME, codes::NOT_IN_LOG, chain(&error), OPEN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{self, Session, Signed};
    use crate::verify::{Options, Outcome, verify};

    fn claims_of(signed: &Signed) -> Claims {
        let keys = [synthetic::key().unwrap().public().clone()];
        let options = Options { accept_incomplete: true, ..Options::by_keys(&keys) };
        *verify(signed.envelope.as_slice(), &options).claims.unwrap()
    }

    #[test]
    fn every_frame_is_proven_and_no_other() {
        let signed = Session::build().sign(7).unwrap();
        let claims = claims_of(&signed);
        for leaf in 0..signed.head.tree_size {
            let (proof, _) = prove(&signed.objects, &signed.head, leaf, Limits::default()).unwrap();
            let json = proof.to_json().unwrap();
            assert_eq!(Proof::read(json.as_bytes()).unwrap(), proof);
            assert_eq!(inclusion(json.as_bytes(), &claims).outcome, Outcome::Proven);
            let elsewhere = Proof { leaf: (leaf + 1) % signed.head.tree_size, ..proof.clone() };
            let mut another = proof.clone();
            another.frame.push(0);
            for bent in [elsewhere, another] {
                let check = inclusion(bent.to_json().unwrap().as_bytes(), &claims);
                assert_eq!(check.code, Some(codes::NOT_IN_LOG));
            }
        }
        let beyond = prove(&signed.objects, &signed.head, signed.head.tree_size, Limits::default());
        assert!(matches!(beyond, Err(ProveError::Leaf(_))));
    }

    #[test]
    fn a_proof_of_another_log_is_refused() {
        let signed = Session::build().sign(1000).unwrap();
        let other = Session::build_open().sign(1000).unwrap();
        let (proof, _) = prove(&other.objects, &other.head, 3, Limits::default()).unwrap();
        let check = inclusion(proof.to_json().unwrap().as_bytes(), &claims_of(&signed));
        assert_eq!(check.code, Some(codes::NOT_IN_LOG));
        let mixed = prove(&other.objects, &signed.head, 3, Limits::default());
        assert!(matches!(mixed, Err(ProveError::Object { .. })));
    }

    #[test]
    fn what_is_no_proof_is_said_to_be_none() {
        let claims = claims_of(&Session::build().sign(1000).unwrap());
        let valid = r#"{"version":1,"sessionId":"","treeSize":0,"rootSha256":"","leaf":0,"frame":"","hashes":[]}"#;
        let list = r#"[1,"",0,"",0,"",[]]"#;
        for json in ["", "{}", list, valid, &valid.replace("\"version\":1", "\"version\":2"), "{\"version\":1}x"] {
            assert_eq!(inclusion(json.as_bytes(), &claims).code, Some(codes::PROOF_MALFORMED), "{json}");
        }
        assert_eq!(inclusion(&vec![b' '; 2 << 20], &claims).code, Some(codes::PROOF_MALFORMED));
    }
}
