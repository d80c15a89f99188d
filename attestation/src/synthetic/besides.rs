//! What sessions can have besides: facts of the platform, what was redacted, known acts of the agent's own.

use super::{EXEC, ROOT, Session, content, file};
use proto::evidence as log;
use proto::evidence::{event, frame};

impl Session {
    /// What was left out before anything was written: variables of all kinds, and the last part of arguments that says how many
    /// there are.
    pub fn redact(&mut self) {
        let variable = |name: &[u8], value: Option<&[u8]>, hmac: Option<Vec<u8>>| log::Variable {
            name: name.to_vec(),
            value: value.map(<[u8]>::to_vec),
            hmac,
        };
        if let Some(frame::Body::Opened(opened)) = self.frames.first_mut().and_then(|frame| frame.body.as_mut()) {
            opened.redaction_rules = 2;
            opened.environment = vec![
                variable(b"CC", Some(b"gcc \x1b"), None),
                variable(b"EMPTY", Some(b""), None),
                variable(b"TOKEN", None, Some(content(b"token"))),
                variable(b"UNSET", None, None),
            ];
        }
        let binary = file(1, b"/usr/bin/dash");
        for part in [(1, Some(3)), (2, Some(1)), (0, Some(7 << 20)), (0, None)] {
            self.exec(ROOT, binary.clone(), &[]);
            let event = self.frames.iter_mut().rev().find_map(|frame| match &mut frame.body {
                Some(frame::Body::Event(log::Event { body: Some(event::Body::Exec(exec)), .. })) => Some(exec),
                _ => None,
            });
            if let Some(exec) = event {
                exec.args_bytes = 1;
            }
            let data = b"ab".get(..part.0).unwrap_or_default().to_vec();
            self.event(EXEC, ROOT, event::Body::ExecArgs(log::ExecArgs { offset: 0, data, args_bytes: part.1 }));
            let rest =
                log::ExecArgs { offset: u32::try_from(part.0).unwrap_or(0), data: b"c\0".to_vec(), args_bytes: part.1 };
            self.event(EXEC, ROOT, event::Body::ExecArgs(rest));
        }
    }

    /// Descriptors that the root command was given, one with a name that needs escapes.
    pub fn inherit(&mut self) {
        let given = |descriptor, file_type: &str, access: &str, path: &[u8]| log::Inherited {
            descriptor,
            r#type: file_type.to_owned(),
            access: access.to_owned(),
            dev: 259 << 20 | 2,
            ino: 1 << 40,
            path: path.to_vec(),
        };
        if let Some(frame::Body::Opened(opened)) = self.frames.first_mut().and_then(|frame| frame.body.as_mut()) {
            opened.inherited = vec![
                given(0, "fifo", "read", b"pipe:[1]"),
                given(7, "regular", "read+write", b"/work/\x1b\xff (deleted)"),
            ];
        }
    }

    /// Makes it the session of a container, as its runtime's store says it, or cannot.
    pub fn is_container(&mut self, known: bool) {
        let id = "c0ffee".to_owned();
        if let Some(frame::Body::Opened(opened)) = self.frames.first_mut().and_then(|frame| frame.body.as_mut()) {
            "container".clone_into(&mut opened.kind);
            opened.subject_name.clone_from(&id);
            opened.cgroup = format!("/machine.slice/libpod-{id}.scope");
        }
        let label = |name: &str, value: &str| log::Label { name: name.to_owned(), value: value.to_owned() };
        let runtime = "podman".to_owned();
        self.push(frame::Body::Container(if known {
            log::Container {
                runtime,
                id,
                name: "web".to_owned(),
                image: "registry.example.org/web:1".to_owned(),
                image_sha256: vec![0xab; 32],
                image_config: false,
                pod: "web-0".to_owned(),
                pod_namespace: "default".to_owned(),
                pod_uid: "7".to_owned(),
                labels: vec![label("empty", ""), label("tier", "front\u{1b}end")],
                fault: String::new(),
            }
        } else {
            log::Container {
                runtime,
                id,
                fault: "the store has no such container".to_owned(),
                ..log::Container::default()
            }
        }));
    }

