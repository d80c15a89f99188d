//! The node's list of what a register was extended with since the boot: each seal is durable before the register has it. All runs of the
//! node write it, one at a time, since they share the register; a statement has all of it, so that nobody can leave out a seal.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use attestation::{
    hex,
    merkle::Hash,
    platform::{SEAL_BYTES, SEALS_MAX, Seal, SealList},
    tpm::extended,
};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// How long another run is waited for: it may wait for its TPM.
const WAIT_MAX: Duration = Duration::from_secs(40);
const SUFFIX: &str = ".seals";

/// Where it is, and what of it is known already.
pub(super) struct SealLog {
    path: PathBuf,
    /// Seals that are in the register, without the last one, and what the register had then.
    known: (u64, Hash),
    limit: Option<Instant>,
}

/// The list while nobody else has it.
pub(super) struct Locked {
    file: File,
    /// How many seals it has.
    pub(super) count: u64,
    /// The last one.
    pub(super) last: Option<Seal>,
    /// What the register had before that, and has after it.
    before: Hash,
    after: Hash,
}

impl SealLog {
    /// In this folder, which is made if it is not there. Those of other boots go.
    pub(super) fn open(folder: &Path, boot_id: &[u8; 16], pcr: u8) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let boot = hex::encode(boot_id);
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            if name.and_then(|name| name.split_once('-')).is_some_and(|(other, _)| other.len() == 32 && other != boot) {
                // Another run may have removed it.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self { path: folder.join(format!("{boot}-{pcr}{SUFFIX}")), known: (0, Hash::default()), limit: None })
    }

    /// From now on nobody is waited for longer than until then.
    pub(super) fn end_by(&mut self, limit: Instant) {
        self.limit = Some(limit);
    }

    /// Waits for whoever has it, but not for ever.
    pub(super) fn lock(&mut self) -> io::Result<Locked> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&self.path)?;
        let limit = Instant::now() + WAIT_MAX;
        let limit = self.limit.map_or(limit, |end| end.min(limit));
        while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != Errno::WOULDBLOCK {
                return Err(error.into());
            }
            if Instant::now() > limit {
                let says = format!("another run holds {} and does not let go of it", self.path.display());
                return Err(io::Error::new(io::ErrorKind::TimedOut, says));
            }
            thread::sleep(Duration::from_millis(2));
        }
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is no file", self.path.display())));
        }
        let whole = metadata.len() / SEAL_BYTES as u64;
        // What has no end was not written to its end, and is in no register.
        if metadata.len() % SEAL_BYTES as u64 != 0 {
            file.set_len(whole * SEAL_BYTES as u64)?;
        }
        self.follow(file, whole)
    }

    /// Goes on from what is known. Only the last seal may ever be taken back.
    fn follow(&mut self, file: File, count: u64) -> io::Result<Locked> {
        // The last one is always read: it is what the register is held against.
        let (from, register) = if self.known.0 < count { self.known } else { (0, Hash::default()) };
        let mut locked = Locked { file, count, last: None, before: register, after: register };
        let records = locked.read(from)?;
        for (number, record) in (from + 1..).zip(records.as_chunks::<SEAL_BYTES>().0) {
            let seal = Seal::from_bytes(record);
            (locked.before, locked.last) = (locked.after, Some(seal));
            locked.after = extended(&locked.before, &seal.digest(number));
        }
        if count > 0 {
            self.known = (count - 1, locked.before);
        }
        Ok(locked)
    }
}

impl Locked {
    /// Whether the list leads to what the register has. A last seal that never came to it is taken back: its writer died before it
    /// could extend.
    pub(super) fn settle(&mut self, register: &Hash) -> io::Result<bool> {
        if self.last.is_some() && self.before == *register && self.after != *register {
            self.count -= 1;
            self.file.set_len(self.count * SEAL_BYTES as u64)?;
            self.file.sync_all()?;
            self.after = self.before;
            let last = self.count.checked_sub(1).map(|place| self.read(place)).transpose()?;
            self.last = last.and_then(|record| Some(Seal::from_bytes(record.first_chunk()?)));
        }
        Ok(self.after == *register)
    }

    /// Refuses more seals than a list may have.
    pub(super) fn has_room(&self) -> io::Result<()> {
        if self.count < SEALS_MAX as u64 {
            return Ok(());
        }
        let says = format!("{SEALS_MAX} seals were made since the boot, and no more are kept until the next one");
        Err(io::Error::new(io::ErrorKind::QuotaExceeded, says))
    }

