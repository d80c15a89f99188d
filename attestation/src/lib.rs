//! Statements, evidence logs and their verification: pure, over bytes and the readers and writers that are passed in.
//!
//! The rooms, in the order of the flow: [`evidence`] writes and reads the log over the tree of [`merkle`]; [`trace`]
//! folds its frames into facts and recomputes what was lost; [`statement`] writes them as an in-toto statement, [`dsse`]
//! signs it, [`identity`] says who a signature's certificates name, [`platform`] on which machine it was made, [`verify`] checks all of it again. [`codes`] has every gap, blind spot, reason and refusal.
//!
//! There is no file, socket, clock or eBPF in here, and there must never be.
#![forbid(unsafe_code)]

pub mod codes;
pub mod dsse;
pub mod escape;
pub mod evidence;
pub mod hex;
pub mod identity;
mod json;
pub mod merkle;
pub mod platform;
pub mod proof;
pub mod receipt;
pub mod statement;
#[cfg(any(test, feature = "test-support"))]
pub mod synthetic;
mod text;
pub mod time;
pub mod timestamp;
pub mod tpm;
pub mod trace;
pub mod verify;
pub mod x509;
