//! Facts that follow from frames, and frames that contradict each other.

mod digests;

use super::*;
use crate::codes;
use crate::synthetic::{HOOKS, ROOT, Session, file};
use proto::evidence as log;
use proto::evidence::{Class, Frame, Level, event, frame, network};

fn builder(session: &Session) -> Builder {
    let mut builder = Builder::default();
    for frame in &session.frames {
        builder.push(frame).unwrap();
    }
    builder
}

/// What pushing this body after the session's frames answers.
fn refused(session: &Session, body: frame::Body) -> TraceError {
    let mut builder = builder(session);
    let error = builder.push(&Frame { body: Some(body) }).unwrap_err();
    let trace = builder.finish().unwrap();
    assert!(trace.gaps().iter().any(|gap| gap.code == codes::MALFORMED_LOG), "{error}");
    assert!(!trace.complete());
    error
}

fn event(body: Option<event::Body>) -> log::Event {
    log::Event { hook: 4, cpu: 9, epoch: 3, number: 5, boottime_ns: 1, pid: ROOT, tid: ROOT, flags: 0, body }
}

fn event_body(body: event::Body) -> frame::Body {
    frame::Body::Event(event(Some(body)))
}

fn open(file_id: u64, file: Option<log::File>) -> event::Body {
    event::Body::Open(log::Open { file_id, file, access: 1, fd: 3 })
}

fn gaps(trace: &Trace) -> Vec<(&str, &str, u64)> {
    trace.gaps().iter().map(|gap| (gap.code.as_str(), gap.detail.as_str(), gap.count)).collect()
}

#[test]
fn a_build_gives_its_processes_files_names_and_contacts() {
    let trace = Session::build().trace().unwrap();
    assert!(trace.complete() && trace.lossless());
    assert_eq!(trace.level(), CoverageLevel::ReturnedObject);
    let pids: Vec<u32> = trace.processes().iter().map(|process| process.pid).collect();
    assert_eq!(pids, [ROOT, 1001, 1002]);
    assert_eq!(trace.processes()[2].parent, Some(0));
    assert_eq!(trace.processes()[2].end.unwrap().status, 22 << 8);
    let exec = trace.execs(&trace.processes()[2]).next().unwrap();
    assert_eq!(exec.argv().collect::<Vec<_>>(), [&b"curl"[..], b"", b"https://example.org/\n"]);
    assert_eq!((exec.comm(), exec.binary), (&b"curl"[..], &b"/usr/bin/curl"[..]));
    let files: Vec<_> = trace.files().collect();
    let cache = files.iter().find(|file| file.path == b"/etc/ld.so.cache").unwrap();
    assert_eq!((cache.accesses, cache.processes().collect::<Vec<_>>()), (6, vec![(0, 1), (1, 1)]));
    assert_eq!((cache.class, cache.reason), (Class::Raced, codes::FRESH_CTIME));
    assert_eq!(trace.class_counts(), [3, 3, 1, 1, 0]);
    assert_eq!(trace.products().map(|product| product.0).collect::<Vec<_>>(), [b"/src/tool"]);
    let (contact, address) = trace.contacts().next().unwrap();
    assert_eq!(
        (address, contact.port, contact.sent_bytes, contact.received_bytes),
        (&[192, 0, 2, 7][..], 443, 517, 4096)
    );
    assert_eq!(trace.names().count(), 1);
}

#[test]
fn arguments_that_are_empty_or_lack_their_nul_are_kept() {
    let argv = |args: &'static [u8]| {
        let exec = Exec {
            boottime_ns: 0,
            binary: b"",
            binary_file: 0,
            filename: b"/bin/a-name-of-16-by",
            interpreter: b"",
            directory: b"",
            args,
            ids: [0; 4],
            cap_effective: 0,
            namespaces: [0; 4],
        };
        assert_eq!(exec.comm(), b"a-name-of-16-by");
        exec.argv().collect::<Vec<_>>()
    };
    assert_eq!(argv(b""), Vec::<&[u8]>::new());
    assert_eq!(argv(b"\0"), [b""]);
    assert_eq!(argv(b"a\0\0"), [&b"a"[..], b""]);
    assert_eq!(argv(b"a\0b"), [b"a", b"b"]);
}

