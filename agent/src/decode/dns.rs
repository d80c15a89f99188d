//! DNS messages, as far as they can be read: any bytes give what they say, and where they end to make sense.

use domain::{
    base::{
        Message, ParsedName, ParsedRecord, UnknownRecordData, iana::Rtype, name::ToLabelIter as _,
        rdata::ParseRecordData,
    },
    rdata::{A, Aaaa, Cname, Dname, Mx, Ns, Ptr, Srv},
};

/// Bytes of record data of a type that is not written in words; more are left out.
const DATA_BYTES_MAX: usize = 255;

/// Bytes of names and data that are made of one message, a compressed name counting each time; one with more is not read to its end.
const READ_BYTES_MAX: usize = 8192;

/// What a message says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// It answers.
    pub response: bool,
    /// 0 for an ordinary question.
    pub opcode: u8,
    /// Of an answer, without what EDNS adds.
    pub rcode: u8,
    /// What is asked.
    pub questions: Vec<Question>,
    /// What is answered.
    pub answers: Vec<Answer>,
    /// It could not be read to its end, or has bytes beyond it.
    pub malformed: bool,
}

/// A name, and what of it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Labels joined by dots. Within a label, a dot and a backslash have a backslash before them. The root is a dot.
    pub name: Vec<u8>,
    /// As IANA has it.
    pub rtype: u16,
    /// As IANA has it; 1 is the Internet.
    pub class: u16,
}

/// A record of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whose it is.
    pub question: Question,
    /// As zone files have it: an address, a name, numbers before a name; else `\#`, the length, and hexadecimal digits.
    pub data: Vec<u8>,
}

/// Reads a message.
pub fn read(bytes: &[u8]) -> Dns {
    let Ok(message) = Message::from_slice(bytes) else { return Dns { malformed: true, ..Dns::default() } };
    let header = message.header();
    let mut dns = Dns {
        response: header.qr(),
        opcode: header.opcode().to_int(),
        rcode: header.rcode().to_int(),
        ..Dns::default()
    };
    dns.malformed = fill(&mut dns, message).is_none();
    dns
}

/// Enters questions and answers; none if the message is not what it says.
fn fill(dns: &mut Dns, message: &Message<[u8]>) -> Option<()> {
    let mut questions = message.question();
    for question in questions.by_ref() {
        let question = question.ok()?;
        let (rtype, class) = (question.qtype().to_int(), question.qclass().to_int());
        dns.questions.push(Question { name: name(question.qname()), rtype, class });
        if dns.questions.iter().map(|question| question.name.len()).sum::<usize>() > READ_BYTES_MAX {
            return None;
        }
    }
    let mut read = 0;
    let mut answers = questions.answer().ok()?;
    for record in answers.by_ref() {
        let answer = answer(&record.ok()?)?;
        read += answer.question.name.len() + answer.data.len();
        dns.answers.push(answer);
        if read > READ_BYTES_MAX {
            return None;
        }
    }
    let mut authority = answers.next_section().ok()??;
    authority.by_ref().try_for_each(|record| record.ok().map(drop))?;
    let mut additional = authority.next_section().ok()??;
    additional.by_ref().try_for_each(|record| record.ok().map(drop))?;
    (additional.pos() == message.as_slice().len()).then_some(())
}

fn answer(record: &ParsedRecord<'_, [u8]>) -> Option<Answer> {
    let (rtype, class) = (record.rtype(), record.class().to_int());
    let question = Question { name: name(&record.owner()), rtype: rtype.to_int(), class };
    let data = match rtype {
        Rtype::A => parsed::<A>(record)?.addr().to_string().into_bytes(),
        Rtype::AAAA => parsed::<Aaaa>(record)?.addr().to_string().into_bytes(),
        Rtype::CNAME => name(parsed::<Cname<_>>(record)?.cname()),
        Rtype::DNAME => name(parsed::<Dname<_>>(record)?.dname()),
        Rtype::NS => name(parsed::<Ns<_>>(record)?.nsdname()),
        Rtype::PTR => name(parsed::<Ptr<_>>(record)?.ptrdname()),
        Rtype::MX => {
            let mx = parsed::<Mx<_>>(record)?;
            numbered(&[mx.preference()], mx.exchange())
        }
        Rtype::SRV => {
            let srv = parsed::<Srv<_>>(record)?;
            numbered(&[srv.priority(), srv.weight(), srv.port()], srv.target())
        }
        _ => unknown(parsed::<UnknownRecordData<&[u8]>>(record)?.data()),
    };
    Some(Answer { question, data })
}

