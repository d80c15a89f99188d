//! Support of the end-to-end tests: where the programs under test are, a session run and read back, programs to trace.
//!
//! The tests are the product's users: they start the binary, and read statement and log through the public crates. The
//! same test binaries run on this machine and in guests with other kernels, so nothing here knows a kernel's facts.

pub mod bystander;
pub mod collector;
pub mod flood;
mod network;
mod place;
mod program;
mod record;
mod run;
mod seen;
mod shown;
mod sigstore;
mod spire;
mod swtpm;
mod timestamp_authority;
mod tpm_helper;
mod unit;
mod verdict;
mod volume;
pub mod work;
pub mod workload_api;

pub use bystander::Bystander;
pub use network::Network;
pub use place::{Scratch, binary, kernel, need, need_root, root, target, tool, tpm_helper, verifier};
pub use program::{PYTHON, calls, compat, compile, python};
pub use record::Record;
pub use run::{Alone, Ran, Run, Started, WEAKEST, left_out};
pub use seen::{Named, Opened, Peer};
pub use shown::held;
pub use sigstore::{ISSUER, Sigstore};
pub use spire::Spire;
pub use swtpm::{Maker, Swtpm};
pub use timestamp_authority::TimestampAuthority;
pub use tpm_helper::TpmHelper;
pub use unit::Unit;
pub use verdict::{Found, check, ended, proven, refused};
pub use volume::Volume;
