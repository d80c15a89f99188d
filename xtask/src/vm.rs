//! `vm`: runs a command, or the end-to-end tests, in Debian's own kernels under software emulation.
//!
//! A guest is a kernel, an initramfs that loads what the disks need, a root file system on ext4 with real programs, and
//! a second disk with what this run carries: the work tree and the binaries built from it, at the paths they have here.
//! Both disks are snapshots: nothing a guest does outlives it.

pub(crate) mod archive;

mod guest;
mod initramfs;
mod kernel;
mod load;
mod root;
mod tpm;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{apt, command, place};
use guest::{Boot, Guest};
pub(crate) use kernel::KERNELS;
use kernel::Kernel;
use load::Load;

/// The oldest qemu that boots these kernels every time.
const QEMU_MAJOR_MIN: u32 = 10;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The kernel's version: 5.10, 6.1, 6.12, 6.18 or 7.3
    #[arg(default_value = "6.12")]
    kernel: String,
    /// Open a shell on the guest's console
    #[arg(long, conflicts_with = "command")]
    shell: bool,
    /// Further files and folders to take along, at the same path
    #[arg(long, value_name = "PATH")]
    carry: Vec<PathBuf>,
    /// How long the guest may run
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    timeout: u64,
    /// What to run in the guest instead of saying which kernel it is
    #[arg(last = true)]
    command: Vec<String>,
}

/// What ran in a guest and how it went.
pub(crate) struct Ran {
    /// The exit status of the command in the guest.
    pub(crate) status: i32,
    pub(crate) took: Duration,
}

/// Ends as the command in the guest ended.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut load = Load::default();
    load.work_tree()?;
    for path in &args.carry {
        load.path(&std::path::absolute(path)?)?;
    }
    let command = match args.command.as_slice() {
        [] => ["uname", "-r"].map(str::to_owned).to_vec(),
        command => command.to_vec(),
    };
    let boot = if args.shell { Boot::Shell } else { Boot::Command { command, environment: Vec::new() } };
    let ran =
        boot_guest(&args.kernel, &load, &boot, Duration::from_secs(args.timeout), &mut |line| println!("{line}"))?;
    eprintln!("kernel {}: {:.1} s", args.kernel, ran.took.as_secs_f64());
    match u8::try_from(ran.status) {
        Ok(status) => Ok(ExitCode::from(status)),
        Err(_) => bail!("the command in the guest ended with {}", ran.status),
    }
}

/// Runs a command in a guest with the work tree and `files` carried along; each line it prints goes to `print`.
pub(crate) fn run_command(
    kernel: &str,
    files: &[PathBuf],
    command: Vec<String>,
    environment: Vec<(String, String)>,
    limit: Duration,
    print: &mut dyn FnMut(&str),
) -> Result<Ran> {
    let mut load = Load::default();
    load.work_tree()?;
    for file in files {
        load.path(file)?;
    }
    boot_guest(kernel, &load, &Boot::Command { command, environment }, limit, print)
}

/// Installs and downloads all that guests need: the emulator, the kernels, the root file system.
pub(crate) fn ensure_all() -> Result<()> {
    ensure_programs()?;
    KERNELS.iter().try_for_each(|kernel| Kernel::named(kernel)?.ensure().map(drop))?;
    root::ensure().map(drop)
}

fn boot_guest(kernel: &str, load: &Load, boot: &Boot, limit: Duration, print: &mut dyn FnMut(&str)) -> Result<Ran> {
    let kernel = Kernel::named(kernel)?;
    ensure_programs()?;
    let files = kernel.ensure()?;
    let root = root::ensure()?;
    let work = work_folder(kernel.version)?;
    let disk = load.write_disk(&work, boot)?;
    let guest = Guest { kernel: &files, root: &root, disk: &disk, work: &work, name: kernel.version };
    let started = Instant::now();
    let ran = match boot {
        Boot::Shell => guest.shell().map(|()| 0),
        Boot::Command { .. } => guest.run(limit, print),
    };
    std::fs::remove_dir_all(&work)?;
    Ok(Ran { status: ran?, took: started.elapsed() })
}

/// A folder of this guest's own, in the name of this process; those of processes that were killed are removed.
fn work_folder(version: &str) -> Result<PathBuf> {
    let runs = place::vm().join("run");
    std::fs::create_dir_all(&runs)?;
    for entry in std::fs::read_dir(&runs)? {
        let entry = entry?;
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.split('-').next()).unwrap_or_default();
        if !Path::new("/proc").join(process).exists() {
            // Another guest may be at it too.
            match std::fs::remove_dir_all(entry.path()) {
                Err(fault) if fault.kind() != ErrorKind::NotFound => return Err(fault.into()),
                _ => {}
            }
        }
    }
    let work = runs.join(format!("{}-{version}", std::process::id()));
    std::fs::create_dir(&work).with_context(|| format!("{} cannot be made", work.display()))?;
    Ok(work)
}

/// The emulator and what makes disks and initramfs.
fn ensure_programs() -> Result<()> {
    apt::install("guests of the VM tests", &["busybox-static", "cpio", "e2fsprogs", "kmod", "mmdebstrap", "xz-utils"])?;
    apt::install("TPMs of the guests", &["swtpm", "swtpm-tools"])?;
    if qemu_major().is_some_and(|major| major >= QEMU_MAJOR_MIN) {
        return Ok(());
    }
    archive::install_qemu()?;
    match qemu_major() {
        Some(major) if major >= QEMU_MAJOR_MIN => Ok(()),
        _ => bail!("qemu-system-x86_64 {QEMU_MAJOR_MIN} or newer is needed: older ones crash with these kernels"),
    }
}

fn qemu_major() -> Option<u32> {
    let said = command::read(Command::new("qemu-system-x86_64").arg("--version")).ok()?;
    let version = said.split_whitespace().skip_while(|word| *word != "version").nth(1)?;
    version.split('.').next()?.parse().ok()
}
