//! Bytes in a message: base64 outside, wiped when they are dropped, and shown by their number only.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::Deref;
use zeroize::Zeroizing;

/// Some bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(Zeroizing<Vec<u8>>);

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Bytes({})", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&Zeroizing::new(STANDARD.encode(&*self.0)))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(from)?);
        STANDARD.decode(text.as_bytes()).map(Self::from).map_err(|_| D::Error::custom("no base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::Bytes;
    use crate::{Answer, Ask, Fault, FaultCode, Outcome, Request, Response, VERSION};

    #[test]
    fn bytes_round_trip_and_are_not_shown() {
        let bytes = Bytes::from(vec![0, 255, 7]);
        let text = serde_json::to_string(&bytes).unwrap();
        assert_eq!(text, "\"AP8H\"");
        assert_eq!(serde_json::from_str::<Bytes>(&text).unwrap(), bytes);
        assert_eq!(format!("{bytes:?}"), "Bytes(3)");
        assert!(serde_json::from_str::<Bytes>("\"AP8\"").is_err());
    }

    #[test]
    fn a_question_has_one_form() {
        let request = Request { version: VERSION, id: 7, ask: Ask::Extend { pcr: 12, sha256: vec![0; 2].into() } };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(text, r#"{"version":1,"id":7,"ask":{"kind":"extend","pcr":12,"sha256":"AAA="}}"#);
        assert!(serde_json::from_str::<Request>(&text).is_ok());
        for wrong in
            [text.replace("12", "300"), text.replace("\"pcr\"", "\"register\""), text.replace("7,", "7,\"x\":1,")]
        {
            assert!(serde_json::from_str::<Request>(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_is_one_or_a_fault() {
        let fault = Fault { code: FaultCode::NoEkCertificate, message: "none".to_owned() };
        let fault = Response { version: VERSION, id: None, outcome: Outcome::Fault(fault) };
        let text = serde_json::to_string(&fault).unwrap();
        assert_eq!(
            text,
            r#"{"version":1,"id":null,"outcome":{"fault":{"code":"no-ek-certificate","message":"none"}}}"#
        );
        let answer = Response { version: VERSION, id: Some(1), outcome: Outcome::Answer(Answer::Extended) };
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(text, r#"{"version":1,"id":1,"outcome":{"answer":{"kind":"extended"}}}"#);
        assert!(serde_json::from_str::<Response>(&text).is_ok());
    }
}
