//! Where messages begin in a call's bytes: before each stand five, a mark and the message's length.

use std::collections::VecDeque;

use tonic::Status;

const HEADER_BYTES: usize = 5;

/// What was read of a call's bytes.
#[derive(Debug)]
pub(super) struct Framing {
    /// Of a message at most.
    bytes_max: usize,
    header: [u8; HEADER_BYTES],
    /// Of the header that is being read.
    read: usize,
    /// What is to come of the message.
    left: usize,
    /// Of the message that began last.
    length: usize,
}

impl Framing {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, header: [0; HEADER_BYTES], read: 0, left: 0, length: 0 }
    }

    /// Whether a message, or its header, is there in part.
    pub(super) fn is_inside(&self) -> bool {
        self.read > 0 || self.left > 0
    }

    /// Bytes of the message that began last.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Reads on, and adds the lengths of messages that begin.
    pub(super) fn read(&mut self, mut bytes: &[u8], begun: &mut VecDeque<usize>) -> Result<(), Status> {
        while !bytes.is_empty() {
            let of_message = self.left.min(bytes.len());
            self.left -= of_message;
            bytes = &bytes[of_message..];
            let of_header = bytes.len().min(HEADER_BYTES - self.read);
            self.header[self.read..self.read + of_header].copy_from_slice(&bytes[..of_header]);
            self.read += of_header;
            bytes = &bytes[of_header..];
            if self.read == HEADER_BYTES {
                let [_, length @ ..] = self.header;
                let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                if length > self.bytes_max {
                    let says = format!("a message of {length} bytes is too large: {} are taken", self.bytes_max);
                    return Err(Status::out_of_range(says));
                }
                (self.read, self.left, self.length) = (0, length, length);
                begun.push_back(length);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32) -> Vec<u8> {
        [&[0][..], &length.to_be_bytes(), &vec![7; usize::try_from(length).unwrap()]].concat()
    }

    #[test]
    fn messages_begin_where_they_do_however_they_come() {
        let lengths = [0, 1, 300, 0, 5];
        let all: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).collect();
        for each in 1..all.len() {
            let (mut framing, mut begun) = (Framing::new(300), VecDeque::new());
            for part in all.chunks(each) {
                framing.read(part, &mut begun).unwrap();
            }
            assert!(!framing.is_inside());
            assert_eq!(Vec::from(begun), lengths.map(|length| usize::try_from(length).unwrap()), "{each}");
        }
    }

    #[test]
    fn a_message_is_taken_to_its_limit_and_known_to_be_there_in_part() {
        let (mut framing, mut begun) = (Framing::new(4), VecDeque::new());
        let whole = message(4);
        for length in 1..whole.len() {
            let (mut framing, mut begun) = (Framing::new(4), VecDeque::new());
            framing.read(&whole[..length], &mut begun).unwrap();
            assert!(framing.is_inside() && begun.len() == usize::from(length >= HEADER_BYTES));
        }
        framing.read(&whole, &mut begun).unwrap();
        assert!(!framing.is_inside());
        // By its header alone, before anything of it is there.
        assert!(framing.read(&message(5)[..HEADER_BYTES], &mut begun).is_err());
        assert!(Framing::new(4).read(&[0, 0xff, 0xff, 0xff, 0xff], &mut begun).is_err());
        assert_eq!(begun, [4]);
    }
}
