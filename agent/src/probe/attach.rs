//! Attaching: for each observation the strongest way whose programs the kernel takes, the refusals kept.

use std::{collections::HashMap, fs, fs::File};

use agent_ebpf::hook;
use aya::{
    Btf, Ebpf, Endianness,
    programs::{
        BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, FEntry, FExit, Lsm,
        Program as Loaded, ProgramError,
    },
};

use super::{
    Error, btf,
    hooks::{
        self, ACTS, ASKED, Attached, EMPTY, IMA, Limits, OBSERVATIONS, Observation, Point, Program, RENAMES, SYS_EXIT,
        Way,
    },
    load::cgroup_root,
};

/// What came of the attachments.
pub(super) struct Outcome {
    /// A row a hook.
    pub(super) rows: Vec<Attached>,
    /// Hooks that look at system calls: those that only their end serves, and acts.
    pub(super) calls_of: Vec<u16>,
    /// Whether the end of system calls must count renames too.
    pub(super) renames_by_sys_exit: bool,
}

/// Attaches everything that the limits do not leave out. With `spares`, attaches those too.
pub(super) fn all(ebpf: &mut Ebpf, types: Types, limits: &Limits, spares: bool) -> Result<Outcome, Error> {
    let mut attacher = Attacher { ebpf, types, spares, done: HashMap::new(), denied: HashMap::new() };
    if limits.weakest {
        for point in [Point::Lsm, Point::Entry, Point::Exit] {
            attacher.denied.insert(point, "not asked for".to_owned());
        }
    } else if let Err(why) = lsm_active() {
        attacher.denied.insert(Point::Lsm, why);
    }
    let mut outcome = Outcome { rows: Vec::new(), calls_of: Vec::new(), renames_by_sys_exit: false };
    let asked = |observation: &&Observation| !limits.without.iter().any(|name| name == observation.name);
    for observation in OBSERVATIONS.iter().filter(asked) {
        let row = attacher.observe(observation)?;
        if row.programs.first() == Some(&SYS_EXIT.name) {
            outcome.calls_of.push(row.hook);
        }
        outcome.rows.push(row);
    }
    match attacher.attach(&RENAMES) {
        // A rename that was not counted leaves opens under a path that was: whoever is skipped there, opens are missed.
        Ok(()) => outcome.rows.iter_mut().filter(|row| row.hook == hook::OPEN).for_each(|row| {
            row.programs.push(RENAMES.name);
        }),
        Err(_) => outcome.renames_by_sys_exit = true,
    }
    // Without it no exec says what IMA measured, and no claim rests on that.
    let _ = attacher.attach(&IMA);
    if outcome.renames_by_sys_exit || !outcome.calls_of.is_empty() {
        outcome.calls_of.push(hook::ATTENTION);
    }
    // Where tracepoints are preempted, the kernel skips the end of some system calls, and no session would be complete that is
    // on the strongest hooks but for acts.
    let by_end = !spares || !outcome.calls_of.is_empty();
    if asked(&&ACTS) && by_end {
        outcome.rows.push(attacher.observe(&ACTS)?);
        outcome.calls_of.push(hook::ACT);
    }
    if !outcome.calls_of.is_empty() || outcome.renames_by_sys_exit {
        attacher.attach(&SYS_EXIT).map_err(|refusal| refusal.fatal(&SYS_EXIT))?;
    }
    if asked(&&ACTS) && !by_end {
        // Where that is refused as well, the statement says that acts were not observed. Programs that are in place nevertheless find no
        // call to tell.
        let asked: Result<Vec<_>, _> = ASKED.iter().map(|asked| attacher.observe(asked)).collect();
        if let Ok(rows) = asked {
            outcome.rows.extend(rows);
            outcome.calls_of.push(hook::ACT);
        }
    }
    if limits.with_empty {
        // Where one is refused, there is nothing to be measured beside.
        let _: Vec<Result<(), Refusal>> = EMPTY.iter().map(|empty| attacher.attach(empty)).collect();
    }
    let implied = implied(attacher.ebpf, &outcome.rows)?;
    outcome.rows.extend(implied);
    Ok(outcome)
}

/// The kernel's types that programs are attached by.
pub(super) struct Types {
    /// In aya's form.
    ids: Btf,
    /// Those that this kernel has.
    found: HashMap<String, u32>,
}

