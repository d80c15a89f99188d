//! What the local API says of sessions.

use futures_util::Stream;
use node_api::{CloseSessionResponse, Gap, Line, Session};
use tokio::sync::mpsc::Receiver;
use tonic::Status;

use crate::watch::{Finished, Seen};

pub(super) fn session(seen: &Seen) -> Session {
    let about = &seen.about;
    Session {
        session_id: about.id.to_vec(),
        kind: about.kind.to_owned(),
        name: about.name.clone(),
        uid: about.uid,
        opened_s: about.opened_s,
        state: seen.state.as_str().to_owned(),
        events: seen.events,
        lost: 0,
        living: seen.living,
        cgroup: about.cgroup.clone(),
        image: about.image.clone(),
        statement: seen.statement.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        says: seen.says.clone(),
        window: 0,
    }
}

/// The end of a session. Details of gaps are of what it saw: with `whole` they are told.
///
/// # Errors
/// Why there is no statement.
pub(super) fn closed(finished: &Finished, whole: bool) -> Result<CloseSessionResponse, Status> {
    let outcome = finished.outcome.as_ref().map_err(|why| Status::failed_precondition(why.clone()))?;
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let gap = |(code, detail): &(String, String)| Gap {
        code: code.clone(),
        detail: if whole { detail.clone() } else { String::new() },
    };
    Ok(CloseSessionResponse {
        payload_sha256: outcome.payload_sha256.to_vec(),
        complete: outcome.complete,
        lossless: outcome.lossless,
        coverage_level: outcome.level.clone(),
        processes: count(outcome.processes),
        files: count(outcome.files),
        contacts: count(outcome.contacts),
        gaps: outcome.gaps.iter().map(gap).collect(),
        spooled: outcome.spooled.unwrap_or_default(),
        says: outcome.says.clone(),
        classes: outcome.classes.to_vec(),
        root_status: finished.root_status,
    })
}

/// Lines of a session, until it is over.
pub(super) fn lines(lines: Receiver<Line>) -> impl Stream<Item = Result<Line, Status>> {
    futures_util::stream::unfold(lines, |mut lines| async { lines.recv().await.map(|line| (Ok(line), lines)) })
}