    /// A round of known acts: an event of each hook in `told`, and one act claimed for each in `acts`.
    pub fn canaries(&mut self, round: u64, told: &[u32], acts: &[u32]) {
        let began_boottime_ns = self.clock_ns;
        for hook in told {
            self.event(*hook, ROOT, event::Body::Canary(log::CanaryEvent {}));
        }
        let acts = acts.iter().map(|hook| log::CanaryAct { hook: *hook, count: 1 }).collect();
        let ended_boottime_ns = self.clock_ns;
        self.push(frame::Body::Canary(log::Canary { round, began_boottime_ns, ended_boottime_ns, acts }));
    }

    /// Time passes.
    pub fn wait(&mut self, ns: u64) {
        self.clock_ns += ns;
    }

    /// Every fact of the platform at the start, and at the end, where the session has one.
    pub fn tell_platform(&mut self) {
        for frame in &mut self.frames {
            match frame.body.as_mut() {
                Some(frame::Body::Opened(opened)) => opened.platform.iter_mut().for_each(|told| platform(told)),
                Some(frame::Body::Closed(closed)) => closed.platform = Some(Box::new(platform_end())),
                _ => {}
            }
        }
    }
}

/// Adds what may be left out.
fn platform(platform: &mut log::Platform) {
    *platform = log::Platform {
        kernel_version: Some("#1 SMP 2026".into()),
        kernel_build_id: Some(vec![0xb1; 20]),
        command_line: vec![b"lsm=lockdown,bpf".to_vec(), b"init=/\x1b".to_vec()],
        security_modules: Some("lockdown,bpf".into()),
        lockdown: Some("none".into()),
        secure_boot: Some(false),
        module_signatures: Some(true),
        taint: Some(0),
        clock_source: Some("tsc".into()),
        hypervisor: Some("none".into()),
        settings: vec![setting("kernel.core_pattern", Some(b"core")), setting("kernel.modprobe", Some(b""))],
        sessions_since_boot: Some(3),
        sessions_since_install: Some(17),
        bpf: Some(log::Bpf {
            programs: vec![program(7, "cgroup_device", None, false), program(9, "tracing", Some(vec![9; 32]), true)],
            links: vec![link(2, 9, "sys_exit")],
            more_programs: 0,
            more_links: 1,
        }),
        ..std::mem::take(platform)
    };
}

fn platform_end() -> log::PlatformEnd {
    log::PlatformEnd {
        taint: Some(1 << 12),
        lockdown: Some("none".into()),
        clock_source: Some("hpet".into()),
        settings: vec![setting("kernel.core_pattern", Some(b"|/bin/\xff")), setting("kernel.modprobe", None)],
        modules_came: vec!["loop".into(), "odd (OE)".into()],
        modules_gone: vec!["fuse".into()],
        bpf: Some(log::BpfChange {
            programs_came: vec![program(11, "kprobe", Some(vec![11; 32]), false)],
            programs_gone: vec![7],
            links_came: vec![link(5, 11, "")],
            links_gone: vec![2],
            more_programs: 1,
            more_links: 0,
        }),
    }
}

fn setting(name: &str, value: Option<&[u8]>) -> log::Setting {
    log::Setting { name: name.into(), value: value.map(<[u8]>::to_vec) }
}

fn program(id: u32, r#type: &str, sha256: Option<Vec<u8>>, ours: bool) -> log::BpfProgram {
    let (name, tag) = (format!("program_{id}"), vec![0xa0; 8]);
    log::BpfProgram { id, r#type: r#type.into(), name, tag, loaded_boottime_ns: u64::from(id) << 53, sha256, ours }
}

fn link(id: u32, program: u32, target: &str) -> log::BpfLink {
    log::BpfLink { id, r#type: "raw_tracepoint".into(), program, target: target.into() }
}
