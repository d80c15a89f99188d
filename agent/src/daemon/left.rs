//! What an agent that died left unsigned, as a task of the next one: signed as far as it was written, as incomplete, and delivered.

use std::{
    convert::Infallible,
    fs,
    future::pending,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use attestation::escape::escape;

use super::{Counts, Settings};
use crate::{
    artifact::Artifact,
    evidence::RESERVE,
    recover::{self, Error},
};

/// Between two tries while nobody can sign.
const AGAIN_EVERY: Duration = Duration::from_secs(30);

/// Evidence without a statement. To be asked before a session is opened in this folder: what begins later is not left.
pub(super) fn find(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| folder.display().to_string())?,
    };
    let mut left = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        let is_evidence = path.extension().is_some_and(|end| end == "evidence") && path.is_dir();
        if is_evidence && Artifact::of(&path).statement().symlink_metadata().is_err() {
            left.push(path);
        }
    }
    left.sort();
    Ok(left)
}

/// Signs them, and does not end by itself.
///
/// # Errors
/// If a thread failed.
pub(super) async fn recover(
    settings: Settings,
    mut left: Vec<PathBuf>,
    counts: Arc<Counts>,
) -> anyhow::Result<Infallible> {
    let mut told = None;
    while !left.is_empty() {
        let (settings, counts) = (settings.clone(), Arc::clone(&counts));
        let turn = tokio::task::spawn_blocking(move || {
            let says = turn(&settings, &mut left, &counts);
            (left, says)
        });
        let (rest, says) = turn.await.context("recovering what was left ended")?;
        left = rest;
        if says.is_some() && says != told {
            told = says;
            eprintln!("testimony: {}", escape(told.as_deref().unwrap_or_default().as_bytes()));
        }
        if !left.is_empty() {
            tokio::time::sleep(AGAIN_EVERY).await;
        }
    }
    pending().await
}

/// Goes through them in order; what has to wait for somebody who can sign stays, and why is returned.
fn turn(settings: &Settings, left: &mut Vec<PathBuf>, counts: &Counts) -> Option<String> {
    let mut waits = None;
    left.retain(|evidence| {
        let path = evidence.display();
        let says = match recover::left_by_agent(settings, evidence) {
            Ok(statement) => {
                counts.recovered();
                format!(
                    "an agent that died left {path}: what stood there is signed as INCOMPLETE, {}",
                    statement.display()
                )
            }
            // It is somebody's already.
            Err(Error::Signed(_) | Error::Waits { .. } | Error::SignedMeanwhile(_)) => return false,
            Err(Error::Empty(_)) => match remove(evidence) {
                Ok(true) => format!("an agent that died left {path}, which held nothing and is removed"),
                Ok(false) => format!("an agent that died left {path}, which holds no session: it stays"),
                Err(error) => format!("an agent that died left {path}, which cannot be removed: {error}"),
            },
            Err(error @ Error::Key(_)) => {
                counts.signing_failed();
                waits =
                    Some(format!("what an agent that died left waits to be signed: {}", crate::sign::chain_of(&error)));
                return true;
            }
            Err(error) => format!("what an agent that died left is not signed: {}", crate::sign::chain_of(&error)),
        };
        eprintln!("testimony: {}", escape(says.as_bytes()));
        false
    });
    waits
}

/// Removes evidence of which nothing was written, and the name that was claimed for its statement; returns whether it did.
fn remove(evidence: &Path) -> std::io::Result<bool> {
    for entry in fs::read_dir(evidence)? {
        let entry = entry?;
        if entry.file_name() != RESERVE && entry.metadata()?.len() > 0 {
            return Ok(false);
        }
    }
    match fs::remove_file(Artifact::of(evidence).unfinished()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::remove_dir_all(evidence).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path) -> Settings {
        let [key, spool] = ["key", "spool"].map(|name| folder.join(name));
        let signers = format!("[sign]\nsigners = ['key:{}']\n", key.display());
        config::parse("agent.toml", &format!("{signers}[spool]\nfolder = {spool:?}\n[control]\n")).unwrap()
    }

    #[test]
    fn only_evidence_without_a_statement_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(find(&at("missing")).unwrap(), Vec::<PathBuf>::new());
        for name in ["b.evidence", "a.evidence", "signed.evidence", "folder"] {
            fs::create_dir(at(name)).unwrap();
        }
        for name in ["signed.intoto.jsonl", "a.intoto.jsonl.part", "file.evidence"] {
            fs::write(at(name), "").unwrap();
        }
        assert_eq!(find(folder.path()).unwrap(), [at("a.evidence"), at("b.evidence")]);
    }

    #[test]
    fn what_held_no_session_is_removed_and_what_cannot_be_read_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let settings = settings(folder.path());
        for name in ["empty.evidence", "damaged.evidence"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("empty.evidence").join(RESERVE), "room").unwrap();
        fs::write(at("empty.evidence/open-0"), "").unwrap();
        fs::write(at("empty.intoto.jsonl.part"), "").unwrap();
        fs::write(at("damaged.evidence/open-0"), "this is no segment of any log").unwrap();
        let mut left = find(folder.path()).unwrap();
        assert_eq!(left.len(), 2);
        assert_eq!(turn(&settings, &mut left, &Counts::new()), None);
        assert!(left.is_empty());
        assert!(!at("empty.evidence").exists() && !at("empty.intoto.jsonl.part").exists());
        assert!(at("damaged.evidence/open-0").exists());
    }

    #[test]
    fn what_nobody_can_sign_stays_for_the_next_turn() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let settings = settings(folder.path());
        // A key that others may read is no key.
        fs::write(at("key"), "key").unwrap();
        fs::create_dir(at("a.evidence")).unwrap();
        for (sha256, object) in attestation::synthetic::Session::build().write(1000).unwrap().1 {
            fs::write(at("a.evidence").join(attestation::hex::encode(&sha256)), object).unwrap();
        }
        let mut left = find(folder.path()).unwrap();
        assert!(turn(&settings, &mut left, &Counts::new()).is_some_and(|says| says.contains("waits to be signed")));
        assert_eq!(left, [at("a.evidence")]);
        fs::remove_file(at("key")).unwrap();
        assert_eq!(turn(&settings, &mut left, &Counts::new()), None);
        assert!(left.is_empty() && at("a.intoto.jsonl").exists());
    }
}