#[test]
fn a_reused_pid_is_another_process() {
    let mut session = Session::open();
    session.exec(ROOT, file(1, b"/bin/sh"), &[b"sh"]);
    for code in 1..=3 {
        session.fork(ROOT, 1001);
        session.exit(1001, code);
        session.open_known(1001, 1, 1);
    }
    session.exit(ROOT, 0);
    session.accounts();
    session.close("ended", 0);
    let trace = session.trace().unwrap();
    assert!(trace.complete(), "{:?}", trace.gaps());
    let ends: Vec<u32> = trace.processes()[1..].iter().map(|process| process.end.unwrap().status >> 8).collect();
    assert_eq!(ends, [1, 2, 3]);
    let users: Vec<_> = trace.files().next().unwrap().processes().map(|(process, _)| process).collect();
    assert_eq!(users, [0, 1, 2, 3]);
}

#[test]
fn frames_outside_the_session_are_refused() {
    let mut builder = Builder::default();
    let frame = Frame { body: Some(event_body(open(1, None))) };
    assert_eq!(builder.push(&frame), Err(TraceError::NotOpened));
    assert_eq!(builder.finish().map(drop), Err(TraceError::NotOpened));
    let opened = Session::open().frames.first().cloned().unwrap().body.unwrap();
    assert_eq!(refused(&Session::open(), opened), TraceError::OpenedTwice);
    let late = event_body(open(1, Some(file(1, b"/x"))));
    assert_eq!(refused(&Session::build(), late), TraceError::AfterClose);
    assert_eq!(Builder::default().push(&Frame { body: None }), Err(TraceError::Missing("body")));
}

#[test]
fn a_hook_declared_twice_opens_nothing() {
    let mut session = Session::open();
    if let Some(frame::Body::Opened(opened)) = &mut session.frames[0].body {
        opened.hooks.push(opened.hooks[0].clone());
    }
    assert_eq!(Builder::default().push(&session.frames[0]), Err(TraceError::HookTwice(1)));
    assert!(session.trace().is_err());
}

#[test]
fn hooks_that_the_session_has_not_are_refused() {
    let session = Session::open();
    let of_17 = log::Event { hook: 17, ..event(Some(open(1, Some(file(1, b"/x"))))) };
    assert_eq!(refused(&session, frame::Body::Event(of_17)), TraceError::UnknownHook(17));
    let account = log::HookAccount { hook: 17, ..log::HookAccount::default() };
    assert_eq!(refused(&session, frame::Body::Account(account)), TraceError::UnknownHook(17));
    let folded = log::Folded { hook: 17, ..log::Folded::default() };
    assert_eq!(refused(&session, frame::Body::Folded(folded)), TraceError::UnknownHook(17));
}

#[test]
fn events_that_contradict_what_was_told_are_refused() {
    let mut session = Session::open();
    session.open_file(ROOT, file(1, b"/x"), 1, 0);
    let refusal = |body| refused(&session, event_body(body));
    assert_eq!(refusal(open(2, None)), TraceError::UnknownFile(2));
    assert_eq!(refusal(open(2, Some(file(3, b"/y")))), TraceError::FileRedefined(2));
    let other = log::File { ino: 1, ..file(1, b"/x") };
    assert_eq!(refusal(open(1, Some(other))), TraceError::FileRedefined(1));
    let access = log::Open { file_id: 1, file: None, access: 256, fd: 3 };
    assert_eq!(refusal(event::Body::Open(access)), TraceError::Value("access"));
    let part = log::ExecArgs { offset: 0, data: b"x".to_vec(), args_bytes: None };
    assert_eq!(refusal(event::Body::ExecArgs(part)), TraceError::Arguments(ROOT));
    assert_eq!(refusal(event::Body::Exec(log::Exec::default())), TraceError::Missing("binary"));
    assert_eq!(refusal(event::Body::Name(log::NameChange::default())), TraceError::Value("operation"));
    assert_eq!(refusal(event::Body::Network(log::Network::default())), TraceError::Value("operation"));
    for code in ["", "lower", "\u{1b}[2J"] {
        let attention = log::Attention { code: code.into(), detail: 0 };
        assert_eq!(refusal(event::Body::Attention(attention)), TraceError::Value("code"));
    }
    let empty = event(None);
    assert_eq!(refused(&session, frame::Body::Event(empty)), TraceError::Missing("event"));
}

