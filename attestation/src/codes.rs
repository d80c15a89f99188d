//! Every stable code: gaps, blind spots, reasons of a digest's class, refusals. A code, once released, keeps its meaning.
//!
//! `testimony explain CODE` prints what stands here. The log carries codes as text; one that is not here ends
//! completeness, since nobody can say what it means.

/// Bytes of a code at most.
pub const CODE_BYTES_MAX: usize = 64;

/// What a code is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The numbers do not add up: the session is not lossless. Found by recomputing; ends completeness.
    Loss,
    /// Something else that was recomputed and ends completeness.
    Gap,
    /// Seen by the agent: an act or a state that its hooks cannot follow. Ends completeness.
    BlindSpot,
    /// Seen by the agent and stated, without ending completeness.
    Notice,
    /// Why a digest has its class.
    Reason,
    /// Why a verifier refused.
    Refusal,
    /// What a collector tells of nodes, or of itself.
    Alert,
}

/// A code with its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// Upper-case words joined by `_`.
    pub name: &'static str,
    /// What it is about.
    pub kind: Kind,
    /// What it means, in a line.
    pub meaning: &'static str,
    /// What to do about it, in a line.
    pub action: &'static str,
}

impl Code {
    /// Whether a statement with this code can be complete.
    #[must_use]
    pub fn ends_completeness(&self) -> bool {
        matches!(self.kind, Kind::Loss | Kind::Gap | Kind::BlindSpot)
    }

    /// Whether it stands among a statement's gaps: what recomputing finds.
    #[must_use]
    pub fn is_gap(&self) -> bool {
        matches!(self.kind, Kind::Loss | Kind::Gap)
    }
}

/// The code of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Code> {
    ALL.iter().find(|code| code.name == name)
}

/// Whether the text has the form of a code: upper-case letters, digits and `_`, at most [`CODE_BYTES_MAX`] bytes.
#[must_use]
pub fn is_code(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    !text.is_empty() && text.len() <= CODE_BYTES_MAX && text.bytes().all(allowed)
}

macro_rules! codes {
    ($($kind:ident { $($name:ident: $meaning:literal, $action:literal;)* })*) => {
        $($(
            #[doc = $meaning]
            pub const $name: &str = stringify!($name);
        )*)*
        /// Every code, by kind.
        pub const ALL: &[Code] = &[$($(
            Code { name: stringify!($name), kind: Kind::$kind, meaning: $meaning, action: $action },
        )*)*];
    };
}

