//! The command's start and end: a copy of this program stops itself until it is followed, takes the user's identity, and
//! becomes the command.

use std::{
    ffi::OsString,
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command},
};

use anyhow::Context;
use rustix::{
    process::{
        Pid, Signal, WaitId, WaitIdOptions, getpid, getppid, kill_process, set_parent_process_death_signal, waitid,
    },
    thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use super::{owner::Owner, signals::Signals};

/// The hidden subcommand's arguments.
#[derive(Debug, clap::Args)]
pub struct Launch {
    /// User to become
    #[arg(long)]
    uid: Option<u32>,
    /// Group to become
    #[arg(long)]
    gid: Option<u32>,
    /// Supplementary groups
    #[arg(long, value_delimiter = ',')]
    groups: Vec<u32>,
    /// Process that must still be the parent
    #[arg(long)]
    parent: i32,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Becomes the command; returns only the exit status of a failure: 126 not executable, 127 not found, as a shell.
pub fn launch(args: &Launch) -> u8 {
    let Some((program, rest)) = args.command.split_first() else { return 127 };
    if let Err(error) = prepare(args) {
        eprintln!("testimony: the command could not be set up: {error}");
        return 126;
    }
    let error = Command::new(program).args(rest).exec();
    eprintln!("testimony: {}: {error}", program.to_string_lossy());
    if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
}

fn prepare(args: &Launch) -> io::Result<()> {
    // Should the tracer die before the command is followed, nothing stays behind, stopped for ever.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().map(Pid::as_raw_pid) != Some(args.parent) {
        return Err(io::Error::other("the tracer is gone"));
    }
    kill_process(getpid(), Signal::STOP)?;
    set_parent_process_death_signal(None)?;
    if let (Some(uid), Some(gid)) = (args.uid, args.gid) {
        let groups: Vec<Gid> = args.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
    }
    Ok(())
}

/// Starts the copy and waits until it has stopped itself.
pub(super) fn spawn(command: &[OsString], owner: &Owner) -> anyhow::Result<Child> {
    let this = std::env::current_exe().context("the path of this program cannot be told")?;
    let mut launcher = Command::new(this);
    launcher.arg("launch").arg("--parent").arg(std::process::id().to_string());
    if let Owner::Invoker { uid, gid, groups, .. } = owner {
        let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
        launcher.arg("--uid").arg(uid.to_string()).arg("--gid").arg(gid.to_string());
        launcher.arg("--groups").arg(groups.join(","));
    }
    let child = launcher.arg("--").args(command).spawn().context("the command's process cannot be made")?;
    let status =
        waitid(WaitId::Pid(pid(&child)), WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            .context("the command's process cannot be waited for")?;
    anyhow::ensure!(
        status.is_some_and(|status| status.stopped()),
        "the command's process ended before it was followed"
    );
    Ok(child)
}

/// Ends the copy, which never became the command.
pub(super) fn give_up(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Lets the copy go on and become the command.
pub(super) fn go(child: &Child) -> io::Result<()> {
    Ok(kill_process(pid(child), Signal::CONT)?)
}

/// Whether the command has ended; its status stays to be collected.
pub(super) fn ended(child: &Child) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::Pid(pid(child)), options), Ok(Some(_)) | Err(_))
}

/// Waits for the command's end, handing signals on.
pub(super) fn wait(child: &Child, signals: &Signals) {
    while !ended(child) {
        signals.forward(child);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// The command's exit status as a shell gives it: 128 and the signal's number for a signal.
pub(super) fn exit_status(child: &mut Child) -> u8 {
    match child.wait() {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => u8::try_from(code).unwrap_or(u8::MAX),
            (None, Some(signal)) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
            (None, None) => u8::MAX,
        },
        Err(_) => u8::MAX,
    }
}

/// The process id of a child.
pub(super) fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}
