//! Whom statements are believed by, read anew as it changes: files when they do, and what the Workload API gives as it comes. What
//! cannot be read leaves what was read before, and is said: a mistake in one file stops nobody who was trusted.

use std::{
    fs,
    future::pending,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use attestation::{escape::escape, identity::Bundle};
use mtls::Bundles;
use testimony_verify::trust::Trust;

use crate::settings;

/// Entries of a folder of bundles that are looked at: more are refused where they are read.
const ENTRIES_MAX: usize = 5000;
/// A file may change twice within a tick of the clock that its times are of: one that changed a moment ago is read once more.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// What is looked at of a file: where it is, its size, and when it was changed.
const TIMES: usize = 7;

/// What is trusted.
pub(crate) struct Trusted {
    settings: settings::Trust,
    now: RwLock<Arc<Trust>>,
    /// What the Workload API gave.
    live: Mutex<Vec<Bundle>>,
}

/// What files were when they were read. A file that is not there has no times.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen(Vec<(PathBuf, Option<[i64; TIMES]>)>);

impl Trusted {
    /// Reads what the settings name.
    ///
    /// # Errors
    /// What is wrong with which.
    pub(crate) fn read(settings: &settings::Trust) -> anyhow::Result<Self> {
        let trust = read(settings, Vec::new()).map_err(|says| anyhow::anyhow!("[trust] {says}"))?;
        Ok(Self { settings: settings.clone(), now: RwLock::new(Arc::new(trust)), live: Mutex::default() })
    }

    /// As of now.
    pub(crate) fn now(&self) -> Arc<Trust> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a statement needs a quote.
    pub(crate) fn quotes_required(&self) -> bool {
        self.settings.quotes_required
    }

    /// Takes what the Workload API gives now, where it is trusted.
    ///
    /// # Errors
    /// If that is of no use, in words.
    pub(crate) fn take(&self, bundles: &Bundles) -> Result<(), String> {
        let given = bundles.now().map_err(|error| error.to_string())?;
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = given;
        self.read_again()
    }

    fn read_again(&self) -> Result<(), String> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let trust = read(&self.settings, live)?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(trust);
        Ok(())
    }

    /// Reads it anew whenever it changed, for as long as the collector runs.
    pub(crate) async fn follow(self: Arc<Self>, bundles: Option<Bundles>) {
        let mut bundles = bundles.filter(|_| self.settings.workload_api);
        let mut seen = self.look().await;
        let (mut settled, mut said) = (false, None);
        loop {
            let given = tokio::select! {
                () = tokio::time::sleep(self.settings.reread()) => false,
                goes_on = changed(bundles.as_mut()) => {
                    if !goes_on {
                        bundles = None;
                        told(&mut said, "the Workload API is followed no longer: its last trust bundles stay".to_owned());
                    }
                    goes_on
                }
            };
            let now = self.look().await;
            if !given && settled && now == seen {
                continue;
            }
            let changed = given || now != seen;
            let read = match bundles.as_ref().filter(|_| given) {
                Some(bundles) => self.take(bundles),
                None => self.read_on_a_thread().await,
            };
            // What could not be read is tried again each time.
            settled = read.is_ok() && now.as_ref().is_none_or(Seen::is_settled);
            match read {
                Ok(()) if changed || said.is_some() => {
                    said = None;
                    eprintln!("testimony-collector: what is trusted was read anew");
                }
                Ok(()) => {}
                Err(why) => {
                    let why = escape(why.as_bytes());
                    told(&mut said, format!("what is trusted stays as it was read before: {why}"));
                }
            }
            seen = now;
        }
    }

    async fn read_on_a_thread(self: &Arc<Self>) -> Result<(), String> {
        let this = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || this.read_again()).await;
        read.unwrap_or_else(|error| Err(error.to_string()))
    }

    async fn look(self: &Arc<Self>) -> Option<Seen> {
        let this = Arc::clone(self);
        tokio::task::spawn_blocking(move || Seen::of(this.settings.files())).await.ok()
    }
}

/// What stands in files, and what came beside it where the settings want that.
fn read(settings: &settings::Trust, live: Vec<Bundle>) -> Result<Trust, String> {
    let trust = Trust::read(&settings.args())?;
    Ok(if settings.workload_api { trust.with_bundles(&settings.args(), live) } else { trust })
}

async fn changed(bundles: Option<&mut Bundles>) -> bool {
    match bundles {
        Some(bundles) => bundles.changed().await,
        None => pending().await,
    }
}

/// The same is not said again, however long it lasts.
fn told(said: &mut Option<String>, line: String) {
    if said.as_ref() != Some(&line) {
        eprintln!("testimony-collector: {line}");
        *said = Some(line);
    }
}

impl Seen {
    fn of<'a>(files: impl Iterator<Item = &'a Path>) -> Self {
        let mut seen = Vec::new();
        for file in files {
            seen.push((file.to_owned(), times(file)));
            let entries = fs::read_dir(file).into_iter().flatten().flatten().take(ENTRIES_MAX);
            seen.extend(entries.map(|entry| (entry.path(), times(&entry.path()))));
        }
        seen.sort();
        Self(seen)
    }

    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let before = i64::try_from(now.saturating_sub(SETTLED_AFTER).as_secs()).unwrap_or(i64::MAX);
        self.0.iter().all(|(_, times)| times.is_none_or(|[.., changed_s, _]| changed_s < before))
    }
}

fn times(path: &Path) -> Option<[i64; TIMES]> {
    let now = fs::metadata(path).ok()?;
    let [device, inode, size] = [now.dev(), now.ino(), now.size()].map(u64::cast_signed);
    Some([device, inode, size, now.mtime(), now.mtime_nsec(), now.ctime(), now.ctime_nsec()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changed_came_or_went_is_another_state() {
        let folder = tempfile::tempdir().unwrap();
        let (file, bundles) = (folder.path().join("key"), folder.path().join("bundles"));
        fs::create_dir(&bundles).unwrap();
        let look = || Seen::of([file.as_path(), bundles.as_path()].into_iter());
        let none = look();
        assert_eq!(none, look());
        fs::write(&file, "a").unwrap();
        let one = look();
        assert!(one != none && !one.is_settled());
        // In place of the other one, with its size.
        fs::write(folder.path().join("part"), "b").unwrap();
        fs::rename(folder.path().join("part"), &file).unwrap();
        let other = look();
        assert_ne!(other, one);
        fs::write(bundles.join("old.pem"), "c").unwrap();
        let more = look();
        assert_ne!(more, other);
        fs::remove_file(&file).unwrap();
        assert_ne!(look(), more);
    }
}
