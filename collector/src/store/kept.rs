//! What was kept, for whoever follows the store.

use attestation::merkle::Hash;

use super::{Error, Reader};

/// What is known of a statement beside its envelope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) payload_sha256: Hash,
    pub(crate) received_s: u64,
    pub(crate) peer: String,
    pub(crate) signer: String,
    pub(crate) host: String,
    pub(crate) boot: String,
    pub(crate) number: Option<u64>,
    pub(crate) previous: Option<Hash>,
    pub(crate) complete: bool,
}

impl Reader {
    /// Statements with their envelopes from this place on, in order: so many at most, and no more once they have so many bytes.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) fn some(
        &self,
        from: u64,
        count_max: usize,
        bytes_max: usize,
        mut each: impl FnMut(u64, Kept, Vec<u8>),
    ) -> Result<(), Error> {
        let select = "SELECT place, payload_sha256, received_s, peer, signer, host, boot, number, previous, complete, envelope \
                      FROM statement WHERE place >= ?1 ORDER BY place";
        let mut select = self.connection.prepare_cached(select)?;
        let mut rows = select.query([from.cast_signed()])?;
        let (mut count, mut bytes) = (0, 0_usize);
        while count < count_max && bytes < bytes_max {
            let Some(row) = rows.next()? else { break };
            let envelope: Vec<u8> = row.get(10)?;
            count += 1;
            bytes = bytes.saturating_add(envelope.len());
            let kept = Kept {
                payload_sha256: row.get(1)?,
                received_s: row.get::<_, i64>(2)?.cast_unsigned(),
                peer: row.get(3)?,
                signer: row.get(4)?,
                host: row.get(5)?,
                boot: row.get(6)?,
                number: row.get::<_, Option<i64>>(7)?.map(i64::cast_unsigned),
                previous: row.get(8)?,
                complete: row.get(9)?,
            };
            each(row.get::<_, i64>(0)?.cast_unsigned(), kept, envelope);
        }
        Ok(())
    }

    /// How many there are: the place of the next one.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) fn newest(&self) -> Result<u64, Error> {
        let newest = "SELECT coalesce(max(place) + 1, 0) FROM statement";
        Ok(self.connection.query_row(newest, (), |row| row.get::<_, i64>(0))?.cast_unsigned())
    }

    /// Bytes of the database's pages.
    ///
    /// # Errors
    /// Of the database.
    pub(crate) fn bytes(&self) -> Result<u64, Error> {
        let pragma = |name: &str| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        Ok(pragma("page_count")?.cast_unsigned().saturating_mul(pragma("page_size")?.cast_unsigned()))
    }
}
