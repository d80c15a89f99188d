//! The inputs that fuzzing starts from, and those by which it once found something, are run by an ordinary test: every file of
//! fuzz/seeds/decode, against what fuzz/properties says of it. `SEEDS_WRITE=1 cargo test -p testimony decode::seeds` writes
//! those that are made, and leaves those that were found.

use std::fs;
use std::path::Path;

use super::{Body, Event, File, Given, Head};

#[path = "../../../fuzz/properties/decode.rs"]
mod properties;

fn version() -> agent_ebpf::FileVersion {
    agent_ebpf::FileVersion { ino: 7, dev: 8 << 20 | 1, size: 1000, writers: -1, nlink: 1, ..Default::default() }
}

fn given(directory: &[u8], name: &[u8]) -> Given {
    Given { directory: directory.to_vec(), name: name.to_vec() }
}

/// A body of each kind, and of those that may lack a part one without.
fn bodies() -> Vec<(&'static str, Body)> {
    let name = agent_ebpf::Name { operation: 1, level: 2, result: -2, reserved: 0 };
    let net = agent_ebpf::Net { cookie: 77, family: 2, socket_type: 1, remote_port: 443, ..Default::default() };
    let act = agent_ebpf::Act { arguments: [1, 2, 3, 4, 5, u64::MAX], call: 165, ..Default::default() };
    let exec = agent_ebpf::Exec { binary: version(), uid: 1000, args_bytes: 9, ..Default::default() };
    let open = |path: &[u8]| Body::Open { file: File { path: path.to_vec(), version: version() }, access: 1, fd: 3 };
    vec![
        ("fork", Body::Fork(agent_ebpf::Fork { child_pid: 1001, child_start_ns: 5, ..Default::default() })),
        (
            "exec",
            Body::Exec {
                fixed: Box::new(exec),
                path: b"/usr/bin/cc".to_vec(),
                filename: b"cc".to_vec(),
                interpreter: Vec::new(),
                directory: b"/".to_vec(),
            },
        ),
        ("args", Body::Args { offset: 4096, data: b"cc\0-o\0".to_vec() }),
        ("exit", Body::Exit(agent_ebpf::Exit { status: 9, start_ns: 5, ..Default::default() })),
        ("open", open(b"/tmp/a\nb/\xff")),
        ("open-root", open(b"/")),
        ("open-known", Body::OpenKnown(agent_ebpf::OpenKnown { number: 3, hook: 4, fd: -1, ..Default::default() })),
        ("rename", Body::Name { fixed: name, from: given(b"/src", b"a"), to: Some(given(b"/", b"/src/b")) }),
        ("unlink", Body::Name { fixed: name, from: given(b"/src", b"a"), to: None }),
        ("connect", Body::Net { fixed: Box::new(net), address: Vec::new() }),
        ("connect-unix", Body::Net { fixed: Box::new(net), address: b"/run/sock".to_vec() }),
        (
            "dns",
            Body::Net {
                fixed: Box::new(net),
                address: b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0\x03www\0\0\x01\0\x01\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x0c".to_vec(),
            },
        ),
        ("act", Body::Act { fixed: Box::new(act), texts: vec![b"none".to_vec(), Vec::new()] }),
        ("joined", Body::Joined(agent_ebpf::Joined { start_ns: 5, cgroup_id: 6 })),
        ("outside", Body::Outside(agent_ebpf::Outside { ino: 7, dev: 8, reused: 1 })),
        ("attention", Body::Attention(agent_ebpf::Attention { code: 1, reserved: 0, detail: 425 })),
        (
            "provisional",
            Body::Provisional {
                fixed: agent_ebpf::Provisional { cgroup_id: 5, parent_id: 6 },
                name: b"docker-1.scope".to_vec(),
            },
        ),
    ]
}

#[test]
fn every_seed_holds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/decode");
    let head = Head {
        hook: agent_ebpf::hook::OPEN,
        slot: 3,
        serial: 5,
        epoch: 1,
        cpu: 2,
        flags: 0,
        number: 77,
        boottime_ns: 99,
        pid: 10,
        tid: 11,
        took: 12,
    };
    let made = bodies().into_iter().map(|(name, body)| (name, Event { head, body }));
    for (name, event) in made {
        let record = properties::written(&event);
        if std::env::var_os("SEEDS_WRITE").is_some() {
            fs::create_dir_all(&seeds).unwrap();
            fs::write(seeds.join(name), &record).unwrap();
        }
        assert!(seeds.join(name).exists(), "{name} is not kept");
        assert!(super::decode(&record) == Ok(event) && properties::hold(&record), "{name} is not accepted any more");
    }
    for seed in fs::read_dir(&seeds).unwrap() {
        properties::hold(&fs::read(seed.unwrap().path()).unwrap());
    }
}