codes! {
    Loss {
        LOST_EVENTS: "The kernel numbered events that found no room in the ring.",
            "Run again; a larger ring buffer or fewer sessions at once help.";
        ACCOUNT_MISMATCH: "Delivered, coalesced and lost events do not add up to those attempted.",
            "Keep the evidence and report it: the tracer or the log is wrong.";
        FOLD_MISMATCH: "The repeats in the log are not those that the kernel counted.",
            "Keep the evidence and report it: the tracer or the log is wrong.";
        NUMBER_BEYOND_ACCOUNT: "An event has a number that its hook never gave out.",
            "Keep the evidence and report it: the tracer or the log is wrong.";
        MISSING_ACCOUNT: "A hook has no account of its numbers.",
            "Run again; if it stays, report it with the evidence.";
        TRUNCATED_EVENT: "A path, an argument or an object could not be taken whole.",
            "See which events; a path beyond the limit or memory that could not be read is the usual cause.";
        TRUNCATED_ARGV: "Fewer bytes of a program's arguments arrived than it had.",
            "Run again; if it stays, report it with the evidence.";
        UNKNOWN_MISSES: "The kernel does not say how often this hook's program was skipped.",
            "A newer kernel reports it; `testimony doctor` says which hooks are concerned.";
        MISSED_RUNS: "The kernel skipped this hook's programs some times, by its own count, for the session perhaps.",
            "Run again with less load on the host.";
        NOT_CLOSED: "The log has no end: the run died or was cut.",
            "Run again; what is there counts as incomplete for ever.";
    }
    Gap {
        MALFORMED_LOG: "Frames contradict each other; they were left out of the trace.",
            "Keep the evidence and report it.";
        TRACE_TOO_LARGE: "The session is beyond a limit of this version; facts were left out.",
            "Trace a smaller session.";
        SESSION_FAILED: "The agent says that tracing failed on the way.",
            "See the blind spots for the cause and run again.";
        SESSION_CUT: "The session was ended before its command was.",
            "Run again and let the command end.";
        SURVIVOR: "Processes of the session still lived when it was closed.",
            "Wait for them in the command itself, or stop them.";
        END_NOT_SEEN: "A process has neither an end nor a place among the survivors.",
            "Keep the evidence and report it: an exit was not seen.";
        UNKNOWN_PROCESS: "A process acted whose beginning was not seen.",
            "Keep the evidence and report it: a fork was not seen.";
        HOOK_SILENT: "A known act of the agent's own was not seen by its hook.",
            "Find out who muted it; trust nothing of this session.";
        HOOK_NOT_TRIED: "No known act was performed for this hook, or none at the end: whether it saw anything then is not known.",
            "See that the host allows it, for instance that the loopback device is up; `testimony doctor` tries each.";
        CANARIES_LATE: "More than a minute passed between two known acts that this hook saw.",
            "Run again without stopping or suspending it, and with less load on the host.";
        WEAK_HOOK: "A hook takes from user memory what must come from the kernel's own objects.",
            "See `testimony doctor` for what this kernel would grant.";
        MISSING_OBSERVATION: "An observation that every session needs has no hook.",
            "See `testimony doctor` for what this kernel would grant.";
        UNKNOWN_CODE: "The agent reports something that this version does not know.",
            "Verify with a newer version.";
    }
    BlindSpot {
        IO_URING_USED: "io_uring was used: what it opens or sends passes by system call hooks.",
            "Run on a kernel that grants LSM hooks, or keep the command from io_uring.";
        COMPAT_SYSCALL: "A system call came by the 32-bit entry, whose numbers mean other calls.",
            "Run 64-bit programs only, or on a kernel that grants LSM hooks.";
        MEMBERS_FULL: "The membership table was full: a child could not be followed.",
            "Run fewer sessions at once.";
        WATCH_FULL: "The table of the session's own files was full: writers from outside could not be watched for.",
            "Trace a smaller session.";
        NO_SLOT: "No session slot was free for a new cgroup.",
            "Run fewer sessions at once.";
        NO_SCRATCH: "Every scratch buffer of a CPU was busy; events were lost.",
            "Run again with less load on the host.";
        JOINED_PROCESS: "A process from outside entered the session; what it did before is not known.",
            "Start everything from the session's own command.";
        LEFT_SESSION: "A task left the session and could not be followed.",
            "Do not move tasks between cgroups in the command.";
        PROGRAM_CHANGED: "A kernel program or its attachment was not the same at the end as at the start.",
            "Find out who changed it; trust nothing of this session.";
        CANARIES_ENDED: "The process that performs the agent's known acts could not be made, or ended before the session.",
            "Find out who ended it; the session may have been watched by nothing since.";
        LEFT_OUT: "An observation was left out as the run was asked to.",
            "Run without `--leave-out`.";
        EVIDENCE_NOT_WRITTEN: "Evidence could not be written, for instance because the disk was full.",
            "Free space and run again.";
        DECODE_FAILED: "Records from the kernel were not understood.",
            "Keep the evidence and report it.";
        DRAIN_INCOMPLETE: "The ring could not be emptied before the session was closed.",
            "Run again with less load on the host.";
        RECOVERED: "The statement was made from what a run that died left behind.",
            "Run again.";
        RAW_DEVICE: "A block device, the machine's memory or its ports were opened: files can change below the file system.",
            "Run as an ordinary user.";
        FOREIGN_MEMORY: "A process that is not known to be of the session was traced, or its memory was read or written.",
            "Find out which process it was, and run without it.";
        REACHED_FROM_OUTSIDE: "A task outside traced a process of the session, wrote its memory or took its descriptors, or a descriptor came to one that had not asked for it.",
            "Find out which task it was, and run without it.";
        DESCRIPTOR_RECEIVED: "A descriptor came from a process that is not known to be of the session: what is read by it is no open.",
            "Find out who sent it, and open files in the session itself.";
        MODULE_LOADED: "A kernel module was loaded or removed, or another kernel: nothing of the kernel's can be relied on.",
            "Run as an ordinary user.";
        BPF_USED: "The session used bpf(), by which programs and maps of the tracer can be changed.",
            "Run as an ordinary user.";
        HELPER_CHANGED: "A helper that the kernel starts outside every session was changed.",
            "Run as an ordinary user.";
        BPF_CHANGED: "A BPF program or link of somebody else's that can change what happens or what is seen came or went.",
            "See `testimony show` for which; run again without it.";
        CLOCK_STEPPED: "The wall clock was set during the session.",
            "Run again with a steady clock.";
    }
    Notice {
        OUTSIDE_WRITE: "A task outside the session opened one of its files for writing.",
            "Files concerned are `raced`; give the session a directory of its own.";
        INHERITANCE_ONLY: "No cgroup could be made: membership is by inheritance at fork alone.",
            "Run where a cgroup can be made to also follow tasks by it.";
        INHERITED_DESCRIPTORS: "Descriptors were open before the session began; what is read by them is not an open.",
            "Start with standard input, output and error only.";
        INPUTS_NOT_OBSERVED: "What no session observes: metadata, directory listings, targets of links, failed lookups, the clock, randomness, properties of the processor, bytes read by inherited descriptors.",
            "Nothing; an input of these kinds is not excluded by any statement.";
        SIGNER_NOT_BOUND: "The key is a file: it says nothing of the host, and whoever has it can sign elsewhere.",
            "Keep the key where only the agent reads it; do not take the statement's host for proven.";
        SIGNED_LATER: "Nobody could sign when the session ended: the statement was signed later.",
            "See by a timestamp or a receipt when it was; see why the signer was away.";
        NAMESPACE_CHANGED: "A process entered or made namespaces; paths are tied to device and inode.",
            "Nothing, where it is expected.";
        DNS_NOT_READ: "A connection by which names may be asked for that are not read: DNS over TCP, TLS or QUIC.",
            "The peer is in the trace, what it was asked is not: have the command use DNS by datagrams to see it.";
        ACTS_NOT_OBSERVED: "Of system calls beyond files, names and peers, those that the detail names were not observed on this kernel.",
            "Run on a kernel before 7, or with `--weakest-hooks`, to have them in the trace.";
        NOT_CHAINED: "The statement has no number: the folder of this host's chain cannot be written.",
            "Give a folder that can be written with `--chain`.";
        SESSIONS_NOT_OPENED: "Cgroups were made on this host, of containers or units perhaps, for which the agent had no place; the detail says how many since the statement before.",
            "Raise `at_once_max` in `[sessions]` of the agent's configuration.";
        NOT_SEALED: "Heads of the log could not be sealed in the TPM for some of the time.",
            "See that the TPM answers; others may have extended the register, or have it busy.";
        STATEMENTS_DROPPED: "Statements of this node were dropped before a collector had them: from its spool, or for want of room to wait for their signer.",
            "See why the collector was not reached, or give the spool more room or time (`testimony spool`).";
        BPF_OTHERS: "A BPF program or link of somebody else's that only watches, or is of the network, came or went.",
            "Nothing; `testimony show` says which.";
        MODULES_CHANGED: "Kernel modules without a mark of the kernel's came or went.",
            "Nothing; `testimony show` says which.";
        HOOK_REFUSED: "A stronger hook was refused by the kernel; the next one is used.",
            "See `testimony doctor`.";
    }
    Reason {
        NOT_HASHED: "No digest was taken before the session was closed.",
            "Give the hashers more time, or see the blind spots.";
        GONE: "The file was gone before it could be hashed.",
            "Nothing, for temporary files of others; else give the session a directory of its own.";
        CHANGED: "The file's version was another one at the hash than at the access.",
            "Keep other writers away from the session's inputs.";
        WRITER_OPEN: "A writer was open at the access or at the hash.",
            "Keep other writers away from the session's inputs.";
        FRESH_CTIME: "The file was changed within a clock grain of the access: a later change may carry the same time.",
            "Wait a moment between preparing inputs and starting.";
        MAPPED_FOR_WRITING: "The file was mapped for shared writing.",
            "Nothing, where it is expected.";
        UNTESTED_FILESYSTEM: "The file system is not on the list whose version stamps were tested.",
            "Use ext4, xfs, btrfs, or a private tmpfs.";
        HOLDER_LEFT: "A process that could still read the file was not followed to its end.",
            "Wait for all processes in the command itself.";
        NO_LEASE: "The kernel gave no read lease on the file.",
            "Run as the owner of the files, or as root.";
        OUTSIDE_WRITER: "A task outside the session wrote the file.",
            "Give the session a directory of its own.";
        TOO_LARGE: "The file is over the size limit for hashing.",
            "Raise the limit.";
        UNREADABLE: "The file could not be opened or read for hashing.",
            "See that the agent may read what the session reads.";
        NOT_REGULAR: "No regular file: a directory, device, pipe or socket has no content to hash.",
            "Nothing.";
        PSEUDO_FILE: "The kernel makes the content at each read.",
            "Nothing.";
        QUEUE_FULL: "More files waited for a digest than the queue holds.",
            "Run with less load on the host.";
        TIMED_OUT: "Reading the file took too long.",
            "See that its file system answers.";
        NOT_FOUND_AGAIN: "The path led to another file when the hasher opened it.",
            "Nothing, for files that are renamed over.";
        MADE_AND_GONE: "The session made the file and removed it; its writers' inputs explain it.",
            "Nothing.";
        MADE_AND_REWRITTEN: "The session made the file and wrote it again; its writers' inputs explain it.",
            "Nothing.";
        FUTURE_CTIME: "The file's ctime lies after the access.",
            "See that the clock is right, and that no tool sets times ahead.";
        MEASURES_DIFFER: "At an exec IMA measured another content than the one that was hashed.",
            "Keep other writers away from the session's programs.";
        MODIFIED: "The session opened the file to read and write and changed it: the digest is of what was left.",
            "Nothing: the content before the change is not known.";
        GONE_SINCE: "The file was hashed, but at the end no name led to it: its version could not be checked again.",
            "Nothing, for files that are meant to go; else keep others away from the inputs.";
        OVERLAY_UNRESOLVED: "An overlay: the real file below it, and who writes that, is not known.",
            "Work on a file system of its own, not on an overlay.";
        TMPFS_SHARED: "A tmpfs that others can reach: a store through a mapping leaves no trace in the file's version.",
            "Work on ext4, xfs or btrfs, or on a tmpfs that only the session can reach.";
        CLOCK_SET: "The wall clock was set during the session: no ctime's age can be relied on.",
            "Run again with a steady clock.";
        NO_PATH: "The access has no whole path in a mount namespace: a detached file or a path beyond the limit.",
            "Nothing, for detached files; else use shorter paths.";
        NAMESPACE_GONE: "The mount namespace was gone before its root could be opened, or there were too many.",
            "Let namespaces live until the command ends, or make fewer of them.";
        PATH_ONLY: "The descriptor only names the file; no content was accessed.",
            "Nothing.";
        NETWORK_FILESYSTEM: "A network file system: never opened, it may block and change between two reads.",
            "Copy inputs to a local file system first.";
        FUSE_FILESYSTEM: "A file system in user space: never opened, it may block and change between two reads.",
            "Copy inputs to a local file system first.";
        UNKNOWN_FILESYSTEM: "A file system that is not known to be local: never opened.",
            "Use ext4, xfs or btrfs.";
        NAMES_OVER_LIMIT: "More names were moved than are followed: the file may be left under another name.",
            "Trace a smaller session.";
        FILES_OVER_LIMIT: "More files than one session keeps in memory.",
            "Trace a smaller session.";
    }
    Refusal {
        NO_ANCHOR: "No key to trust was given.",
            "Give the signer's public key with `--key`, or its trust domain's bundle with `--trust-bundle`.";
        NO_STATEMENT: "There is evidence and no statement: the run that wrote it died, and nobody signed.",
            "`testimony recover` signs what is there, as incomplete.";
        UNREADABLE_FILE: "The file could not be read.",
            "See that it is there, that it is a regular file, and that you may read it.";
        ENVELOPE_MALFORMED: "The file is no DSSE envelope within the limits.",
            "See that it is the statement, whole and unchanged.";
        PAYLOAD_TYPE: "The envelope's payload is no in-toto statement.",
            "See that it is the right file.";
        SIGNATURE_INVALID: "No signature by a trusted key holds over the payload.",
            "Get the statement again from its source, and the right key.";
        SIGNATURE_MISSING: "The statement names signers whose signatures the envelope does not have.",
            "Get the statement again from its source: somebody took a signature away.";
        IDENTITY_REFUSED: "No signature is by an SVID of a workload that is accepted.",
            "See the reason; give the trust domain's bundle, and the SPIFFE ID that is to have signed.";
        SVID_EXPIRED: "The SVID that signed has expired, and nothing proves when it signed.",
            "Give the authority of its timestamp, if it has one; else verify while the SVID is valid, or by another signature's key.";
        TIMESTAMP_REFUSED: "A signature's timestamp does not hold.",
            "Get the statement again from its source; see that the authority's whole chain was given.";
        RECEIPT_REFUSED: "A signature's receipt does not hold.",
            "Get the receipt again from its log; see that the log's own key was given.";
        CLOCK_CONTRADICTED: "A timestamp or receipt is older than the end of the session by the host's clock.",
            "Do not rely on the statement's times: the host's clock was wrong, or was set.";
        QUOTE_MISSING: "A machine was given to hold the quote of its TPM against, and there is none.",
            "Get NAME.quote.intoto.jsonl from its source; the run has to seal (`--seal-pcr`).";
        QUOTE_REFUSED: "The quote of a TPM does not hold, is about something else, or by a machine that was not given.",
            "Get statement and quote again from their source; see that the machine's own enrolment was given.";
        SEAL_REFUSED: "What was sealed in the TPM while the session ran is not what the log or another statement of that boot has, or the TPM was reset meanwhile.",
            "Do not rely on the log: it was rewritten, cut or put in another order after it was sealed, or the machine was started anew, or its TPM set back.";
        BOOT_REFUSED: "What the machine booted or ran is not what its registers hold, or not what the policy accepts.",
            "See the check `boot`: name what is good in the policy, or do not rely on the machine.";
        BUNDLE_REFUSED: "The Sigstore bundle does not hold, is of another statement, or by somebody else, or there is none.",
            "Get statement and bundle again from their source; see that the trusted root of its own instance was given, and the right identity and issuer.";
        STATEMENT_MALFORMED: "The payload is no runtime-trace statement of Testimony's, or contradicts its own shape.",
            "See that it is the right file; else do not rely on it.";
        VERSION_UNKNOWN: "The statement's format version is not known here.",
            "Verify with a newer version.";
        SEGMENT_MISSING: "A segment of the log that the statement names is not among the evidence.",
            "Get the evidence again.";
        SEGMENT_CHANGED: "A segment is not the one that the statement names.",
            "Get the evidence again.";
        LOG_MALFORMED: "The log cannot be read to its end.",
            "Get the evidence again.";
        LOG_ROOT: "The log's tree has another size or root than the statement says.",
            "Get the evidence again; if it stays, do not rely on the statement.";
        NUMBERS_DIFFER: "The statement's losslessness or coverage is not what its log gives.",
            "Do not rely on the statement.";
        TRACE_DIFFERS: "The statement is not the one that its log gives.",
            "Do not rely on the statement.";
        CLAIM_CONTRADICTED: "The statement claims more than its own parts allow.",
            "Do not rely on the statement.";
        CHAIN_FORKED: "Statements of one chain contradict each other: one was replaced, or the chain began anew or was kept twice.",
            "Find out which of them the host's user has, and who has its key.";
        PROOF_MALFORMED: "The file is no proof of a frame.",
            "Make it again with `testimony show --event N --proof`.";
        NOT_IN_LOG: "The proof does not lead from its frame to the root of the statement's log.",
            "Do not rely on the frame: it is of another log, or was changed.";
        INCOMPLETE: "The statement is incomplete.",
            "See the gaps; `--accept-incomplete` takes it as it is.";
    }
    Alert {
        STATEMENTS_MISSING: "Numbers of a chain of statements were not sent to the collector, and no statement says that they were never signed.",
            "See on the node whether they wait in its spool or were refused (`testimony spool`); else somebody keeps them back.";
        HOST_SILENT: "The collector has kept no statement of this host for longer than the time after which it is told.",
            "See whether its agent runs and reaches the collector; a host that is gone for good is told once.";
        IMAGE_NOT_VERIFIED: "A container ran an image, and nothing says that anybody verified it.",
            "Verify the image by its digest; nodes of this version verify none.";
        COLLECTOR_KILLED: "The collector ended without being stopped: refusals of its last second may not have been told.",
            "See why it ended; statements that it had receipted are there, and all others are sent again.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_form_and_stands_once() {
        for code in ALL {
            assert!(is_code(code.name), "{}", code.name);
            assert_eq!(ALL.iter().filter(|other| other.name == code.name).count(), 1, "{}", code.name);
            assert_eq!(find(code.name), Some(code));
            assert!(code.meaning.ends_with('.') && code.action.ends_with('.'), "{}", code.name);
        }
    }

    #[test]
    fn a_code_of_65_bytes_is_none() {
        assert!(is_code(&"A".repeat(CODE_BYTES_MAX)));
        assert!(!is_code(&"A".repeat(CODE_BYTES_MAX + 1)));
    }

    #[test]
    fn what_is_no_code() {
        for text in ["", "lower", "A B", "A\n", "Ä", "A-B", "\u{1b}[2J"] {
            assert!(!is_code(text), "{text:?}");
            assert_eq!(find(text), None);
        }
    }

    #[test]
    fn notices_reasons_and_refusals_do_not_end_completeness() {
        assert!(!find(OUTSIDE_WRITE).unwrap().ends_completeness());
        assert!(!find(GONE).unwrap().ends_completeness());
        assert!(find(IO_URING_USED).unwrap().ends_completeness());
        assert!(find(LOST_EVENTS).unwrap().ends_completeness());
    }
}
