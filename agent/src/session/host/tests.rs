//! Two looks at a host, and what is made of what differs.

use super::*;
use crate::probe::census::Code;

const TRACING: u32 = 26;
const CGROUP_DEVICE: u32 = 15;
const SYSCALL: u32 = 31;

fn program(id: u32, kind: u32) -> Program {
    let code = Code { sha256: [u8::try_from(id).unwrap(); 32], helpers: BTreeSet::new(), calls_functions: false };
    Program { id, kind, name: format!("p{id}"), tag: [7; 8], loaded_boottime_ns: id.into(), code: Some(code) }
}

fn link(id: u32, program: u32) -> Link {
    Link { id, kind: 3, program, target: "cgroup 1".into(), attached: true, modifies: false, over: None }
}

fn census(programs: &[Program], links: &[Link]) -> Census {
    Census {
        programs: programs.iter().map(|program| (program.id, program.clone())).collect(),
        links: links.iter().map(|link| (link.id, link.clone())).collect(),
        ..Census::default()
    }
}

/// Two of ours with a link each, and what else there is.
fn host(programs: &[Program], links: &[Link]) -> Host {
    let ours = [program(1, TRACING), program(2, 18)];
    let census = census(&[&ours[..], programs].concat(), &[&[link(1, 1), link(2, 2)][..], links].concat());
    Host { census: Some(census), ..Host::default() }
}

fn own() -> Own {
    [1, 2].into()
}

#[track_caller]
fn codes_of(start: &Host, after: &Host) -> Vec<&'static str> {
    let (_, spots) = end(start, after, &own(), || None);
    spots.into_iter().map(|(code, _)| code).collect()
}

#[test]
fn nothing_that_differs_says_nothing() {
    let both = || host(&[program(9, SYSCALL)], &[link(9, 9)]);
    assert!(codes_of(&both(), &both()).is_empty());
}

#[test]
fn one_of_ours_that_is_gone_changed_or_not_attached_as_it_was_is_said() {
    let start = || host(&[], &[]);
    let spoilt = |spoil: fn(&mut Census)| {
        let mut end = start();
        spoil(end.census.as_mut().unwrap());
        codes_of(&start(), &end)
    };
    let spoils: [fn(&mut Census); 6] = [
        |end| end.programs.get_mut(&1).unwrap().tag[0] = 0,
        |end| end.programs.get_mut(&1).unwrap().code = None,
        |end| end.links.get_mut(&2).unwrap().attached = false,
        |end| end.links.get_mut(&2).unwrap().program = 1,
        |end| end.links.get_mut(&2).unwrap().target.clear(),
        |end| drop(end.links.remove(&2)),
    ];
    for (at, spoil) in spoils.into_iter().enumerate() {
        assert_eq!(spoilt(spoil).first(), Some(&codes::PROGRAM_CHANGED), "{at}");
    }
    assert!(spoilt(|end| drop(end.programs.remove(&2))).contains(&codes::PROGRAM_CHANGED));
    assert_eq!(codes_of(&start(), &Host::default()), [codes::PROGRAM_CHANGED]);
    // Not attached from the start on, and so not changed: said all the same.
    let mut never = start();
    never.census.as_mut().unwrap().links.get_mut(&2).unwrap().attached = false;
    let (_, spots) = end(&never, &never, &own(), || None);
    assert_eq!(spots, [(codes::PROGRAM_CHANGED, "p2 is not attached as it was".to_owned())]);
}

#[test]
fn a_program_in_the_place_of_a_part_of_ours_is_said_even_if_it_was_there_at_the_start() {
    let both = || host(&[program(9, EXT)], &[Link { over: Some(2), ..link(9, 9) }]);
    assert!(codes_of(&both(), &both()).contains(&codes::PROGRAM_CHANGED));
    let other = || host(&[program(9, EXT)], &[Link { over: Some(77), ..link(9, 9) }]);
    assert!(codes_of(&other(), &other()).is_empty());
}

#[test]
fn another_run_s_programs_are_no_foreign_ones() {
    let kin = Program { id: 11, code: program(1, TRACING).code, ..program(11, TRACING) };
    let with = host(std::slice::from_ref(&kin), &[link(11, 11)]);
    assert!(codes_of(&host(&[], &[]), &with).is_empty() && codes_of(&with, &host(&[], &[])).is_empty());
    // The same tag over other instructions is no kin.
    let forged = host(&[Program { code: program(3, TRACING).code, ..kin.clone() }], &[]);
    assert_eq!(codes_of(&host(&[], &[]), &forged), [codes::BPF_OTHERS]);
    let hidden = host(&[Program { code: None, ..kin }], &[]);
    assert_eq!(codes_of(&host(&[], &[]), &hidden), [codes::BPF_CHANGED]);
}

