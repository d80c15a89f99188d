//! Acts in any order, by two who have the queue open, held against a list that is too simple to be wrong.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use spool::{Counts, Dropped, Error, Item, Kind, Limits, Rule, Spool};

const AGE_S: u64 = 50;
const START_S: u64 = 1_000_000;

#[derive(Debug, Clone)]
enum Act {
    /// An item of a payload, of which there are few, so that some come twice.
    Put {
        payload: u8,
        bytes: usize,
        age_s: u64,
        says: bool,
    },
    Acknowledge {
        number: u64,
    },
    Refuse {
        number: u64,
    },
    /// Time goes on.
    Wait {
        seconds: u64,
    },
    Tidy,
    /// Reads what was dropped, to be settled later.
    Read,
    Settle,
    /// Closes one of the two, and opens it again.
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    let bytes = prop_oneof![0..300_usize, 4000..4200_usize, 60_000..280_000_usize];
    prop_oneof![
        8 => (any::<u8>(), bytes, 0..AGE_S + 5, any::<bool>())
            .prop_map(|(payload, bytes, age_s, says)| Act::Put { payload, bytes, age_s, says }),
        4 => (0..60_u64).prop_map(|number| Act::Acknowledge { number }),
        2 => (0..60_u64).prop_map(|number| Act::Refuse { number }),
        2 => (0..30_u64).prop_map(|seconds| Act::Wait { seconds }),
        1 => Just(Act::Tidy),
        1 => Just(Act::Read),
        1 => Just(Act::Settle),
        1 => Just(Act::Reopen),
    ]
}

fn limits(rule: Rule) -> Limits {
    let forever = Duration::from_secs(1 << 40);
    let (age_max, receipts_max) = (Duration::from_secs(AGE_S), u64::MAX);
    let items_max = u64::MAX;
    Limits { bytes_max: 1 << 20, items_max, age_max, rule, receipts_max, receipts_age_max: forever }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    number: u64,
    payload: u8,
    bytes: usize,
    made_s: u64,
}

/// What the queue should be.
#[derive(Default)]
struct Model {
    now_s: u64,
    newest: u64,
    waiting: Vec<Listed>,
    /// Payloads by number.
    acknowledged: BTreeMap<u64, u8>,
    refused: BTreeMap<u64, u8>,
    dropped: Counts,
    settled: Counts,
}

fn sha256(payload: u8) -> [u8; 32] {
    [payload; 32]
}

