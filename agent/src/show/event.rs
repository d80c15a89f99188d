//! One frame of the evidence log: what it says, or the proof that it stands there.

use std::io::{self, Write as _};

use attestation::{
    evidence::{Limits, describe},
    verify::prove,
};

use super::{Args, Error, source};

/// Prints the frame at `leaf`, or its proof as a line of JSON.
pub(super) fn show(args: &Args, leaf: u64) -> Result<u8, Error> {
    let (head, evidence) = source::head(&args.file, &args.keys)?;
    let proven = prove(&evidence, &head, leaf, Limits::default());
    let (proof, frame) = proven.map_err(|source| Error::Frame { leaf, source })?;
    let line = if args.proof {
        proof.to_json().map_err(io::Error::from)?
    } else {
        format!("frame {leaf} of {}: {}", head.tree_size, describe(&frame))
    };
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        written => Ok(written.map(|()| 0)?),
    }
}
