//! `testimony`: the node agent and its command line.
#![deny(unsafe_code)]

mod artifact;
mod canary;
mod cgroup;
mod chain;
mod cli;
mod container;
mod content;
mod control;
mod daemon;
mod decode;
mod doctor;
mod enrol;
mod evidence;
mod explain;
mod glob;
mod identity;
mod keygen;
mod keyless;
mod pack;
mod platform;
mod probe;
mod recover;
mod redact;
mod run;
mod seal;
mod session;
mod sessions;
mod ship;
mod show;
mod sign;
mod spooled;
mod stamp;
mod submission;
mod timestamp;
mod tpm;
mod waiting;
mod watch;

fn main() -> std::process::ExitCode {
    cli::main()
}
