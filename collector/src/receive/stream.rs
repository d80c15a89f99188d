//! One stream of statements, from its first to its end.

use std::{sync::Arc, time::Duration};

use collector_api::{Answer, Submission};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::{
    sync::mpsc::{self, OwnedPermit},
    task::{JoinHandle, spawn},
    time::{Instant, sleep_until, timeout},
};
use tonic::{Status, Streaming};

use super::{Caller, Judged, Receiver, Verified};
use crate::{
    intake::{Room, Rooms},
    peers::Place,
};

/// Statements of one stream that are verified at once, and answers that wait to be read.
const VERIFIED_AT_ONCE: usize = 4;
const ANSWERS_MAX: usize = 64;
/// How long answers may wait, when there are so many, before the stream is given up.
const UNREAD_MAX: Duration = Duration::from_secs(60);
/// What reads a message keeps memory of that size until its stream ends: a stream that had one as large as this takes no more, and the
/// node begins another.
const LARGE_BYTES: usize = 1 << 20;
/// How long a stream takes statements: nodes that came at one time do not all come again at one.
const AGE: [Duration; 2] = [Duration::from_secs(30 * 60), Duration::from_secs(50 * 60)];

type Answered = Result<(u64, Judged), Status>;

/// Answers to what comes, in its order. They end when nothing more is taken, and all that was taken is answered.
pub(super) fn answers(
    receiver: Receiver,
    caller: Caller,
    place: Place,
    submissions: Streaming<Submission>,
    rooms: Arc<Rooms>,
) -> impl Stream<Item = Result<Answer, Status>> + Send {
    let (give, take) = mpsc::channel(ANSWERS_MAX);
    let until = Instant::now() + age(chance());
    let reading = Reading { receiver: receiver.clone(), caller, submissions, rooms, give, until };
    spawn(reading.run(place));
    stream::unfold((take, receiver), |(mut take, receiver)| async move {
        let answer = match take.recv().await? {
            Ok((number, judged)) => Ok(Answer { number, outcome: Some(receiver.outcome(judged).await) }),
            Err(status) => Err(status),
        };
        Some((answer, (take, receiver)))
    })
}

/// Between the two.
fn age(chance: f64) -> Duration {
    AGE[0] + (AGE[1] - AGE[0]).mul_f64(chance)
}

/// Between 0 and 1.
fn chance() -> f64 {
    let mut byte = [0];
    let _ = rustix::rand::getrandom(&mut byte, rustix::rand::GetRandomFlags::empty());
    f64::from(byte[0]) / 255.0
}

struct Reading {
    receiver: Receiver,
    caller: Caller,
    submissions: Streaming<Submission>,
    rooms: Arc<Rooms>,
    give: mpsc::Sender<Answered>,
    until: Instant,
}

/// A statement that is looked at, and the place of its answer.
struct Begun {
    number: u64,
    answer: OwnedPermit<Answered>,
    verified: JoinHandle<Verified>,
}

impl Reading {
    /// Reads until the stream ends, or nobody reads its answers.
    async fn run(self, _place: Place) {
        let (receiver, give) = (self.receiver.clone(), self.give.clone());
        let begun = stream::unfold(Some(self), |this| async {
            let mut this = this?;
            let begun = this.next().await?;
            let goes_on = begun.as_ref().is_ok_and(|(_, bytes)| *bytes < LARGE_BYTES);
            Some((begun.map(|(begun, _)| begun), goes_on.then_some(this)))
        });
        let verified = begun.map(|begun| async {
            let Begun { number, answer, verified } = begun?;
            let verified = verified.await.unwrap_or_else(|error| Err(error.to_string()));
            Ok((number, answer, verified))
        });
        let mut verified = std::pin::pin!(verified.buffered(VERIFIED_AT_ONCE));
        loop {
            // A node that is gone is not read any further.
            let next = tokio::select! {
                () = give.closed() => return,
                next = verified.next() => next,
            };
            match next {
                Some(Ok((number, answer, verified))) => {
                    let judged = receiver.hand_over(verified).await;
                    answer.send(Ok((number, judged)));
                }
                Some(Err(status)) => return drop(give.send(Err(status)).await),
                None => return,
            }
        }
    }

    /// The next statement, and how large it is. What will be its answer has its place before it is read.
    async fn next(&mut self) -> Option<Result<(Begun, usize), Status>> {
        let answer = match timeout(UNREAD_MAX, self.give.clone().reserve_owned()).await {
            Ok(reserved) => reserved.ok()?,
            // There is no room to say so either.
            Err(_) => return None,
        };
        let submission = tokio::select! {
            () = sleep_until(self.until) => return None,
            submission = self.submissions.message() => submission,
        };
        let submission = match submission {
            Ok(submission) => submission?,
            Err(status) => return Some(Err(status)),
        };
        let room = self.rooms.next();
        let (number, bytes) = (submission.number, room.as_ref().map_or(0, |room: &Room| room.bytes));
        // A task of its own: whether its node reads answers is no matter for it.
        let verified = spawn(self.receiver.clone().verify(submission, room, self.caller.clone()));
        Some(Ok((Begun { number, answer, verified }, bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_end_at_times_of_their_own() {
        assert_eq!((age(0.0), age(1.0)), (AGE[0], AGE[1]));
        assert!(age(0.5) > AGE[0] && age(0.5) < AGE[1]);
    }
}
