//! Statement and evidence of a session, as pieces on a stream.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use futures_util::Stream;
use node_api::Piece;
use tonic::Status;

use crate::watch::Outcome;

/// Bytes of a piece.
const PIECE_BYTES: usize = 256 << 10;
/// What the statement is called among them.
pub(super) const STATEMENT: &str = "statement";

/// The files one after the other, each in its order. Read as they are taken, so that a reader who is slow costs one piece.
pub(super) fn pieces(outcome: &Outcome) -> impl Stream<Item = Result<Piece, Status>> + use<> {
    let start = files(outcome).map(|files| Reading { files: files.into_iter(), open: None });
    futures_util::stream::unfold(Some(start), |reading| async {
        let mut reading = match reading? {
            Ok(reading) => reading,
            Err(error) => return Some((Err(failed(&error)), None)),
        };
        let read = tokio::task::spawn_blocking(move || (reading.next(), reading)).await;
        match read {
            Ok((Ok(Some(piece)), reading)) => Some((Ok(piece), Some(Ok(reading)))),
            Ok((Ok(None), _)) => None,
            Ok((Err(error), _)) => Some((Err(failed(&error)), None)),
            Err(error) => Some((Err(Status::internal(error.to_string())), None)),
        }
    })
}

fn failed(error: &io::Error) -> Status {
    Status::internal(format!("what the session left cannot be read: {error}"))
}

fn files(outcome: &Outcome) -> io::Result<Vec<(String, PathBuf)>> {
    let mut files = objects(&outcome.evidence)?;
    files.push((STATEMENT.to_owned(), outcome.statement.clone()));
    Ok(files)
}

/// The evidence's objects, by name; those are of hexadecimal digits.
fn objects(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    files.sort();
    Ok(files)
}

struct Reading {
    files: std::vec::IntoIter<(String, PathBuf)>,
    open: Option<(String, File)>,
}

impl Reading {
    fn next(&mut self) -> io::Result<Option<Piece>> {
        loop {
            if let Some((name, file)) = &mut self.open {
                let mut data = Vec::new();
                file.take(PIECE_BYTES as u64).read_to_end(&mut data)?;
                if !data.is_empty() {
                    return Ok(Some(Piece { name: name.clone(), data }));
                }
            }
            let Some((name, path)) = self.files.next() else { return Ok(None) };
            self.open = Some((name, File::open(path)?));
        }
    }
}
