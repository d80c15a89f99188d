//! A statement of which everything is settled but who signs it, and its place in their chain: what waits for a signer.

use super::testimony::Signing;
use super::{Meta, write};
use crate::evidence::LogHead;
use crate::trace::Trace;
use std::io::{self, Write};
use std::ops::Range;

/// What follows.
const NEXT: &[u8] = b",\"membership\":";

/// The payload as nobody would sign it, and where in it stands who does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    payload: Vec<u8>,
    signing: Range<usize>,
}

impl Unsigned {
    /// Of a whole log, in so many bytes at most.
    ///
    /// # Errors
    /// [`io::ErrorKind::FileTooLarge`], if it takes more.
    pub fn new(trace: &Trace, head: &LogHead, bytes_max: usize) -> io::Result<Self> {
        let mut payload = Limited { bytes: Vec::new(), bytes_max };
        write(&mut payload, trace, head, &Meta::default())?;
        Self::from_payload(payload.bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// From [`Self::payload`]; none if nobody's place is in it, or several.
    #[must_use]
    pub fn from_payload(payload: Vec<u8>) -> Option<Self> {
        // Behind a comma an unescaped quote begins a key or a value: no text that a workload chose has these bytes. Of keys with this
        // name the document has one.
        let nobody = [b",".as_slice(), &entries(&Meta::default()).ok()?, NEXT].concat();
        let mut found = payload.windows(nobody.len()).enumerate().filter(|(_, bytes)| *bytes == nobody);
        let (at, more) = (found.next()?.0, found.next());
        let signing = at + 1..at + nobody.len() - NEXT.len();
        more.is_none().then_some(Self { payload, signing })
    }

    /// As it is kept.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Writes the statement that [`write`] writes.
    ///
    /// # Errors
    /// What `out` answers.
    pub fn write(&self, mut out: impl Write, meta: &Meta) -> io::Result<()> {
        let (before, after) = (self.payload.get(..self.signing.start), self.payload.get(self.signing.end..));
        out.write_all(before.unwrap_or_default())?;
        out.write_all(&entries(meta)?)?;
        out.write_all(after.unwrap_or_default())
    }
}

/// What stands between the braces.
fn entries(meta: &Meta) -> io::Result<Vec<u8>> {
    let object = serde_json::to_vec(&Signing(meta))?;
    Ok(object.get(1..object.len() - 1).unwrap_or_default().to_vec())
}

struct Limited {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{Session, file};

    fn written(trace: &Trace, head: &LogHead, meta: &Meta) -> Vec<u8> {
        let mut payload = Vec::new();
        write(&mut payload, trace, head, meta).unwrap();
        payload
    }

    #[test]
    fn whoever_signs_later_signs_what_would_have_been_signed() {
        let named = "spiffe://example.org/a\",\"number\":7,\"x";
        let metas = [
            Meta::default(),
            Meta { signer: "key".into(), number: Some(1), ..Meta::default() },
            Meta {
                signer: named.into(),
                co_signers: vec![named.into(), "b".into()],
                instead_of: Some("c".into()),
                number: Some(u64::MAX),
                previous: Some([7; 32]),
            },
        ];
        let session = Session::build();
        let (trace, head) = (session.trace().unwrap(), session.write(1000).unwrap().0);
        let unsigned = Unsigned::new(&trace, &head, usize::MAX).unwrap();
        let unsigned = Unsigned::from_payload(unsigned.payload().to_vec()).unwrap();
        for meta in metas {
            let mut payload = Vec::new();
            unsigned.write(&mut payload, &meta).unwrap();
            assert_eq!(String::from_utf8(payload), String::from_utf8(written(&trace, &head, &meta)));
        }
    }

    #[test]
    fn what_a_workload_wrote_is_nobodys_place() {
        let mut session = Session::build_open();
        let place = ",\"signer\":\"\",\"number\":null,\"previous\":null,\"membership\":";
        session.exec(7, file(99, place.as_bytes()), &[place.as_bytes(), format!("\\{place}").as_bytes(), b"signer"]);
        let (trace, head) = (session.trace().unwrap(), session.write(1000).unwrap().0);
        let unsigned = Unsigned::new(&trace, &head, usize::MAX).unwrap();
        let meta = Meta { signer: "key".into(), ..Meta::default() };
        let mut payload = Vec::new();
        unsigned.write(&mut payload, &meta).unwrap();
        assert_eq!(payload, written(&trace, &head, &meta));
    }

    #[test]
    fn a_payload_that_names_its_signer_or_has_two_places_or_is_too_large_is_none() {
        let session = Session::build();
        let (trace, head) = (session.trace().unwrap(), session.write(1000).unwrap().0);
        let payload = written(&trace, &head, &Meta::default());
        assert!(Unsigned::from_payload([payload.clone(), payload.clone()].concat()).is_none());
        let named = written(&trace, &head, &Meta { signer: "key".into(), ..Meta::default() });
        assert!(Unsigned::from_payload(named).is_none() && Unsigned::from_payload(Vec::new()).is_none());
        assert!(Unsigned::new(&trace, &head, payload.len()).is_ok());
        let error = Unsigned::new(&trace, &head, payload.len() - 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