#[test]
fn a_second_end_number_or_account_is_refused() {
    let mut session = Session::open();
    session.exit(ROOT, 0);
    let exit = event_body(event::Body::Exit(log::Exit::default()));
    assert_eq!(refused(&session, exit), TraceError::EndedTwice(ROOT));
    let again = session.frames.last().cloned().unwrap().body.unwrap();
    assert!(matches!(refused(&session, again), TraceError::NumberTwice { hook: 3, number: 0, .. }));
    session.accounts();
    let account = session.frames.last().cloned().unwrap().body.unwrap();
    assert!(matches!(refused(&session, account), TraceError::AccountTwice { hook: 18, cpu: 1, .. }));
}

#[test]
fn arguments_come_in_order_and_no_further_than_announced() {
    let mut session = Session::open();
    session.exec(ROOT, file(1, b"/bin/sh"), &[b"sh"]);
    for (offset, data) in [(3, b"x".to_vec()), (2, b"x".to_vec()), (4, b"x".to_vec()), (0, b"x".to_vec())] {
        let part = event_body(event::Body::ExecArgs(log::ExecArgs { offset, data, args_bytes: None }));
        assert_eq!(refused(&session, part), TraceError::Arguments(ROOT), "{offset}");
    }
}

#[test]
fn arguments_of_more_than_6_mib_are_refused() {
    let exec = |args_bytes| {
        let exec = log::Exec { args_bytes, binary: Some(file(1, b"/x")), ..log::Exec::default() };
        Frame { body: Some(event_body(event::Body::Exec(exec))) }
    };
    assert_eq!(builder(&Session::open()).push(&exec(6 << 20)), Ok(()));
    assert_eq!(builder(&Session::open()).push(&exec((6 << 20) + 1)), Err(TraceError::Arguments(ROOT)));
}

fn bent_accounts(bend: fn(&mut log::HookAccount)) -> Trace {
    let mut session = Session::build();
    for frame in &mut session.frames {
        if let Some(frame::Body::Account(account)) = &mut frame.body
            && (account.hook, account.cpu) == (4, 1)
        {
            bend(account);
        }
    }
    session.trace().unwrap()
}

#[test]
fn numbers_that_do_not_agree_are_gaps_and_not_lossless() {
    type Case<'a> = (fn(&mut log::HookAccount), Vec<(&'a str, &'a str, u64)>);
    let cases: [Case<'_>; 7] = [
        (|account| account.attempted += 1, vec![(codes::ACCOUNT_MISMATCH, "open#4", 1)]),
        (
            |account| account.attempted = 0,
            vec![(codes::ACCOUNT_MISMATCH, "open#4", 1), (codes::NUMBER_BEYOND_ACCOUNT, "open#4", 1)],
        ),
        (
            |account| {
                account.coalesced += 1;
                account.attempted += 1;
            },
            vec![(codes::FOLD_MISMATCH, "open#4", 1)],
        ),
        (
            |account| {
                account.lost = 5;
                account.attempted += 5;
            },
            vec![(codes::LOST_EVENTS, "open#4", 5)],
        ),
        (|account| account.truncated = 3, vec![(codes::TRUNCATED_EVENT, "open#4", 3)]),
        (|account| account.attempted = u64::MAX, vec![(codes::ACCOUNT_MISMATCH, "open#4", 1)]),
        (|_| {}, vec![]),
    ];
    for (bend, expected) in cases {
        let trace = bent_accounts(bend);
        assert_eq!(gaps(&trace), expected);
        assert_eq!((trace.lossless(), trace.complete()), (expected.is_empty(), expected.is_empty()));
    }
}

#[test]
fn repeats_balance_over_the_cpus_of_an_epoch() {
    let mut session = Session::build();
    // Five repeats on CPU 0 of an event that CPU 1 told.
    for frame in &mut session.frames {
        match &mut frame.body {
            Some(frame::Body::Account(account)) if (account.hook, account.cpu) == (4, 0) => {
                account.coalesced += 5;
                account.attempted += 5;
            }
            Some(frame::Body::Folded(folded)) if folded.cpu == 1 && folded.count == 4 => folded.count += 5,
            _ => {}
        }
    }
    let trace = session.trace().unwrap();
    assert!(trace.complete(), "{:?}", trace.gaps());
}

