//! The log's tree: nodes are rows, which never change.

use attestation::merkle::{
    Hash, MerkleError, Tree,
    stored::{Place, consistency, inclusion},
};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Error, Reader, Store};

/// A leaf's place, and the way from it to the root of the tree as it is now.
pub(crate) struct Appended {
    /// Its index.
    pub(crate) place: u64,
    /// The leaf's data.
    pub(crate) entry: Vec<u8>,
    /// Hashes from it to the root.
    pub(crate) proof: Vec<Hash>,
}

/// The tree as it was kept.
pub(super) fn kept(connection: &Connection) -> Result<Tree, Error> {
    let size: Option<i64> =
        connection.query_row("SELECT max(place) FROM node WHERE level = 0", (), |row| row.get(0))?;
    let size = size.map_or(0, |last| last.cast_unsigned() + 1);
    Tree::stored(size, |place| node(connection, place))
}

/// Appends a leaf, in the caller's transaction.
pub(super) fn append(connection: &Connection, tree: &mut Tree, leaf: Hash) -> Result<u64, Error> {
    let mut nodes = Vec::new();
    let place = tree.push_nodes(leaf, |place, hash| nodes.push((place, *hash)));
    let mut insert = connection.prepare_cached("INSERT INTO node (level, place, hash) VALUES (?1, ?2, ?3)")?;
    for (Place { level, index }, hash) in nodes {
        insert.execute(params![level, index.cast_signed(), hash])?;
    }
    Ok(place)
}

fn node(connection: &Connection, Place { level, index }: Place) -> Result<Hash, Error> {
    let mut select = connection.prepare_cached("SELECT hash FROM node WHERE level = ?1 AND place = ?2")?;
    let hash: Option<Hash> = select.query_row(params![level, index.cast_signed()], |row| row.get(0)).optional()?;
    // A node that is not there where it belongs.
    hash.ok_or(Error::Tree(MerkleError::WrongLength))
}

impl Store {
    /// Root of the tree as it is now.
    pub(crate) fn root(&self) -> Hash {
        self.tree.root()
    }

    /// The way from a leaf to the root of the tree as it is now.
    ///
    /// # Errors
    /// If it is not there, or the tree is damaged.
    pub(crate) fn prove(&self, place: u64) -> Result<Appended, Error> {
        let proof = inclusion(place, self.tree.size(), |place| node(&self.connection, place))?;
        let entry = "SELECT entry FROM statement WHERE place = ?1";
        let entry = self.connection.prepare_cached(entry)?.query_row([place.cast_signed()], |row| row.get(0))?;
        Ok(Appended { place, entry, proof })
    }
}

impl Reader {
    /// Size and root of the log as it is now.
    ///
    /// # Errors
    /// If it is damaged.
    pub(crate) fn head(&self) -> Result<(u64, Hash), Error> {
        let tree = kept(&self.connection)?;
        Ok((tree.size(), tree.root()))
    }

    /// Shows that the log of one size begins with that of another (RFC 6962, section 2.1.2).
    ///
    /// # Errors
    /// If the log is shorter, or damaged.
    pub(crate) fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, Error> {
        let (size, _) = self.head()?;
        if new > size {
            return Err(MerkleError::OutOfRange { index: new, size }.into());
        }
        consistency(old, new, |place| node(&self.connection, place))
    }
}