#[test]
fn what_came_or_went_is_judged_by_what_it_can_do() {
    let calls = |helpers: &[i32], calls_functions| {
        let code = Code { sha256: [9; 32], helpers: helpers.iter().copied().collect(), calls_functions };
        Program { code: Some(code), ..program(9, TRACING) }
    };
    let modifies = Link { modifies: true, ..link(9, 9) };
    let cases = [
        (program(9, CGROUP_DEVICE), link(9, 9), codes::BPF_OTHERS),
        (program(9, TRACING), link(9, 9), codes::BPF_OTHERS),
        (program(9, TRACING), modifies, codes::BPF_CHANGED),
        (program(9, SYSCALL), link(9, 9), codes::BPF_CHANGED),
        (program(9, EXT), link(9, 9), codes::BPF_CHANGED),
        (program(9, 99), link(9, 9), codes::BPF_CHANGED),
        (calls(&[5], false), link(9, 9), codes::BPF_CHANGED),
        (calls(&[], true), link(9, 9), codes::BPF_CHANGED),
    ];
    for (program, link, code) in cases {
        let with = host(std::slice::from_ref(&program), std::slice::from_ref(&link));
        assert_eq!(codes_of(&host(&[], &[]), &with), [code], "{program:?}");
        assert_eq!(codes_of(&with, &host(&[], &[])), [code], "{program:?}");
        // It was there before, and is attached now.
        let loaded = host(std::slice::from_ref(&program), &[]);
        assert_eq!(codes_of(&loaded, &with), [code], "{program:?}");
    }
}

#[test]
fn what_is_beyond_the_list_cannot_be_told() {
    let mut more = host(&[], &[]);
    more.census.as_mut().unwrap().more_programs = 1;
    assert_eq!(codes_of(&more, &host(&[], &[])), [codes::BPF_CHANGED]);
}

#[test]
fn differences_are_told_apart_from_what_stayed() {
    let start = host(&[program(5, CGROUP_DEVICE), program(6, CGROUP_DEVICE)], &[]);
    let after = host(&[program(6, CGROUP_DEVICE), program(7, CGROUP_DEVICE)], &[link(8, 7)]);
    let (told, _) = end(&start, &after, &own(), || None);
    let bpf = told.bpf.unwrap();
    assert_eq!(bpf.programs_came.iter().map(|program| program.id).collect::<Vec<_>>(), [7]);
    assert_eq!((bpf.programs_gone, bpf.links_came[0].id, bpf.links_gone), (vec![5], 8, vec![]));
}

fn with_settings(settings: &[(&str, &str)]) -> Host {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    Host { settings, ..host(&[], &[]) }
}

#[test]
fn a_helper_that_changed_came_or_went_is_said_and_other_settings_are_only_told() {
    let start =
        with_settings(&[("kernel.core_pattern", "core"), ("kernel.kptr_restrict", "1"), ("binfmt_misc/a", "x")]);
    for (after, name, value) in [
        (&[("kernel.core_pattern", "|/x"), ("binfmt_misc/a", "x")][..], "kernel.core_pattern", Some(&b"|/x"[..])),
        (&[("kernel.core_pattern", "core")], "binfmt_misc/a", None),
        (
            &[("kernel.core_pattern", "core"), ("binfmt_misc/a", "x"), ("release_agent /x", "")],
            "release_agent /x",
            Some(b""),
        ),
    ] {
        let (told, spots) = end(&start, &with_settings(after), &own(), || None);
        assert_eq!(spots, [(codes::HELPER_CHANGED, format!("{name} is not what it was"))]);
        let values: BTreeMap<_, _> = told.settings.into_iter().map(|setting| (setting.name, setting.value)).collect();
        assert_eq!(values[name].as_deref(), value);
        assert_eq!(values["kernel.kptr_restrict"], None);
    }
}

#[test]
fn a_module_with_a_mark_can_be_anything() {
    let with = |taint: u64, modules: &[(&str, &str)]| {
        let modules = modules.iter().map(|(name, marks)| ((*name).to_owned(), (*marks).to_owned())).collect();
        Host { taint: Some(taint), modules: Some(modules), ..host(&[], &[]) }
    };
    let start = with(0, &[("ext4", "")]);
    assert_eq!(codes_of(&start, &with(0, &[("ext4", ""), ("loop", "")])), [codes::MODULES_CHANGED]);
    assert_eq!(codes_of(&start, &with(0, &[])), [codes::MODULES_CHANGED]);
    assert_eq!(codes_of(&start, &with(0, &[("ext4", ""), ("odd", "(OE)")])), [codes::MODULE_LOADED]);
    assert_eq!(codes_of(&start, &with(1 << 13, &[("ext4", "")])), [codes::MODULE_LOADED]);
    assert!(codes_of(&start, &with(1 << 9, &[("ext4", "")])).is_empty());
}
