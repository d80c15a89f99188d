//! What happens where nobody may wait for a disk: counted here until the thread that follows takes it. What a node can bring about as often
//! as it likes takes a bounded place.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::Alert;

/// Of so many hosts or peers at once; what is beyond is counted by its code alone.
const KEYS_MAX: usize = 1024;

/// What happened since it was last taken.
#[derive(Debug, Default)]
pub(crate) struct Pending(Mutex<BTreeMap<(String, String), Alert>>);

impl Pending {
    /// Something happened: once, or as often as it says.
    pub(crate) fn add(&self, mut alert: Alert) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (alert.about().to_owned(), alert.code.clone());
        if all.len() >= KEYS_MAX && !all.contains_key(&key) {
            (alert.host, alert.peer) = (None, None);
            key.0 = String::new();
        }
        let count = all.get(&key).map_or(0, |known| known.count);
        alert.count = count.saturating_add(alert.count.max(1));
        all.insert(key, alert);
    }

    /// All of it, which is somebody else's then.
    pub(crate) fn take(&self) -> Vec<Alert> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_values().collect()
    }
}