#[test]
fn a_fold_that_stands_for_no_event_is_a_gap() {
    let mut session = Session::build();
    for frame in &mut session.frames {
        if let Some(frame::Body::Folded(folded)) = &mut frame.body {
            folded.number += 1000;
        }
    }
    assert!(session.trace().unwrap().gaps().iter().all(|gap| gap.code == codes::FOLD_MISMATCH));
}

#[test]
fn a_flag_of_the_lower_half_is_a_truncation_and_one_of_the_upper_is_not() {
    for (flags, lossless) in [(1, false), (1 << 15, false), (1 << 16, true), (1 << 31, true), (u32::MAX, false)] {
        let mut session = Session::build();
        let event = session.frames.iter_mut().find_map(|frame| match &mut frame.body {
            Some(frame::Body::Event(event)) => Some(event),
            _ => None,
        });
        event.unwrap().flags = flags;
        assert_eq!(session.trace().unwrap().lossless(), lossless, "{flags:x}");
    }
}

#[test]
fn a_hook_without_account_or_known_misses_is_a_gap() {
    let mut session = Session::build();
    session.frames.retain(|frame| !matches!(&frame.body, Some(frame::Body::Account(account)) if account.hook == 6));
    assert_eq!(gaps(&session.trace().unwrap()), [(codes::MISSING_ACCOUNT, "link#6", 1)]);
    type Bend = fn(&mut Vec<log::HookMisses>);
    let cases: [(Bend, (&str, &str, u64)); 5] = [
        (|misses| misses[0].known = false, (codes::UNKNOWN_MISSES, "fork#1", 1)),
        (|misses| misses[0].misses = 4, (codes::MISSED_RUNS, "fork#1", 4)),
        (|misses| misses.truncate(misses.len() - 1), (codes::UNKNOWN_MISSES, "attention#18", 1)),
        (|misses| misses.push(misses[0]), (codes::UNKNOWN_MISSES, "fork#1", 1)),
        (
            |misses| misses.push(log::HookMisses { hook: 99, known: true, misses: 0 }),
            (codes::MALFORMED_LOG, "misses", 1),
        ),
    ];
    for (bend, expected) in cases {
        let mut session = Session::build();
        if let Some(frame::Body::Closed(closed)) = session.frames.last_mut().and_then(|frame| frame.body.as_mut()) {
            bend(&mut closed.misses);
        }
        assert_eq!(gaps(&session.trace().unwrap()), [expected]);
    }
}

fn with_hooks(bend: impl Fn(&mut Vec<log::Hook>)) -> Trace {
    let mut session = Session::build();
    if let Some(frame::Body::Opened(opened)) = &mut session.frames[0].body {
        bend(&mut opened.hooks);
    }
    session.trace().unwrap()
}

#[test]
fn the_level_is_the_lowest_that_content_and_peers_rest_on() {
    let all = |level: Level| with_hooks(|hooks| hooks.iter_mut().for_each(|hook| hook.level = level.into()));
    assert_eq!(all(Level::Object).level(), CoverageLevel::Object);
    assert!(all(Level::Object).complete());
    assert_eq!(all(Level::UserArgument).level(), CoverageLevel::UserArgument);
    let weak: Vec<String> = all(Level::UserArgument).gaps().iter().map(|gap| gap.detail.clone()).collect();
    assert_eq!(weak.len(), HOOKS.len() - 5, "all but the name operations: {weak:?}");
    assert_eq!(all(Level::Unspecified).level(), CoverageLevel::None);
    assert!(!all(Level::Unspecified).complete());
    let beyond = with_hooks(|hooks| hooks[0].level = 17);
    assert_eq!(gaps(&beyond), [(codes::WEAK_HOOK, "fork#1", 1)]);
}

#[test]
fn every_required_observation_is_required() {
    for required in REQUIRED_OBSERVATIONS {
        let trace = with_hooks(|hooks| {
            let hook = hooks.iter_mut().find(|hook| hook.observation == required).unwrap();
            hook.observation = "other".into();
        });
        assert!(gaps(&trace).contains(&(codes::MISSING_OBSERVATION, required, 1)), "{required}");
        assert!(!trace.complete());
    }
    let mut session = Session::open();
    if let Some(frame::Body::Opened(opened)) = &mut session.frames[0].body {
        opened.hooks.clear();
    }
    let trace = session.trace().unwrap();
    assert_eq!(trace.level(), CoverageLevel::None);
    assert!(!trace.complete());
}