    /// Adds a seal; it is durable then. Its digest comes back, and what the register is to have after it.
    pub(super) fn append(&mut self, seal: Seal) -> io::Result<(Hash, Hash)> {
        self.has_room()?;
        self.file.write_all_at(&seal.to_bytes(), self.count * SEAL_BYTES as u64)?;
        self.file.sync_data()?;
        self.count += 1;
        let digest = seal.digest(self.count);
        (self.before, self.last) = (self.after, Some(seal));
        self.after = extended(&self.before, &digest);
        Ok((digest, self.after))
    }

    /// All of it.
    pub(super) fn all(&self) -> io::Result<SealList> {
        SealList::from_bytes(&self.read(0)?).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The records from this place on.
    fn read(&self, from: u64) -> io::Result<Vec<u8>> {
        let seals = usize::try_from(self.count - from).unwrap_or(usize::MAX);
        let mut records = vec![0; seals.saturating_mul(SEAL_BYTES)];
        self.file.read_exact_at(&mut records, from * SEAL_BYTES as u64)?;
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(byte: u8) -> Seal {
        Seal { session: [byte; 16], boottime_ns: byte.into(), commitment: [byte; 32] }
    }

    fn log(folder: &Path) -> SealLog {
        SealLog::open(folder, &[7; 16], 12).unwrap()
    }

    #[test]
    fn two_that_take_turns_agree_and_the_list_leads_to_the_register() {
        let folder = tempfile::tempdir().unwrap();
        let mut logs = [log(folder.path()), log(folder.path())];
        let mut register = Hash::default();
        for turn in 0..10_u8 {
            let mut locked = logs[usize::from(turn / 3 % 2)].lock().unwrap();
            assert!(locked.settle(&register).unwrap());
            let (digest, after) = locked.append(seal(turn)).unwrap();
            register = extended(&register, &digest);
            assert_eq!((register, locked.count), (after, u64::from(turn) + 1));
            assert_eq!(locked.all().unwrap().registers().last(), Some(register));
        }
        assert!(!logs[0].lock().unwrap().settle(&[1; 32]).unwrap());
    }

    #[test]
    fn what_never_came_to_the_register_is_taken_back_and_what_was_cut_too() {
        let folder = tempfile::tempdir().unwrap();
        let mut other = log(folder.path());
        let mut register = Hash::default();
        for left in 0..4_u8 {
            let mut locked = log(folder.path()).lock().unwrap();
            assert!(locked.settle(&register).unwrap());
            register = locked.append(seal(left)).unwrap().1;
            // Whoever writes this one dies before it extends, or while it writes.
            locked.append(seal(99)).unwrap();
            if left % 2 == 0 {
                locked.file.set_len(locked.count * SEAL_BYTES as u64 - 5).unwrap();
            }
            drop(locked);
            let mut locked = other.lock().unwrap();
            assert!(locked.settle(&register).unwrap());
            assert_eq!((locked.count, locked.last), (u64::from(left) + 1, Some(seal(left))));
        }
    }

    #[test]
    fn whoever_takes_a_seal_back_goes_on_from_what_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let mut own = log(folder.path());
        let mut register = own.lock().unwrap().append(seal(1)).unwrap().1;
        own.lock().unwrap().append(seal(99)).unwrap();
        for turn in 2..6 {
            for _ in 0..2 {
                let mut locked = own.lock().unwrap();
                assert!(locked.settle(&register).unwrap(), "{turn}");
                assert_eq!((locked.count, locked.last), (u64::from(turn) - 1, Some(seal(turn - 1))));
            }
            let mut locked = own.lock().unwrap();
            assert!(locked.settle(&register).unwrap());
            register = locked.append(seal(turn)).unwrap().1;
            locked.append(seal(99)).unwrap();
        }
    }

    #[test]
    fn the_lists_of_other_boots_go_and_other_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        let other = format!("{}-12.seals", hex::encode(&[8; 16]));
        for name in [other.as_str(), "notes.txt", "x-y.seals"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        drop(log(folder.path()).lock().unwrap());
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [format!("{}-12.seals", hex::encode(&[7; 16])).as_str(), "notes.txt", "x-y.seals"]);
    }
}
