//! Loading and attaching: privileges and kernel checked first, each refusal one sentence.

use std::{io, path::PathBuf, thread};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, Map, MapError, Queue, RingBuf},
    programs::ProgramError,
};

use super::{
    Probe, attach, btf, calls, hooks::Limits, object, recent::Lines, ring::Ring, shared::Seats, table::Tables,
};

/// Scratch buffers a CPU has; the programs' own constant.
const SCRATCH_PER_CPU: u32 = 3;
/// Oldest kernel that this is tested on.
const KERNEL_MIN: (u32, u32) = (6, 1);
/// First kernel in which a program at a tracepoint can be preempted, and is skipped for others meanwhile.
const PREEMPTIBLE: (u32, u32) = (7, 0);

/// Why the kernel side cannot watch.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not root, or capabilities were dropped.
    #[error(
        "tracing needs root, or the capabilities CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_SYS_ADMIN: run it with sudo"
    )]
    Privileges,
    /// The kernel is too old.
    #[error("this kernel is {0}: Testimony needs 6.1 or newer")]
    KernelTooOld(String),
    /// No type information.
    #[error(transparent)]
    Btf(#[from] btf::Error),
    /// No cgroup v2 hierarchy is mounted.
    #[error("no cgroup v2 hierarchy is mounted: mount one at /sys/fs/cgroup")]
    NoCgroup,
    /// The possible CPUs cannot be told.
    #[error("the number of possible CPUs cannot be read")]
    Cpus(#[source] io::Error),
    /// The kernel gave no random numbers.
    #[error("the kernel gave no random numbers")]
    Random(#[source] io::Error),
    /// The helper that reads kernel memory alone is missing, or it could not be found out whether it is there.
    #[error(
        "the kernel does not grant the helper bpf_probe_read_kernel: see whether /sys/kernel/security/lockdown forbids it"
    )]
    NoReader,
    /// The object was refused as a whole.
    #[error("the kernel refused the programs' maps")]
    Load(#[source] Box<aya::EbpfError>),
    /// A program that has no fallback was refused.
    #[error("the kernel refused the program {program}")]
    Program {
        /// Its name.
        program: &'static str,
        /// The kernel's answer.
        source: Box<ProgramError>,
    },
    /// A program that has no fallback cannot run here.
    #[error("the program {program} cannot be attached: {why}")]
    Refused {
        /// Its name.
        program: &'static str,
        /// Why.
        why: String,
    },
    /// The object file lacks a part.
    #[error("the built-in object file has no {0}")]
    Object(&'static str),
    /// A map could not be read or written.
    #[error("the kernel's map {map} could not be used")]
    Map {
        /// Its name.
        map: &'static str,
        /// The kernel's answer.
        source: MapError,
    },
    /// A map could not be mapped into memory.
    #[error("the kernel's map {map} could not be mapped into memory")]
    Memory {
        /// Its name.
        map: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Waiting for the ring failed.
    #[error("waiting for the kernel's ring failed")]
    Ring(#[source] io::Error),
    /// The grace period could not be awaited.
    #[error("the kernel gives no grace period")]
    Grace(#[source] io::Error),
}

impl Error {
    pub(super) fn map(map: &'static str) -> impl Fn(MapError) -> Self {
        move |source| Self::Map { map, source }
    }
}

pub(super) fn start(limits: &Limits) -> Result<Probe, Error> {
    let kernel = check_kernel()?;
    check_privileges()?;
    // aya would put a helper in its place that reads whatever an address belongs to, kernel or program: with that, a traced
    // program could have any kernel memory written into the evidence.
    if !aya::features().bpf_probe_read_kernel() {
        return Err(Error::NoReader);
    }
    let cpus = possible_cpus()?;
    let (mut ebpf, named) = load(limits, cpus)?;
    let outcome = attach::all(&mut ebpf, named, limits, kernel >= PREEMPTIBLE)?;
    fill(&mut ebpf, &calls::table(&outcome.calls_of, outcome.renames_by_sys_exit))?;
    let ring = Ring(RingBuf::try_from(take(&mut ebpf, "RING")?).map_err(Error::map("RING"))?);
    let tables = tables(&mut ebpf, cpus)?;
    Ok(Probe { ebpf, ring, tables, hooks: outcome.rows, object_sha256: object::sha256() })
}

/// Its version.
fn check_kernel() -> Result<(u32, u32), Error> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < KERNEL_MIN { Err(Error::KernelTooOld(release.into_owned())) } else { Ok(version) }
}

fn check_privileges() -> Result<(), Error> {
    if may_load() { Ok(()) } else { Err(Error::Privileges) }
}

/// Whether this process has the rights that it takes.
pub fn may_load() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    let needed = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN;
    capabilities(None).is_ok_and(|held| held.effective.contains(needed))
}

fn possible_cpus() -> Result<u32, Error> {
    let cpus = aya::util::nr_cpus().map_err(|(_, source)| Error::Cpus(source))?;
    u32::try_from(cpus).map_err(|_| Error::Cpus(io::ErrorKind::InvalidData.into()))
}

/// What is needed of the running kernel's types.
struct Known {
    offsets: Vec<u32>,
    windows: agent_ebpf::Windows,
    /// The number of the kernel function that programs call, if it has it.
    cast: Option<u32>,
    named: attach::Types,
}

impl Known {
    fn running() -> Result<Self, Error> {
        let types = btf::Btf::running()?;
        let offsets =
            agent_ebpf::Offsets::PATHS.iter().map(|path| types.offset(path)).collect::<Result<Vec<_>, _>>()?;
        let windows = agent_ebpf::Offsets::from_slice(&offsets).map(|offsets| agent_ebpf::Windows::of(&offsets));
        let mut windows = windows.ok_or(Error::Object("structure of that many offsets"))?;
        let named = attach::Types::of(&types)?;
        let cast = named.called(agent_ebpf::CAST_FUNCTION).zip(types.structure(agent_ebpf::CAST_STRUCT));
        windows.words = cast.map_or(0, |(_, structure)| structure);
        Ok(Self { offsets, windows, cast: cast.map(|(function, _)| function), named })
    }
}

fn load(limits: &Limits, cpus: u32) -> Result<(Ebpf, attach::Types), Error> {
    // Whatever it is asked for, aya's loader begins with a parse of all the kernel's types, which is much of what a start
    // costs: meanwhile what is needed of them is looked up.
    let (known, loader) = thread::scope(|scope| {
        let loader = scope.spawn(EbpfLoader::new);
        (Known::running(), loader.join())
    });
    let Known { offsets, windows, cast, named } = known?;
    let windows = [windows.file, windows.inode, windows.dentry, windows.words];
    let place_keys = place_keys()?;
    let wake_bytes = u64::from(limits.ring_bytes / 8);
    let rows = limits.slots * 2 * cpus * u32::from(agent_ebpf::hook::COUNT);
    let mut loader = loader.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let ebpf = loader
        // Nothing in the object is relocated by the kernel's types.
        .btf(None)
        .override_global("OFFSETS", offsets.as_slice(), true)
        .override_global("WINDOWS", windows.as_slice(), true)
        .override_global("PLACE_KEYS", place_keys.as_slice(), true)
        .override_global("CPUS", &cpus, true)
        .override_global("RING_WAKE_BYTES", &wake_bytes, true)
        .map_max_entries("RING", limits.ring_bytes)
        .map_max_entries("SESSIONS", limits.slots)
        .map_max_entries("ACCOUNTS", rows)
        .map_max_entries("FOLD", limits.folds)
        .map_max_entries("FILES", limits.folds)
        .map_max_entries("WATCH", limits.folds)
        .map_max_entries("TASKS", limits.members)
        .map_max_entries("THREADS", limits.members)
        .map_max_entries("FREE_SLOTS", limits.slots)
        .map_max_entries("SCRATCH", cpus * SCRATCH_PER_CPU)
        .load(object::Linked::with(cast).bytes())
        .map_err(|source| Error::Load(Box::new(source)))?;
    Ok((ebpf, named))
}

/// Odd numbers that nobody else knows.
fn place_keys() -> Result<[u64; agent_ebpf::PLACE_FACTORS], Error> {
    let mut bytes = [0; agent_ebpf::PLACE_FACTORS * 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::Random(errno.into()))?;
    let mut keys = [0; agent_ebpf::PLACE_FACTORS];
    for (key, bytes) in keys.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *key = u64::from_ne_bytes(*bytes) | 1;
    }
    Ok(keys)
}

/// Where the cgroup v2 hierarchy is mounted, also on a hybrid host.
pub fn cgroup_root() -> Result<PathBuf, Error> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(|_| Error::NoCgroup)?;
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 ")).ok_or(Error::NoCgroup)?;
    line.split(' ').nth(4).map(PathBuf::from).ok_or(Error::NoCgroup)
}

/// Tells the end of system calls what to look at.
fn fill(ebpf: &mut Ebpf, calls: &[u64]) -> Result<(), Error> {
    let mut table: Array<_, u64> = Array::try_from(take(ebpf, "CALLS")?).map_err(Error::map("CALLS"))?;
    for (number, call) in (0..).zip(calls).filter(|(_, call)| **call != 0) {
        table.set(number, call, 0).map_err(Error::map("CALLS"))?;
    }
    Ok(())
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, Error> {
    ebpf.take_map(name).ok_or(Error::Object(name))
}

fn tables(ebpf: &mut Ebpf, cpus: u32) -> Result<Tables, Error> {
    Ok(Tables {
        cpus,
        sessions: Array::try_from(take(ebpf, "SESSIONS")?).map_err(Error::map("SESSIONS"))?,
        accounts: Array::try_from(take(ebpf, "ACCOUNTS")?).map_err(Error::map("ACCOUNTS"))?,
        tasks: HashMap::try_from(take(ebpf, "TASKS")?).map_err(Error::map("TASKS"))?,
        seats: Seats::map(&take(ebpf, "SEATS")?)?,
        fold: HashMap::try_from(take(ebpf, "FOLD")?).map_err(Error::map("FOLD"))?,
        recent: Lines::map(&take(ebpf, "RECENT")?)?,
        files: HashMap::try_from(take(ebpf, "FILES")?).map_err(Error::map("FILES"))?,
        cgroups: HashMap::try_from(take(ebpf, "CGROUPS")?).map_err(Error::map("CGROUPS"))?,
        prefixes: HashMap::try_from(take(ebpf, "PREFIXES")?).map_err(Error::map("PREFIXES"))?,
        free_slots: Queue::try_from(take(ebpf, "FREE_SLOTS")?).map_err(Error::map("FREE_SLOTS"))?,
        counters: Array::try_from(take(ebpf, "COUNTERS")?).map_err(Error::map("COUNTERS"))?,
    })
}
