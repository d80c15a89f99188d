//! The log's tree: nodes are rows, which never change.

use attestation::merkle::{
    Hash, MerkleError, Tree,
    stored::{Place, consistency},
};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Error, Reader};

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

pub(super) fn node(connection: &Connection, Place { level, index }: Place) -> Result<Hash, Error> {
    let mut select = connection.prepare_cached("SELECT hash FROM node WHERE level = ?1 AND place = ?2")?;
    let hash: Option<Hash> = select.query_row(params![level, index.cast_signed()], |row| row.get(0)).optional()?;
    // A node that is not there where it belongs.
    hash.ok_or(Error::Tree(MerkleError::WrongLength))
}

impl Reader {
    /// Shows that the log of one size begins with that of another (RFC 6962, section 2.1.2).
    ///
    /// # Errors
    /// If the log is shorter, or damaged.
    pub(crate) fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, Error> {
        let size = kept(&self.connection)?.size();
        if new > size {
            return Err(MerkleError::OutOfRange { index: new, size }.into());
        }
        consistency(old, new, |place| node(&self.connection, place))
    }
}
