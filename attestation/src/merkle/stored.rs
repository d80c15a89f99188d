//! A tree of which the roots of all full subtrees are kept, so that proofs of any age are made of a few of them: level 0 has the
//! leaves, and the node `index` of a level covers the leaves from `index << level` on, `1 << level` of them. A node never changes.
//!
//! Source: RFC 6962, sections 2.1.1 and 2.1.2; the numbering is that of C2SP's `tlog-tiles`.

use super::{Hash, MerkleError, Tree, node_hash};

/// Where a full subtree stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its height: 0 is a leaf.
    pub level: u32,
    /// Which of its level, from 0.
    pub index: u64,
}

impl Tree {
    /// The tree of this size, of nodes that were kept.
    ///
    /// # Errors
    /// Whatever `node` gives for one that it does not have.
    pub fn stored<E>(size: u64, mut node: impl FnMut(Place) -> Result<Hash, E>) -> Result<Self, E> {
        let mut peaks = Vec::new();
        for level in (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1) {
            peaks.push(node(Place { level, index: (size >> level) - 1 })?);
        }
        Ok(Self { size, peaks })
    }

    /// Appends a leaf by its hash, and hands out each node that is full by it, from the leaf up.
    pub fn push_nodes(&mut self, leaf: Hash, mut keep: impl FnMut(Place, &Hash)) -> u64 {
        let (index, mut node) = (self.size, leaf);
        keep(Place { level: 0, index }, &node);
        for level in 1..=index.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            node = node_hash(&left, &node);
            keep(Place { level, index: index >> level }, &node);
        }
        self.peaks.push(node);
        self.size += 1;
        index
    }
}

/// Inclusion proof of the leaf at `index` in the tree of `size` leaves.
///
/// # Errors
/// If there is no such leaf, or whatever `node` gives for a node that it does not have.
pub fn inclusion<E: From<MerkleError>>(
    index: u64,
    size: u64,
    mut node: impl FnMut(Place) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    if index >= size {
        return Err(MerkleError::OutOfRange { index, size }.into());
    }
    let (mut first, mut end, mut proof) = (0, size, Vec::new());
    while end - first > 1 {
        let middle = first + split(end - first);
        if index < middle {
            proof.push(root(middle, end, &mut node)?);
            end = middle;
        } else {
            proof.push(root(first, middle, &mut node)?);
            first = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Consistency proof from the tree of `old` leaves to that of `new`.
///
/// # Errors
/// If that is not older, or whatever `node` gives for a node that it does not have.
pub fn consistency<E: From<MerkleError>>(
    old: u64,
    new: u64,
    mut node: impl FnMut(Place) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    if old > new {
        return Err(MerkleError::NotOlder { old, new }.into());
    }
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let (mut first, mut end, mut proof) = (0, new, Vec::new());
    while end > old {
        let middle = first + split(end - first);
        if old <= middle {
            proof.push(root(middle, end, &mut node)?);
            end = middle;
        } else {
            proof.push(root(first, middle, &mut node)?);
            first = middle;
        }
    }
    // What is left is a subtree that the old tree has as well; from its beginning on it is the old tree, whose root is known.
    if first > 0 {
        proof.push(root(first, end, &mut node)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Root over the leaves from `first` to before `end`, of which `first` is a multiple of the largest power of two below their number.
fn root<E>(first: u64, end: u64, node: &mut impl FnMut(Place) -> Result<Hash, E>) -> Result<Hash, E> {
    let size = end - first;
    if size.is_power_of_two() {
        let level = size.trailing_zeros();
        return node(Place { level, index: first >> level });
    }
    let middle = first + split(size);
    let (left, right) = (root(first, middle, node)?, root(middle, end, node)?);
    Ok(node_hash(&left, &right))
}

/// The largest power of two below `size`, for one of at least 2.
fn split(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{consistency_proof, inclusion_proof, leaf_hash, root_of, verify_consistency, verify_inclusion};
    use std::collections::BTreeMap;

    #[test]
    fn proofs_of_kept_nodes_are_those_of_all_leaves() {
        let leaves: Vec<Hash> = (0..70_u8).map(|byte| leaf_hash(&[byte])).collect();
        let (mut nodes, mut tree) = (BTreeMap::new(), Tree::default());
        for (number, leaf) in leaves.iter().enumerate() {
            assert_eq!(
                tree.push_nodes(*leaf, |place, hash| assert!(nodes.insert(place, *hash).is_none())),
                number as u64
            );
        }
        let node = |place: Place| nodes.get(&place).copied().ok_or(MerkleError::WrongLength);
        for size in 1..=leaves.len() {
            let (some, now) = (&leaves[..size], size as u64);
            let stored = Tree::stored(now, node).unwrap();
            assert_eq!((stored.size(), stored.root()), (now, root_of(some)));
            for (index, leaf) in some.iter().enumerate() {
                let proof = inclusion(index as u64, now, node).unwrap();
                assert_eq!(proof, inclusion_proof(some, index).unwrap());
                verify_inclusion(leaf, index as u64, now, &proof, &stored.root()).unwrap();
            }
            for old in 1..=size {
                let proof = consistency(old as u64, now, node).unwrap();
                assert_eq!(proof, consistency_proof(some, old).unwrap(), "{old} of {size}");
                let before = root_of(&leaves[..old]);
                verify_consistency(old as u64, &before, now, &stored.root(), &proof).unwrap();
            }
        }
        assert_eq!(inclusion(70, 70, node), Err(MerkleError::OutOfRange { index: 70, size: 70 }));
        assert_eq!(consistency(71, 70, node), Err(MerkleError::NotOlder { old: 71, new: 70 }));
    }

    #[test]
    fn a_tree_goes_on_where_it_was_kept() {
        let leaves: Vec<Hash> = (0..40_u8).map(|byte| leaf_hash(&[byte])).collect();
        let (mut nodes, mut whole) = (BTreeMap::new(), Tree::default());
        for leaf in &leaves {
            let mut tree = Tree::stored(whole.size(), |place| nodes.get(&place).copied().ok_or(())).unwrap();
            tree.push_nodes(*leaf, |place, hash| assert!(nodes.insert(place, *hash).is_none()));
            whole.push_hash(*leaf);
            assert_eq!((tree.size(), tree.root()), (whole.size(), whole.root()));
        }
    }
}
