//! Each boundary, from both sides.

mod answers;
mod deferrals;
mod losses;
mod places;
mod puts;
mod room;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::row::digest;
use crate::{Dropped, Error, Item, Kind, Limits, Rule, Spool};

const NOW_S: u64 = 1_700_000_000;

fn limits() -> Limits {
    Limits {
        bytes_max: 8 << 20,
        items_max: u64::MAX,
        age_max: Duration::from_secs(1000),
        rule: Rule::DropOldest,
        receipts_max: 100,
        receipts_age_max: Duration::from_secs(1000),
    }
}

fn with(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = limits();
    change(&mut limits);
    limits
}

/// A folder, of which the spool is one below.
struct Scene {
    above: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { above: tempfile::tempdir().unwrap() }
    }

    fn folder(&self) -> PathBuf {
        self.above.path().join("spool")
    }

    fn open(&self) -> Spool {
        self.open_with(limits())
    }

    fn open_with(&self, limits: Limits) -> Spool {
        Spool::open(&self.folder(), limits).unwrap()
    }

    fn refusal(&self) -> Error {
        self.refusal_of(&self.folder())
    }

    fn refusal_of(&self, folder: &Path) -> Error {
        Spool::open(folder, limits()).map(|_| ()).unwrap_err()
    }
}

fn item<'a>(name: &'a str, envelope: &'a [u8]) -> Item<'a> {
    let sha256 = digest(format!("{name}{}", envelope.len()).as_bytes());
    Item { kind: Kind::Statement, name, sha256, envelope, evidence: None, made_s: NOW_S }
}

fn put(spool: &mut Spool, name: &str, bytes: usize) -> Result<u64, Error> {
    spool.put(&item(name, &vec![7; bytes]), NOW_S)
}

fn numbers(spool: &Spool) -> Vec<u64> {
    spool.waiting(0, u64::MAX).unwrap().iter().map(|held| held.number).collect()
}

fn dropped(spool: &Spool) -> Dropped {
    spool.dropped().unwrap()
}
