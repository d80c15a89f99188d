//! The log's Merkle tree, as RFC 6962 section 2.1 defines it: SHA-256, leaves hashed after a 0x00 byte, inner nodes
//! after a 0x01 byte. The writer keeps the right edge only; whoever has every leaf hash can make proofs; whoever has a
//! root can check them.
//!
//! A proof shows that a frame stands in the log whose root was signed. It does not show that the frame is true.

pub mod stored;

use sha2::{Digest, Sha256};
use thiserror::Error;

/// A SHA-256 value.
pub type Hash = [u8; 32];

/// Why a proof was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MerkleError {
    /// The leaf's index is not below the tree's size.
    #[error("leaf {index} is outside a tree of {size} leaves")]
    OutOfRange {
        /// Index of the leaf, from 0.
        index: u64,
        /// Leaves in the tree.
        size: u64,
    },
    /// The older tree is larger than the newer one.
    #[error("a tree of {old} leaves cannot come before one of {new}")]
    NotOlder {
        /// Leaves in the tree said to be older.
        old: u64,
        /// Leaves in the tree said to be newer.
        new: u64,
    },
    /// The proof has too few or too many hashes for these sizes.
    #[error("the proof has the wrong length")]
    WrongLength,
    /// The proof leads to another root.
    #[error("the proof does not lead to the root")]
    WrongRoot,
}

/// Hash of a leaf: `SHA-256(0x00 ++ leaf)`.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(leaf).finalize().into()
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A tree that grows at its right edge and keeps one hash per level: at most 64.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    size: u64,
    /// Roots of the full subtrees from left to right, one for each bit set in `size`.
    peaks: Vec<Hash>,
}

impl Tree {
    /// Appends a leaf and returns its index, from 0.
    pub fn push(&mut self, leaf: &[u8]) -> u64 {
        self.push_hash(leaf_hash(leaf))
    }

    /// Appends a leaf by its hash and returns its index, from 0.
    pub fn push_hash(&mut self, leaf: Hash) -> u64 {
        let mut node = leaf;
        for _ in 0..self.size.trailing_ones() {
            match self.peaks.pop() {
                Some(left) => node = node_hash(&left, &node),
                None => break,
            }
        }
        self.peaks.push(node);
        self.size += 1;
        self.size - 1
    }

