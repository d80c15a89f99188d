//! `testimony-tpm`: asks the TPM what the agent asks for, and is the only program here that links the TPM's library
//! (libtss2).
//!
//! It reads questions on its standard input and answers on its standard output (`tpm_protocol`). It stands alone since
//! the library is C, is not everywhere, and may hang with its device: whoever started it can end it. For each question
//! it opens the device and closes it again, so that it holds no session and no key of the TPM's few while nobody asks,
//! and a TPM that comes back is found.
#![forbid(unsafe_code)]

mod ask;
mod device;
mod fault;
mod keys;
mod pcrs;
mod serve;
mod state;

use clap::Parser;
use device::Device;
use state::State;
use std::path::PathBuf;
use std::process::ExitCode;

/// Asks the TPM. Questions on standard input, answers on standard output, a JSON object a line.
#[derive(Parser)]
#[command(name = "testimony-tpm", version)]
struct Args {
    /// How the TPM is reached, as its library names it
    #[arg(long, default_value = "device:/dev/tpmrm0", value_name = "TCTI")]
    tcti: String,
    /// The folder that keeps the keys' blobs, which only this TPM can use
    #[arg(long, default_value = "/var/lib/testimony/tpm", value_name = "FOLDER")]
    state: PathBuf,
    /// The only register that may be extended; without it none may be
    #[arg(long, value_name = "PCR", value_parser = clap::value_parser!(u8).range(11..=15))]
    seal_pcr: Option<u8>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let helper =
        serve::Helper { device: Device::new(&args.tcti), state: State::new(args.state), seal_pcr: args.seal_pcr };
    match serve::run(&helper, std::io::stdin().lock(), std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("testimony-tpm: standard input or output failed: {error}");
            ExitCode::FAILURE
        }
    }
}