fn parsed<'a, Data: ParseRecordData<'a, [u8]>>(record: &ParsedRecord<'a, [u8]>) -> Option<Data> {
    Some(record.to_record::<Data>().ok()??.into_data())
}

fn name(name: &ParsedName<&[u8]>) -> Vec<u8> {
    let mut text = Vec::new();
    for label in name.iter_labels().filter(|label| !label.is_root()) {
        if !text.is_empty() {
            text.push(b'.');
        }
        for byte in label.as_slice() {
            if matches!(byte, b'.' | b'\\') {
                text.push(b'\\');
            }
            text.push(*byte);
        }
    }
    if text.is_empty() { b".".to_vec() } else { text }
}

fn numbered(numbers: &[u16], target: &ParsedName<&[u8]>) -> Vec<u8> {
    let mut text = Vec::new();
    for number in numbers {
        text.extend(number.to_string().bytes().chain([b' ']));
    }
    text.extend(name(target));
    text
}

/// RFC 3597's form.
fn unknown(data: &[u8]) -> Vec<u8> {
    let kept = data.get(..DATA_BYTES_MAX).unwrap_or(data);
    let mut text = format!("\\# {} ", data.len());
    for byte in kept {
        text.extend([byte >> 4, byte & 0xf].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header with these counts and flags, then these bytes.
    fn message(flags: u16, counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
        let words = [&[0x1234, flags], counts.as_slice()].concat();
        words.into_iter().flat_map(u16::to_be_bytes).chain(rest.iter().copied()).collect()
    }

    fn question(name: &str, rtype: u16) -> Question {
        Question { name: name.as_bytes().to_vec(), rtype, class: 1 }
    }

    #[test]
    fn a_question_and_its_answers_are_read() {
        let asked = b"\x03www\x07example\0\0\x01\0\x01";
        let read_question = read(&message(0x0100, [1, 0, 0, 0], asked));
        assert_eq!(read_question, Dns { questions: vec![question("www.example", 1)], ..Dns::default() });
        let alias = b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01a\xc0\x10";
        let address = b"\xc0\x29\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01";
        let text = b"\xc0\x29\0\x10\0\x01\0\0\0\x3c\0\x03\x02hi";
        let rest = [asked.as_slice(), alias, address, text].concat();
        let answered = read(&message(0x8183, [1, 3, 0, 0], &rest));
        let data: Vec<_> = answered.answers.iter().map(|answer| answer.data.escape_ascii().to_string()).collect();
        assert_eq!(data, ["a.example", "192.0.2.1", r"\\# 3 026869"]);
        assert_eq!(answered.answers[1].question, question("a.example", 1));
        assert_eq!((answered.response, answered.rcode, answered.malformed), (true, 3, false));
    }

    #[test]
    fn names_keep_every_byte() {
        let read = read(&message(0, [2, 0, 0, 0], b"\x04a.\\\xff\0\xff\xff\0\xff\0\0\x02\0\x01"));
        assert_eq!(read.questions[0].name, b"a\\.\\\\\xff");
        assert_eq!((read.questions[0].rtype, read.questions[0].class), (0xffff, 0xff));
        assert_eq!(read.questions[1].name, b".");
        assert!(!read.malformed);
    }

    #[test]
    fn what_is_no_message_says_so() {
        let pointer_to_itself = message(0, [1, 0, 0, 0], b"\xc0\x0c\0\x01\0\x01");
        let two_pointers = message(0, [1, 0, 0, 0], b"\xc0\x0e\xc0\x0c\0\x01\0\x01");
        let too_few = message(0, [u16::MAX; 4], b"\x01a\0\0\x01\0\x01");
        let trailing = message(0, [1, 0, 0, 0], b"\x01a\0\0\x01\0\x01hidden");
        for bytes in [&b""[..], b"GET / HTTP/1.0\r\n", &pointer_to_itself, &two_pointers, &too_few, &trailing] {
            assert!(read(bytes).malformed, "{}", bytes.escape_ascii());
        }
        assert_eq!(read(&too_few).questions, [question("a", 1)], "what came before is told");
        assert!(read(&vec![0xff; 65_507]).malformed);
    }

    #[test]
    fn long_data_is_cut_and_has_its_length() {
        let data = unknown(&[0xab; 300]);
        assert!(data.starts_with(b"\\# 300 abab"));
        assert_eq!(data.len(), 7 + 2 * DATA_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..1300)) {
            read(&bytes);
        }

        #[test]
        fn any_bytes_behind_a_header_are_read(
            counts in any::<[u8; 4]>(),
            rest in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0xc0), Just(0)], 0..600),
        ) {
            read(&message(0x8180, counts.map(u16::from), &rest));
        }
    }
}
