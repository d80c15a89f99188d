//! Processes that act on a queue are killed at any moment, their files are torn, their disk is full: what they told holds.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod full_disk;
#[path = "../../src/bin/spool-exercise/items.rs"]
mod items;
mod killed;
mod process;
mod torn;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use spool::{Limits, Rule};

fn limits(bytes_max: u64) -> Limits {
    let age_max = Duration::from_secs(1 << 32);
    let (items_max, rule) = (u64::MAX, Rule::DropOldest);
    Limits { bytes_max, items_max, age_max, rule, receipts_max: 100_000, receipts_age_max: age_max }
}

/// Chance, that can be had once more: what fails says its seed, and `SPOOL_SEED` sets it.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let seed = std::env::var("SPOOL_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let seed = seed.unwrap_or_else(now);
        println!("SPOOL_SEED={seed}");
        Self(seed)
    }

    /// SplitMix64.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}
