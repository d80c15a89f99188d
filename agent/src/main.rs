//! `testimony`: the node agent and its command line.
#![deny(unsafe_code)]

mod cli;
mod content;
mod decode;
mod evidence;
mod probe;
mod run;
mod session;
mod sign;

fn main() -> std::process::ExitCode {
    cli::main()
}
