//! What holds of proofs: one that is read is the same when it is written and read again; one that is accepted is refused with
//! any bit of it changed; and of any tree, every proof that is made holds, by the tree's definition in RFC 6962.

use attestation::evidence::LogHead;
use attestation::merkle::{
    Hash, Tree, consistency_proof, inclusion_proof, leaf_hash, root_of, verify_consistency, verify_inclusion,
};
use attestation::proof::{PROOF_BYTES_MAX, Proof};
use prost::Message as _;
use proto::evidence::{Directive, Frame, frame};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The first byte of an input that chooses a tree, a leaf of it, an older size, and how the proofs are bent.
pub const TREE: u8 = 0;

/// Whether a proof was accepted.
pub fn hold(input: &[u8]) -> bool {
    match input.split_first() {
        Some((&TREE, choices)) => tree(choices),
        _ => bytes(input),
    }
}

fn bytes(input: &[u8]) -> bool {
    let Ok(proof) = Proof::read(input) else {
        return false;
    };
    check_form(&proof, input);
    if proof.check(&head(&proof)).is_err() {
        return false;
    }
    let seed = u64::from_le_bytes(Sha256::digest(input)[..8].try_into().expect("a digest has eight bytes"));
    check_bent(&proof, usize::try_from(seed >> 1).expect("64 bits"));
    true
}

/// The head of the log that the proof says it is of.
fn head(proof: &Proof) -> LogHead {
    LogHead { session_id: proof.session_id, tree_size: proof.tree_size, root: proof.root, segments: Vec::new() }
}

fn check_form(proof: &Proof, read: &[u8]) {
    let value: Value = serde_json::from_slice(read).expect("a proof is JSON");
    let mut keys: Vec<&str> = value.as_object().expect("it is an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["frame", "hashes", "leaf", "rootSha256", "sessionId", "treeSize", "version"]);
    let json = proof.to_json().expect("text and numbers have a form");
    assert!(read.len() <= PROOF_BYTES_MAX && json.len() <= read.len(), "a proof is shortest as it is written");
    assert_eq!(serde_json::from_str::<Value>(&json).ok(), Some(value), "the proof as it is written");
    assert_eq!(Proof::read(json.as_bytes()).ok().as_ref(), Some(proof), "the proof read again");
}

/// A proof that holds does not, with one bit changed of anything that it says.
fn check_bent(proof: &Proof, choice: usize) {
    let head = head(proof);
    let bits = 8 * (16 + 8 + 32 + 8 + proof.frame.len() + 32 * proof.hashes.len());
    for bit in [choice % bits, choice.rotate_left(17) % bits] {
        let mut bent = proof.clone();
        let (byte, flip) = (bit / 8, 1 << (bit % 8));
        match byte {
            0..16 => bent.session_id[byte] ^= flip,
            16..24 => bent.tree_size ^= 1 << (bit - 16 * 8),
            24..56 => bent.root[byte - 24] ^= flip,
            56..64 => bent.leaf ^= 1 << (bit - 56 * 8),
            _ if byte - 64 < bent.frame.len() => bent.frame[byte - 64] ^= flip,
            _ => {
                let at = byte - 64 - bent.frame.len();
                bent.hashes[at / 32][at % 32] ^= flip;
            }
        }
        // Equal leaves that are siblings have one proof, and both places are the frame's.
        let same = bent.leaf != proof.leaf && proof.hashes.first() == Some(&leaf_hash(&proof.frame));
        assert!(same || bent.check(&head).is_err(), "it holds with bit {bit} changed: {bent:?}");
        assert!(same || bent.leaf == proof.leaf || bent.leaf < bent.tree_size || bent.check(&head).is_err());
    }
    let mut longer = proof.clone();
    longer.hashes.push(proof.root);
    assert!(longer.check(&head).is_err(), "it holds with a hash too many");
    let mut shorter = proof.clone();
    assert!(shorter.hashes.pop().is_none() || shorter.check(&head).is_err(), "it holds without its last hash");
    let mut root = head.clone();
    root.root[choice % 32] ^= 1;
    assert!(proof.check(&root).is_err(), "it holds in another log");
}

/// A tree of as many leaves as the first two bytes say, and what its proofs are.
fn tree(choices: &[u8]) -> bool {
    let word = |at: usize| {
        let byte = |at: usize| usize::from(choices.get(at).copied().unwrap_or_default());
        byte(at) | byte(at + 1) << 8
    };
    let size = 1 + word(0) % 300;
    let (index, old, choice) = (word(2) % size, 1 + word(4) % size, word(6) << 16 | word(8));
    let text = String::from_utf8_lossy(choices.get(10..).unwrap_or_default()).into_owned();
    let frame = |index: usize| {
        let epoch = u32::try_from(index).expect("a tree is small");
        let directive = Directive { order: "open".into(), epoch, cause: text.clone(), boottime_ns: 0 };
        Frame { body: Some(frame::Body::Directive(directive)) }
    };
    let (chosen, mut incremental) = (frame(index), Tree::default());
    let leaves: Vec<Hash> = (0..size).map(|index| leaf_hash(&frame(index).encode_to_vec())).collect();
    for (at, leaf) in (0..).zip(&leaves) {
        assert_eq!(incremental.push_hash(*leaf), at);
    }
    let root = defined_root(&leaves);
    assert_eq!((root, incremental.size()), (incremental.root(), size as u64), "the tree as it grows");
    let proof = Proof {
        session_id: [7; 16],
        tree_size: size as u64,
        root,
        leaf: index as u64,
        frame: chosen.encode_to_vec(),
        hashes: inclusion_proof(&leaves, index).expect("there is such a leaf"),
    };
    assert_eq!(proof.check(&head(&proof)).ok(), Some(chosen), "a proof that was made");
    check_form(&proof, proof.to_json().expect("text and numbers have a form").as_bytes());
    check_bent(&proof, choice);
    check_elsewhere(&proof, &leaves, choice);
    check_consistency(&leaves, old, choice);
    true
}

/// RFC 6962, section 2.1, word for word.
fn defined_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            let nodes = [defined_root(left), defined_root(right)].concat();
            Sha256::new().chain_update([1]).chain_update(nodes).finalize().into()
        }
    }
}

