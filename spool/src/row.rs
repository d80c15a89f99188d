//! The digest that each row has over all of it: what is read is what was put, in this spool, under this number.

use sha2::{Digest, Sha256};

/// A digest, of whatever.
pub(crate) type Hash = [u8; 32];

/// Takes fields, each with its length, so that none can be read as part of another.
pub(crate) struct Check(Sha256);

impl Check {
    /// Begins a row of a table.
    pub fn of(spool: &[u8; 16], table: &str) -> Self {
        Self(Sha256::new()).bytes(spool).bytes(table.as_bytes())
    }

    pub fn bytes(mut self, field: &[u8]) -> Self {
        self.0.update((field.len() as u64).to_be_bytes());
        self.0.update(field);
        self
    }

    /// A field that may be missing, which is not an empty one.
    pub fn optional(self, field: Option<&[u8]>) -> Self {
        match field {
            Some(field) => self.number(1).bytes(field),
            None => self.number(0),
        }
    }

    pub fn number(self, field: u64) -> Self {
        self.bytes(&field.to_be_bytes())
    }

    pub fn end(self) -> Hash {
        self.0.finalize().into()
    }
}

/// Of bytes.
pub(crate) fn digest(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}
