//! Why a digest has its class: stable codes, each with its meaning.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal: $meaning:literal;)*) => {
        /// Why a content is not `stable`, or why there is no digest.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)*
        }

        /// Every code with its meaning, in a line.
        pub const REASONS: &[(&str, &str)] = &[$(($code, $meaning),)*];

        impl Reason {
            const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

reasons! {
    // Raced: there is a digest, and this did not hold or could not be checked.
    WriterOpen = "WRITER_OPEN": "A writer was open at the access or at the hash.";
    FreshCtime = "FRESH_CTIME": "The file was changed within a clock grain of the access: a later change may carry the same time.";
    FutureCtime = "FUTURE_CTIME": "The file's ctime lies after the access.";
    Changed = "CHANGED": "The file's version was another one at the hash, or at the end, than at the access.";
    Modified = "MODIFIED": "The session opened the file to read and write and changed it: the digest is of what was left.";
    GoneSince = "GONE_SINCE": "The file was hashed, but at the end no name led to it: its version could not be checked again.";
    UntestedFilesystem = "UNTESTED_FILESYSTEM": "The file system is not on the list whose version stamps were tested.";
    OverlayUnresolved = "OVERLAY_UNRESOLVED": "An overlay: the real file below it, and who writes that, is not known.";
    TmpfsShared = "TMPFS_SHARED": "A tmpfs that others can reach: a store through a mapping leaves no trace in the file's version.";
    HolderLeft = "HOLDER_LEFT": "A process that could still read the file was not followed to its end.";
    ClockSet = "CLOCK_SET": "The wall clock was set during the session: no ctime's age can be relied on.";
    NoLease = "NO_LEASE": "The kernel gave no read lease on the file, so its writers are not known.";
    OutsideWriter = "OUTSIDE_WRITER": "A task outside the session opened the file for writing.";
    MeasuresDiffer = "MEASURES_DIFFER": "At an exec IMA measured another content than the one that was hashed.";
    // Ephemeral: no digest is claimed; the session's own writers explain it.
    MadeAndGone = "MADE_AND_GONE": "The session made the file and removed it; its writers' inputs explain it.";
    MadeAndRewritten = "MADE_AND_REWRITTEN": "The session made the file and wrote it again; its writers' inputs explain it.";
    // Absent: no digest.
    Gone = "GONE": "The file was gone before it could be hashed.";
    NotFoundAgain = "NOT_FOUND_AGAIN": "The path led to another file when the hasher opened it.";
    NoPath = "NO_PATH": "The access has no whole path in a mount namespace: a detached file or a path beyond the limit.";
    NamespaceGone = "NAMESPACE_GONE": "The mount namespace was gone before its root could be opened, or there were too many.";
    NotRegular = "NOT_REGULAR": "No regular file: a directory, device, pipe or socket has no content to hash.";
    PathOnly = "PATH_ONLY": "The descriptor only names the file; no content was accessed.";
    PseudoFile = "PSEUDO_FILE": "The kernel makes the content at each read.";
    NetworkFilesystem = "NETWORK_FILESYSTEM": "A network file system: never opened, it may block and change between two reads.";
    FuseFilesystem = "FUSE_FILESYSTEM": "A file system in user space: never opened, it may block and change between two reads.";
    UnknownFilesystem = "UNKNOWN_FILESYSTEM": "A file system that is not known to be local: never opened.";
    TooLarge = "TOO_LARGE": "The file is over the size limit for hashing.";
    Unreadable = "UNREADABLE": "The file could not be opened or read for hashing, by the rights of the session's user.";
    TimedOut = "TIMED_OUT": "Reading the file took too long.";
    NamesOverLimit = "NAMES_OVER_LIMIT": "More names were moved than are followed: the file may be left under another name.";
    FilesOverLimit = "FILES_OVER_LIMIT": "More files than one session keeps in memory.";
}

impl Reason {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        REASONS[self as usize].0
    }

    /// The reason whose `as u8` this is.
    pub(super) fn from_index(index: u8) -> Option<Self> {
        Self::ALL.get(usize::from(index)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_form_and_stands_once() {
        for (code, meaning) in REASONS {
            assert!(code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{code}");
            assert!(code.len() <= 64 && meaning.ends_with('.') && !meaning.contains('\n'), "{code}");
            assert_eq!(REASONS.iter().filter(|other| other.0 == *code).count(), 1, "{code}");
        }
    }

    #[test]
    fn an_index_beyond_the_last_is_none() {
        let last = u8::try_from(REASONS.len() - 1).unwrap();
        assert_eq!(Reason::from_index(last).map(Reason::code), Some("FILES_OVER_LIMIT"));
        assert_eq!(Reason::from_index(last + 1), None);
        assert_eq!(Reason::from_index(u8::MAX), None);
    }
}