impl Types {
    pub(super) fn of(types: &btf::Btf) -> Result<Self, btf::Error> {
        let called = agent_ebpf::CAST_FUNCTION.to_owned();
        let names = hooks::programs().filter_map(Program::kernel_type).chain([called]).collect();
        let (reduced, found) = types.reduced(&names)?;
        let ids = Btf::parse(&reduced, Endianness::default()).map_err(|_| btf::Error::Malformed { at: 0 })?;
        Ok(Self { ids, found })
    }

    /// The number of a kernel function that programs call.
    pub(super) fn called(&self, function: &str) -> Option<u32> {
        self.found.get(function).copied()
    }
}

/// Why a program was not attached.
enum Refusal {
    /// For a reason of this program's or of its type.
    Told(String),
    /// The kernel's answer.
    Kernel(Box<ProgramError>),
    /// The cgroup hierarchy is missing.
    Cgroup(Error),
}

impl Refusal {
    fn text(&self) -> String {
        match self {
            Self::Told(why) => why.clone(),
            Self::Kernel(error) => last_cause(error.as_ref()),
            Self::Cgroup(error) => error.to_string(),
        }
    }

    fn fatal(self, program: &Program) -> Error {
        match self {
            Self::Told(why) => Error::Refused { program: program.name, why },
            Self::Kernel(source) => Error::Program { program: program.name, source },
            Self::Cgroup(error) => error,
        }
    }
}

/// The kernel's own answer, at the end of the chain; the verifier's log, which precedes it, is for developers.
fn last_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string().lines().last().unwrap_or_default().to_owned()
}

struct Attacher<'a> {
    ebpf: &'a mut Ebpf,
    types: Types,
    /// Whether spares are of use in this kernel.
    spares: bool,
    /// Programs asked for so far: attached, or why not.
    done: HashMap<&'static str, Result<(), String>>,
    /// Types of programs that this kernel does not run for us.
    denied: HashMap<Point, String>,
}

impl Attacher<'_> {
    /// Attaches the strongest way of an observation.
    fn observe(&mut self, observation: &Observation) -> Result<Attached, Error> {
        let mut refused = Vec::new();
        let (weakest, stronger) = observation.ways.split_last().ok_or(Error::Object("way of an observation"))?;
        for way in stronger {
            match way.programs.iter().try_for_each(|program| self.attach(program)) {
                Ok(()) => return row(self.ebpf, observation, way, refused),
                Err(refusal) => refused.push(format!("{}: {}", way.method, refusal.text())),
            }
        }
        for program in weakest.programs {
            self.attach(program).map_err(|refusal| refusal.fatal(program))?;
        }
        row(self.ebpf, observation, weakest, refused)
    }

    /// Loads and attaches a program, once.
    fn attach(&mut self, program: &Program) -> Result<(), Refusal> {
        if let Some(done) = self.done.get(program.name) {
            return done.clone().map_err(Refusal::Told);
        }
        if let Some(why) = self.denied.get(&program.point) {
            return Err(Refusal::Told(why.clone()));
        }
        let attached = self.load(program).and_then(|()| match program.spare.filter(|_| self.spares) {
            Some(name) => self.load(&Program { name, ..*program }),
            None => Ok(()),
        });
        let remembered = attached.as_ref().copied().map_err(Refusal::text);
        if let Err(why) = &remembered {
            self.deny(program.point, why);
        }
        self.done.insert(program.name, remembered);
        attached
    }

    /// A type of program that is refused for want of permission is refused for every program.
    fn deny(&mut self, point: Point, why: &str) {
        if why.contains("Operation not permitted") && point != Point::Tracepoint {
            self.denied.insert(point, why.to_owned());
        }
    }

    fn load(&mut self, program: &Program) -> Result<(), Refusal> {
        if let Some(lacking) = program.kernel_type().filter(|name| !self.types.found.contains_key(name)) {
            return Err(Refusal::Told(format!("this kernel has no {lacking}")));
        }
        let missing = || Refusal::Told("the built-in object file lacks it".to_owned());
        let loaded = self.ebpf.program_mut(program.name).ok_or_else(missing)?;
        if matches!(program.point, Point::CgroupSockAddr | Point::CgroupEgress | Point::CgroupIngress) {
            let root = cgroup_root().map_err(Refusal::Cgroup)?;
            let root = File::open(root).map_err(|_| Refusal::Cgroup(Error::NoCgroup))?;
            return at_cgroup(loaded, root, program.point).map_err(|error| Refusal::Kernel(Box::new(error)));
        }
        at_kernel(loaded, &self.types.ids, program).map_err(|error| Refusal::Kernel(Box::new(error)))
    }
}