#[test]
fn a_trace_over_its_limit_says_so_and_keeps_to_it() {
    let session = Session::build();
    for limit in [0, 100, 1000, 2000, 1 << 30] {
        let mut builder = Builder::with_limit(limit);
        let refused: Vec<_> = session.frames.iter().filter_map(|frame| builder.push(frame).err()).collect();
        let trace = builder.finish().unwrap();
        let whole = refused.is_empty();
        assert_eq!(whole, limit == 1 << 30);
        assert_eq!(trace.complete(), whole);
        assert_eq!(trace.gaps().iter().any(|gap| gap.code == codes::TRACE_TOO_LARGE), !whole, "{limit}");
    }
}

#[test]
fn a_65th_detail_of_a_blind_spot_and_a_4097th_gap_are_not_told_apart() {
    let mut session = Session::open();
    for n in 0..70 {
        session.push(frame::Body::BlindSpot(log::BlindSpot {
            code: codes::IO_URING_USED.into(),
            detail: format!("d{n}"),
            ends_completeness: false,
        }));
    }
    for pid in 10_000..15_000 {
        session.open_file(pid, file(u64::from(pid), b"/x"), 1, 0);
    }
    let trace = session.trace().unwrap();
    let spots = trace.blind_spots();
    assert_eq!(spots.len(), 65);
    assert_eq!((spots[0].detail.as_str(), spots[0].count), ("", 6));
    let unknown: Vec<_> = trace.gaps().iter().filter(|gap| gap.code == codes::UNKNOWN_PROCESS).collect();
    assert_eq!(unknown.len(), 4096 + 1);
    assert_eq!((unknown[0].detail.as_str(), unknown[0].count), ("", 5000 - 4096));
}

#[test]
fn a_process_that_joins_is_a_blind_spot_unless_it_was_of_the_session() {
    let joined = |session: &mut Session, pid: u32, start_ns: u64| {
        session.event(18, pid, event::Body::Joined(log::Joined { start_ns, ..log::Joined::default() }));
    };
    let mut session = Session::open();
    joined(&mut session, ROOT, 4_990_000_000);
    session.fork(ROOT, 1001);
    let trace = session.trace().unwrap();
    assert!(trace.blind_spots().is_empty());
    let start_ns = trace.processes()[1].start_ns;
    joined(&mut session, 1001, start_ns);
    assert!(session.trace().unwrap().blind_spots().is_empty());
    joined(&mut session, 1001, start_ns + 1);
    let trace = session.trace().unwrap();
    assert_eq!(trace.blind_spots()[0].code, codes::JOINED_PROCESS);
    assert_eq!(trace.processes()[2].origin, Origin::Joined);
}

#[test]
fn a_close_without_its_connection_is_a_contact_of_its_own() {
    let mut session = Session::open();
    let close = log::Network {
        operation: network::Operation::Close.into(),
        family: 2,
        remote: vec![192, 0, 2, 1],
        cookie: 5,
        ..log::Network::default()
    };
    session.event(16, 0, event::Body::Network(close.clone()));
    session.event(16, 0, event::Body::Network(close));
    let trace = session.trace().unwrap();
    let contacts: Vec<_> = trace.contacts().map(|(contact, _)| (contact.process, contact.count)).collect();
    assert_eq!(contacts, [(None, 2)]);
}

#[test]
fn a_session_is_one_container_of_an_image_with_a_whole_digest() {
    let mut session = Session::build_open();
    session.is_container(true);
    session.is_container(true);
    let trace = session.trace().unwrap();
    assert!(trace.gaps().iter().any(|gap| gap.code == codes::MALFORMED_LOG), "two");
    assert_eq!(trace.image(), Some(("registry.example.org/web:1", &[0xab; 32])));
    let mut session = Session::build_open();
    let short = log::Container { image_sha256: vec![1; 31], ..log::Container::default() };
    session.push(frame::Body::Container(short));
    let trace = session.trace().unwrap();
    assert!(trace.gaps().iter().any(|gap| gap.code == codes::MALFORMED_LOG) && trace.container().is_none());
}