/// No other leaf stands at the place, and the leaf at no other place.
fn check_elsewhere(proof: &Proof, leaves: &[Hash], choice: usize) {
    let other = choice % leaves.len();
    let at = |leaf: &Hash, index: usize| {
        verify_inclusion(leaf, index as u64, proof.tree_size, &proof.hashes, &proof.root).is_ok()
    };
    let index = usize::try_from(proof.leaf).expect("a tree is small");
    assert_eq!(at(&leaves[index], other), other == index, "the leaf at place {other}");
    assert_eq!(at(&leaves[other], index), other == index, "leaf {other} at the place");
    assert!(!at(&leaves[index], leaves.len()), "a leaf beyond the last");
}

fn check_consistency(leaves: &[Hash], old: usize, choice: usize) {
    let (root, old_root) = (root_of(leaves), root_of(&leaves[..old]));
    let mut proof = consistency_proof(leaves, old).expect("it is not larger");
    let holds = |old_root: &Hash, proof: &[Hash]| {
        verify_consistency(old as u64, old_root, leaves.len() as u64, &root, proof).is_ok()
    };
    assert!(holds(&old_root, &proof), "a proof that was made");
    let mut other = old_root;
    other[choice % 32] ^= 1;
    assert!(!holds(&other, &proof), "another root before");
    proof.push(root);
    assert!(!holds(&old_root, &proof), "a hash too many");
    proof.pop();
    if !proof.is_empty() {
        let at = choice % proof.len();
        proof[at][choice % 31] ^= 1 << (choice % 8);
        assert!(!holds(&old_root, &proof), "another hash");
    }
}