/// Observations that ride on the hooks of others: what is said once, and writers from outside. Without opens there is nobody to ride
/// on but the other calls.
fn implied(ebpf: &Ebpf, rows: &[Attached]) -> Result<Vec<Attached>, Error> {
    let open = rows.iter().find(|row| row.hook == hook::OPEN);
    let of_syscalls = rows.iter().filter(|row| row.programs == [SYS_EXIT.name] && row.hook != hook::ACT);
    let by_syscalls = of_syscalls.max_by_key(|row| row.level);
    let attention = by_syscalls.or(open);
    let outside = match open {
        Some(open) if open.programs.first() != Some(&SYS_EXIT.name) => Some(open),
        _ => attention,
    };
    let implied = [(hook::ATTENTION, "attention", attention), (hook::OUTSIDE, "outside-write", outside)];
    let rides = |(hook, observation, on): (u16, &'static str, Option<&Attached>)| {
        let on = on?;
        let level = open.unwrap_or(on).level;
        Some(tag(ebpf, on.programs[0]).map(|tag| Attached { hook, observation, tag, level, ..on.clone() }))
    };
    implied.into_iter().filter_map(rides).collect()
}

fn row(ebpf: &Ebpf, observation: &Observation, way: &'static Way, refused: Vec<String>) -> Result<Attached, Error> {
    let programs: Vec<_> = way.programs.iter().map(|program| program.name).collect();
    let tag = tag(ebpf, programs[0])?;
    let Observation { hook, name, .. } = *observation;
    Ok(Attached { hook, observation: name, method: way.method, level: way.level, programs, tag, refused })
}

fn tag(ebpf: &Ebpf, name: &'static str) -> Result<[u8; 8], Error> {
    let program = ebpf.program(name).ok_or(Error::Object(name))?;
    let info = program.info().map_err(|source| Error::Program { program: name, source: Box::new(source) })?;
    Ok(info.tag().to_be_bytes())
}

fn at_cgroup(program: &mut Loaded, root: File, point: Point) -> Result<(), ProgramError> {
    // A link always allows others beside it; the kernel takes no flag here.
    let mode = CgroupAttachMode::Single;
    let direction = match point {
        Point::CgroupEgress => CgroupSkbAttachType::Egress,
        Point::CgroupIngress => CgroupSkbAttachType::Ingress,
        _ => {
            let program: &mut CgroupSockAddr = program.try_into()?;
            program.load()?;
            return program.attach(root, mode).map(drop);
        }
    };
    let program: &mut CgroupSkb = program.try_into()?;
    program.load()?;
    program.attach(root, direction, mode).map(drop)
}

/// Loads and attaches. A program that is nowhere attached is not to be found among those of the host.
macro_rules! attach {
    ($loaded:expr, $kind:ty, $program:expr, $types:expr) => {{
        let loaded: &mut $kind = $loaded.try_into()?;
        loaded.load($program.target, $types)?;
        let attached = loaded.attach().map(drop);
        if attached.is_err() {
            let _ = loaded.unload();
        }
        attached
    }};
}

fn at_kernel(loaded: &mut Loaded, types: &Btf, program: &Program) -> Result<(), ProgramError> {
    match program.point {
        Point::Tracepoint => attach!(loaded, BtfTracePoint, program, types),
        Point::Lsm => attach!(loaded, Lsm, program, types),
        Point::Exit => attach!(loaded, FExit, program, types),
        Point::Entry | Point::CgroupSockAddr | Point::CgroupEgress | Point::CgroupIngress => {
            attach!(loaded, FEntry, program, types)
        }
    }
}

/// An LSM program runs only where BPF is among the active modules; a kernel without it loads and attaches it all the same.
fn lsm_active() -> Result<(), String> {
    let list =
        fs::read_to_string("/sys/kernel/security/lsm").map_err(|error| format!("/sys/kernel/security/lsm: {error}"))?;
    if list.trim().split(',').any(|module| module == "bpf") {
        Ok(())
    } else {
        Err(format!("bpf is not among the active security modules ({})", list.trim()))
    }
}
