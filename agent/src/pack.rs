//! `testimony pack`: all that a verifier needs of a run in one file; what it has to trust stays outside.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use attestation::{
    dsse::{self, EnvelopeError},
    escape::escape,
    hex,
    merkle::Hash,
    receipt::{RECEIPT_BYTES_MAX, Receipt, ReceiptError},
    statement::{self, ReadError},
};
use testimony_verify::{
    files::open_regular,
    pack::{self, Parts},
    platform::BESIDE,
};

use crate::artifact::Artifact;

/// What to pack.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The pack; it may not be there [default: NAME.pack.tar]
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Receipt of a log (C2SP tlog-proof) to take along; repeatable
    #[arg(long = "receipt", value_name = "FILE")]
    receipts: Vec<PathBuf>,
    /// NAME of a run, or its statement
    #[arg(value_name = "NAME")]
    name: PathBuf,
}

/// Why there is no pack.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file.
    #[error("{path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The statement is no envelope.
    #[error("{path}")]
    Envelope {
        /// Which.
        path: PathBuf,
        /// Why.
        source: EnvelopeError,
    },
    /// The envelope has no statement.
    #[error("{path}")]
    Statement {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// A receipt.
    #[error("{path}")]
    Receipt {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ReceiptError,
    },
}

impl Error {
    /// The exit status: 2 for what is not understood, else 1.
    pub(crate) fn status(&self) -> u8 {
        if matches!(self, Self::Io { .. }) { 1 } else { 2 }
    }
}

/// Packs, and says where. Nothing is verified: that is for whoever opens it.
pub(crate) fn run(args: &Args) -> Result<u8, Error> {
    let artifact = Artifact::of(&args.name);
    let statement = artifact.statement();
    let evidence = segments(&statement)?
        .into_iter()
        .map(|digest| {
            let path = artifact.evidence().join(hex::encode(&digest));
            open_regular(&path).map(|file| (digest, file)).map_err(|source| Error::Io { path, source })
        })
        .collect::<Result<Vec<(Hash, File)>, Error>>()?;
    let receipts = args.receipts.iter().map(|path| receipt(path)).collect::<Result<Vec<_>, _>>()?;
    let beside = beside(&artifact)?;
    let output = args.output.clone().unwrap_or_else(|| artifact.pack());
    let failed = |source| Error::Io { path: output.clone(), source };
    // It has what the statement has: for its owner alone.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&output).map_err(failed)?;
    let parts = Parts { statement: &statement, evidence: &evidence, beside: &beside, receipts: &receipts };
    let written = pack::write(io::BufWriter::new(&file), &parts).and_then(|()| file.sync_all());
    if let Err(source) = written {
        let _ = fs::remove_file(&output);
        return Err(failed(source));
    }
    let name = escape(output.as_os_str().as_encoded_bytes()).into_owned();
    let quote = if beside.iter().any(Option::is_some) { ", what its machine says" } else { "" };
    println!("{name}: the statement{quote}, {} segments of its evidence, {} receipts", evidence.len(), receipts.len());
    Ok(0)
}

/// The segments that a statement names.
fn segments(path: &Path) -> Result<Vec<Hash>, Error> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let file = open_regular(path).map_err(failed)?;
    let envelope = dsse::read(file).map_err(|source| Error::Envelope { path: path.to_owned(), source })?;
    let claims = statement::read(&envelope.into_unverified());
    let claims = claims.map_err(|source| Error::Statement { path: path.to_owned(), source })?;
    Ok(claims.log.segments.iter().map(|segment| segment.sha256).collect())
}

/// What stands beside the statement: the quote of a TPM, and logs of its boot.
fn beside(artifact: &Artifact) -> Result<[Option<File>; BESIDE.len()], Error> {
    let mut files = [const { None }; BESIDE.len()];
    for (slot, (suffix, _)) in files.iter_mut().zip(BESIDE) {
        let path = artifact.beside(suffix);
        *slot = match open_regular(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened.map_err(|source| Error::Io { path, source })?),
        };
    }
    Ok(files)
}

fn receipt(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = open_regular(path).map_err(failed)?;
    file.take(RECEIPT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Receipt::read(&bytes).map_err(|source| Error::Receipt { path: path.to_owned(), source })?;
    Ok(bytes)
}
