//! Round trips at the layout's boundaries, and arbitrary bytes.

use proptest::prelude::*;

use super::*;

fn record(kind: u16, fixed: &[u8], sections: &[&[u8]]) -> Vec<u8> {
    let mut tail = Vec::new();
    for section in sections {
        tail.extend(u16::try_from(section.len()).unwrap().to_ne_bytes());
        tail.extend(*section);
    }
    let bytes = u32::try_from(64 + fixed.len() + tail.len()).unwrap();
    let mut out = Vec::new();
    out.extend(bytes.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(hook::OPEN.to_ne_bytes());
    for word in [3u32, 1, 2, 0] {
        out.extend(word.to_ne_bytes());
    }
    for long in [77u64, 99] {
        out.extend(long.to_ne_bytes());
    }
    out.extend(10u32.to_ne_bytes());
    out.extend(11u32.to_ne_bytes());
    out.extend(5u64.to_ne_bytes());
    out.extend(u32::try_from(tail.len()).unwrap().to_ne_bytes());
    out.extend(0u32.to_ne_bytes());
    out.extend(fixed);
    out.extend(tail);
    out
}

fn components(parts: &[&[u8]]) -> Vec<u8> {
    parts
        .iter()
        .flat_map(|part| std::iter::once(u8::try_from(part.len()).unwrap()).chain(part.iter().copied()))
        .collect()
}

#[test]
fn an_open_keeps_a_component_of_255_bytes_and_bytes_that_are_no_text() {
    let long = vec![0xff; 255];
    let path = components(&[&long, b"a\nb", b"tmp"]);
    let event = decode(&record(kind::OPEN, &[0; 80], &[&path])).unwrap();
    let Body::Open { file, .. } = event.body else { panic!("not an open") };
    assert_eq!(file.path, [b"/tmp/a\nb/".as_slice(), &long].concat());
    assert_eq!((event.head.slot, event.head.cpu, event.head.number, event.head.serial), (3, 2, 77, 5));
}

#[test]
fn no_component_is_the_root() {
    let event = decode(&record(kind::OPEN, &[0; 80], &[b""])).unwrap();
    let Body::Open { file, .. } = event.body else { panic!("not an open") };
    assert_eq!(file.path, b"/");
}

#[test]
fn a_component_one_byte_too_long_is_refused() {
    assert_eq!(decode(&record(kind::OPEN, &[0; 80], &[&[3, b'a', b'b']])), Err(Error::Section(1)));
}

#[test]
fn a_header_that_says_another_length_is_refused() {
    let mut bytes = record(kind::FORK, &[0; 16], &[]);
    bytes.push(0);
    assert!(matches!(decode(&bytes), Err(Error::Length { .. })));
}

#[test]
fn unknown_kinds_and_hooks_are_refused() {
    assert_eq!(decode(&record(99, &[0; 16], &[])), Err(Error::Kind(99)));
    let mut bytes = record(kind::FORK, &[0; 16], &[]);
    bytes[6] = u8::try_from(hook::COUNT).unwrap();
    assert_eq!(decode(&bytes), Err(Error::Hook(hook::COUNT)));
}

#[test]
fn bytes_after_the_last_section_are_refused() {
    assert!(matches!(decode(&record(kind::OPEN, &[0; 80], &[b"", b"more"])), Err(Error::Section(_))));
}

proptest! {
    #[test]
    fn any_bytes_give_an_event_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn any_body_of_any_kind_gives_an_event_or_an_error(
        kind in 0u16..16,
        body in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let _ = decode(&record(kind, &body, &[]));
    }

    #[test]
    fn every_cut_of_a_record_is_an_error(cut in 0usize..150) {
        let whole = record(kind::OPEN, &[7; 80], &[&components(&[b"leaf", b"root"])]);
        prop_assert!(decode(&whole[..cut.min(whole.len() - 1)]).is_err());
    }
}