    /// Leaves so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The tree's root; of an empty tree the SHA-256 of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut from_right = self.peaks.iter().rev();
        match from_right.next() {
            None => Sha256::digest([]).into(),
            Some(last) => from_right.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

/// Root of the tree over these leaf hashes.
#[must_use]
pub fn root_of(leaves: &[Hash]) -> Hash {
    let mut tree = Tree::default();
    for leaf in leaves {
        tree.push_hash(*leaf);
    }
    tree.root()
}

/// The largest power of two below `n`, for `n` of at least 2.
fn split(n: usize) -> usize {
    1 << (usize::BITS - 1 - (n - 1).leading_zeros())
}

/// Inclusion proof of the leaf at `index` (RFC 6962 section 2.1.1), from the leaf's sibling up.
///
/// # Errors
/// [`MerkleError::OutOfRange`] if there is no such leaf.
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Result<Vec<Hash>, MerkleError> {
    if index >= leaves.len() {
        return Err(MerkleError::OutOfRange { index: index as u64, size: leaves.len() as u64 });
    }
    let (mut rest, mut index, mut proof) = (leaves, index, Vec::new());
    while rest.len() > 1 {
        let (left, right) = rest.split_at(split(rest.len()));
        if index < left.len() {
            proof.push(root_of(right));
            rest = left;
        } else {
            proof.push(root_of(left));
            index -= left.len();
            rest = right;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Checks that `leaf` (its hash) stands at `index` of the tree with this size and root (RFC 9162 section 2.1.3.2).
///
/// # Errors
/// Says why the proof was not accepted.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> Result<(), MerkleError> {
    if index >= size {
        return Err(MerkleError::OutOfRange { index, size });
    }
    let (mut index, mut last, mut node) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(MerkleError::WrongLength);
        }
        if index & 1 == 1 || index == last {
            node = node_hash(sibling, &node);
            while index & 1 == 0 && index != 0 {
                index >>= 1;
                last >>= 1;
            }
        } else {
            node = node_hash(&node, sibling);
        }
        index >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(MerkleError::WrongLength);
    }
    if node == *root { Ok(()) } else { Err(MerkleError::WrongRoot) }
}

/// Consistency proof between the tree's first `old` leaves and all of them (RFC 6962 section 2.1.2).
///
/// # Errors
/// [`MerkleError::NotOlder`] if `old` is 0 or more than there are.
pub fn consistency_proof(leaves: &[Hash], old: usize) -> Result<Vec<Hash>, MerkleError> {
    if old == 0 || old > leaves.len() {
        return Err(MerkleError::NotOlder { old: old as u64, new: leaves.len() as u64 });
    }
    let (mut rest, mut old, mut whole, mut proof) = (leaves, old, true, Vec::new());
    while old < rest.len() {
        let (left, right) = rest.split_at(split(rest.len()));
        if old <= left.len() {
            proof.push(root_of(right));
            rest = left;
        } else {
            proof.push(root_of(left));
            old -= left.len();
            whole = false;
            rest = right;
        }
    }
    if !whole {
        proof.push(root_of(rest));
    }
    proof.reverse();
    Ok(proof)
}

/// Checks that the tree of `old` leaves is the beginning of the tree of `new` leaves (RFC 9162 section 2.1.4.2).
/// It does not show that either root was ever signed.
///
/// # Errors
/// Says why the proof was not accepted. A proof from an empty tree is refused: it says nothing.
pub fn verify_consistency(
    old: u64,
    old_root: &Hash,
    new: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), MerkleError> {
    if old == 0 || old > new {
        return Err(MerkleError::NotOlder { old, new });
    }
    if old == new {
        return match (proof.is_empty(), old_root == new_root) {
            (false, _) => Err(MerkleError::WrongLength),
            (true, false) => Err(MerkleError::WrongRoot),
            (true, true) => Ok(()),
        };
    }
    let (first, rest) =
        if old.is_power_of_two() { (old_root, proof) } else { proof.split_first().ok_or(MerkleError::WrongLength)? };
    let (from_old, from_new) = fold_consistency(old - 1, new - 1, *first, rest)?;
    if from_old == *old_root && from_new == *new_root { Ok(()) } else { Err(MerkleError::WrongRoot) }
}

fn fold_consistency(mut fn_: u64, mut sn: u64, first: Hash, rest: &[Hash]) -> Result<(Hash, Hash), MerkleError> {
    let shift = fn_.trailing_ones();
    fn_ >>= shift;
    sn >>= shift;
    let (mut from_old, mut from_new) = (first, first);
    for sibling in rest {
        if sn == 0 {
            return Err(MerkleError::WrongLength);
        }
        if fn_ & 1 == 1 || fn_ == sn {
            from_old = node_hash(sibling, &from_old);
            from_new = node_hash(sibling, &from_new);
            while fn_ & 1 == 0 && fn_ != 0 {
                fn_ >>= 1;
                sn >>= 1;
            }
        } else {
            from_new = node_hash(&from_new, sibling);
        }
        fn_ >>= 1;
        sn >>= 1;
    }
    if sn == 0 { Ok((from_old, from_new)) } else { Err(MerkleError::WrongLength) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    /// The leaves and roots of the reference implementation of RFC 6962 (google/certificate-transparency).
    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn hashes() -> Vec<Hash> {
        LEAVES.iter().map(|leaf| leaf_hash(&hex::decode(leaf).unwrap())).collect()
    }

    #[test]
    fn roots_of_the_reference_tree_at_every_size() {
        let mut tree = Tree::default();
        assert_eq!(hex::encode(&tree.root()), ROOTS[0]);
        for (index, leaf) in LEAVES.iter().enumerate() {
            assert_eq!(tree.push(&hex::decode(leaf).unwrap()), index as u64);
            assert_eq!(hex::encode(&tree.root()), ROOTS[index + 1]);
        }
        assert_eq!(tree.size(), 8);
    }

    #[test]
    fn inclusion_proofs_of_the_reference_tree() {
        let proof = inclusion_proof(&hashes(), 0).unwrap();
        let expected = [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ];
        assert_eq!(proof.iter().map(|hash| hex::encode(hash)).collect::<Vec<_>>(), expected);
        let proof = inclusion_proof(&hashes(), 5).unwrap();
        let expected = [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ];
        assert_eq!(proof.iter().map(|hash| hex::encode(hash)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn consistency_proof_of_the_reference_tree_6_to_8() {
        let proof = consistency_proof(&hashes(), 6).unwrap();
        let expected = [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ];
        assert_eq!(proof.iter().map(|hash| hex::encode(hash)).collect::<Vec<_>>(), expected);
    }

    fn many(count: u32) -> Vec<Hash> {
        (0..count).map(|n| leaf_hash(&n.to_le_bytes())).collect()
    }

    #[test]
    fn every_inclusion_proof_up_to_33_leaves_holds_and_no_other_does() {
        for size in 1..=33 {
            let leaves = many(size);
            let root = root_of(&leaves);
            for index in 0..leaves.len() {
                let proof = inclusion_proof(&leaves, index).unwrap();
                let check = |leaf: &Hash, index: u64, proof: &[Hash]| {
                    verify_inclusion(leaf, index, u64::from(size), proof, &root)
                };
                let at = index as u64;
                assert_eq!(check(&leaves[index], at, &proof), Ok(()));
                assert!(check(&leaf_hash(b"other"), at, &proof).is_err());
                assert!(check(&leaves[index], (at + 1) % u64::from(size), &proof).is_err() || size == 1);
                let longer = [proof.as_slice(), &[root]].concat();
                assert_eq!(check(&leaves[index], at, &longer), Err(MerkleError::WrongLength));
                if let Some((_, shorter)) = proof.split_last() {
                    assert_eq!(check(&leaves[index], at, shorter), Err(MerkleError::WrongLength));
                }
            }
        }
    }

    #[test]
    fn every_consistency_proof_up_to_33_leaves_holds_and_no_other_does() {
        for new in 1..=33u32 {
            let leaves = many(new);
            let root = root_of(&leaves);
            for old in 1..=new {
                let old_root = root_of(&leaves[..old as usize]);
                let proof = consistency_proof(&leaves, old as usize).unwrap();
                let check = |old_root: &Hash, proof: &[Hash]| {
                    verify_consistency(u64::from(old), old_root, u64::from(new), &root, proof)
                };
                assert_eq!(check(&old_root, &proof), Ok(()));
                assert_eq!(check(&leaf_hash(b"other"), &proof), Err(MerkleError::WrongRoot));
                let longer = [proof.as_slice(), &[root]].concat();
                assert_eq!(check(&old_root, &longer), Err(MerkleError::WrongLength));
                if let Some((_, shorter)) = proof.split_last() {
                    assert!(check(&old_root, shorter).is_err());
                }
            }
        }
    }

    #[test]
    fn a_leaf_at_the_size_is_out_of_range() {
        let leaves = many(4);
        let expected = MerkleError::OutOfRange { index: 4, size: 4 };
        assert_eq!(inclusion_proof(&leaves, 4), Err(expected));
        assert_eq!(verify_inclusion(&leaves[0], 4, 4, &[], &root_of(&leaves)), Err(expected));
        assert_eq!(inclusion_proof(&[], 0), Err(MerkleError::OutOfRange { index: 0, size: 0 }));
    }

    #[test]
    fn an_older_tree_that_is_empty_or_larger_is_refused() {
        let leaves = many(4);
        let root = root_of(&leaves);
        for old in [0, 5] {
            assert_eq!(consistency_proof(&leaves, old), Err(MerkleError::NotOlder { old: old as u64, new: 4 }));
            assert!(verify_consistency(old as u64, &root, 4, &root, &[]).is_err());
        }
    }

    #[test]
    fn proofs_for_the_largest_sizes_end() {
        let hash = leaf_hash(b"");
        assert!(verify_inclusion(&hash, u64::MAX - 1, u64::MAX, &[hash; 64], &hash).is_err());
        assert!(verify_consistency(u64::MAX - 1, &hash, u64::MAX, &hash, &[hash; 80]).is_err());
    }
}