fn receipt(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

impl Model {
    fn known(&self, payload: u8) -> Option<u64> {
        let waiting = self.waiting.iter().find(|listed| listed.payload == payload).map(|listed| listed.number);
        let find = |of: &BTreeMap<u64, u8>| of.iter().find(|(_, known)| **known == payload).map(|(number, _)| *number);
        waiting.or_else(|| find(&self.acknowledged)).or_else(|| find(&self.refused))
    }

    fn drop_old(&mut self) {
        let before = self.waiting.len();
        let limit = self.now_s - AGE_S;
        self.waiting.retain(|listed| listed.made_s >= limit);
        self.dropped.old += (before - self.waiting.len()) as u64;
    }

    /// How many went for lack of room is the queue's to say, which of them is not: the oldest.
    fn drop_full(&mut self, spool: &Spool, rule: Rule) {
        let full = spool.state().unwrap().dropped_total.full;
        let gone = usize::try_from(full - self.dropped.full).unwrap();
        assert!(gone == 0 || rule == Rule::DropOldest);
        self.waiting.drain(..gone);
        self.dropped.full = full;
    }

    /// Refused items are dropped by bytes, the oldest first; each is counted.
    fn drop_refused(&mut self, spool: &Spool) {
        let total = spool.state().unwrap().dropped_total.refused;
        for _ in self.dropped.refused..total {
            self.refused.pop_first().unwrap();
        }
        self.dropped.refused = total;
    }

    /// Receipts are forgotten, which is no loss, but only the oldest.
    fn forget(&mut self, spool: &Spool) {
        let kept = spool.state().unwrap().receipts;
        let found = |payload: u8| spool.receipt_of(Kind::Bundle, &sha256(payload)).unwrap();
        self.acknowledged.retain(|number, payload| match found(*payload) {
            Some(found) => {
                assert_eq!(found, receipt(*number));
                true
            }
            None => false,
        });
        assert_eq!(self.acknowledged.len() as u64, kept);
    }

    fn put(&mut self, spool: &mut Spool, rule: Rule, listed: &Listed, says: Option<&Dropped>) {
        let envelope = vec![listed.payload; listed.bytes];
        let (payload, made_s) = (listed.payload, listed.made_s);
        let sha256 = sha256(payload);
        let item = Item { kind: Kind::Bundle, name: "name", sha256, envelope: &envelope, evidence: None, made_s };
        let put = match says {
            Some(says) => spool.put_saying(&item, says, self.now_s),
            None => spool.put(&item, self.now_s),
        };
        if let Some(number) = self.known(payload) {
            assert_eq!(put.unwrap(), number);
        } else {
            self.drop_old();
            match put {
                Ok(number) => {
                    self.drop_full(spool, rule);
                    self.newest += 1;
                    self.waiting.push(Listed { number: self.newest, ..listed.clone() });
                    assert_eq!(number, self.newest);
                }
                Err(Error::Old) => {
                    assert!(made_s + AGE_S < self.now_s);
                    self.dropped.old += 1;
                    return;
                }
                Err(Error::TooLarge { .. }) => {
                    assert!(listed.bytes > 256 << 10);
                    self.dropped.full += 1;
                    return;
                }
                Err(Error::Full) => {
                    assert!(rule == Rule::RefuseNew && !self.waiting.is_empty());
                    self.dropped.full += 1;
                    return;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        if let Some(says) = says {
            self.settle(says);
        }
    }

    fn settle(&mut self, said: &Dropped) {
        let Counts { full, old, refused } = self.settled;
        let until = said.until;
        self.settled =
            Counts { full: full.max(until.full), old: old.max(until.old), refused: refused.max(until.refused) };
    }

    /// The model of an answer: `true` if the item waited.
    fn answer(&mut self, number: u64, refuses: bool) -> bool {
        let Some(at) = self.waiting.iter().position(|listed| listed.number == number) else { return false };
        let payload = self.waiting.remove(at).payload;
        if refuses {
            self.refused.insert(number, payload)
        } else {
            self.acknowledged.insert(number, payload)
        };
        true
    }

    fn compare(&mut self, spool: &Spool) {
        self.drop_refused(spool);
        self.forget(spool);
        let waiting = spool.waiting(0, u64::MAX).unwrap();
        let listed = waiting.iter().map(|held| {
            assert!(held.envelope.iter().all(|byte| *byte == held.sha256[0]));
            let (number, payload, made_s) = (held.number, held.sha256[0], held.made_s);
            Listed { number, payload, bytes: held.envelope.len(), made_s }
        });
        assert_eq!(listed.collect::<Vec<_>>(), self.waiting);
        let refused: BTreeMap<u64, u8> =
            spool.refused().unwrap().iter().map(|refused| (refused.number, refused.sha256[0])).collect();
        assert_eq!(refused, self.refused);
        let (state, dropped) = (spool.state().unwrap(), spool.dropped().unwrap());
        assert_eq!((state.newest, state.waiting), (self.newest, self.waiting.len() as u64));
        assert_eq!(state.oldest_s, self.waiting.iter().map(|listed| listed.made_s).min());
        assert_eq!((state.dropped_total, dropped.until), (self.dropped, self.dropped));
        let sum = |of: fn(Counts) -> u64| (of(dropped.counts), of(self.dropped) - of(self.settled));
        for (found, expected) in [sum(|counts| counts.full), sum(|counts| counts.old), sum(|counts| counts.refused)] {
            assert_eq!(found, expected);
        }
        assert_eq!(dropped.first_s.is_some(), dropped.counts.sum() > 0);
        assert!(dropped.first_s <= dropped.last_s);
        assert!(state.file_bytes <= 1 << 20, "{}", state.file_bytes);
    }
}

fn run(rule: Rule, acts: Vec<Act>) {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("spool");
    let open = || Spool::open(&folder, limits(rule)).unwrap();
    let mut spools = [open(), open()];
    let mut model = Model { now_s: START_S, ..Model::default() };
    let mut read = spools[0].dropped().unwrap();
    for (at, act) in acts.into_iter().enumerate() {
        let spool = &mut spools[at % 2];
        match act {
            Act::Put { payload, bytes, age_s, says } => {
                let listed = Listed { number: 0, payload, bytes, made_s: model.now_s - age_s };
                model.put(spool, rule, &listed, says.then_some(&read));
            }
            Act::Acknowledge { number } => {
                let known = model.acknowledged.contains_key(&number);
                let waited = model.answer(number, false);
                let done = spool.acknowledge(number, &receipt(number), model.now_s);
                assert_eq!(done.is_ok(), waited || known, "{done:?}");
            }
            Act::Refuse { number } => {
                let known = model.refused.contains_key(&number);
                let waited = model.answer(number, true);
                let done = spool.refuse(number, "code", "says", model.now_s);
                assert_eq!(done.is_ok(), waited || known, "{done:?}");
            }
            Act::Wait { seconds } => model.now_s += seconds,
            Act::Tidy => {
                spool.tidy(model.now_s).unwrap();
                model.drop_old();
            }
            Act::Read => read = spool.dropped().unwrap(),
            Act::Settle => {
                spool.settle(&read).unwrap();
                model.settle(&read);
            }
            Act::Reopen => spools[at % 2] = open(),
        }
        model.compare(&spools[(at + 1) % 2]);
    }
}

#[test]
fn any_acts_leave_what_a_list_would_have() {
    for rule in [Rule::DropOldest, Rule::RefuseNew] {
        let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
        let acts = proptest::collection::vec(act(), 1..80);
        TestRunner::new(config)
            .run(&acts, |acts| {
                run(rule, acts);
                Ok(())
            })
            .unwrap();
    }
}
