//! Who runs a workload: nobody, twice, and each of the tracers.

/// A way to run a workload. Bare runs twice in each round: the two against each other show the noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Bare,
    BareAgain,
    Testimony,
    Strace,
    Bpftrace,
}

impl Subject {
    pub(super) fn name(self) -> &'static str {
        match self {
            Subject::Bare => "bare",
            Subject::BareAgain => "bare again",
            Subject::Testimony => "testimony",
            Subject::Strace => "strace -f --seccomp-bpf",
            Subject::Bpftrace => "bpftrace (opens, execs)",
        }
    }
}

/// What strace is asked for: what Testimony observes.
pub(super) const STRACE_CALLS: &str = "trace=open,openat,openat2,creat,execve,execveat,connect,bind,accept,accept4,\
                                       sendto,sendmsg,rename,renameat,renameat2,link,linkat,unlink,unlinkat";

/// Prints each open and each exec of the whole host. Its events need tracefs, which is mounted for it alone where it is
/// not mounted.
pub(super) const BPFTRACE: &str = r#"mountpoint -q /sys/kernel/tracing || mount -t tracefs nodev /sys/kernel/tracing
exec bpftrace -B line -o "$1" -e '
tracepoint:syscalls:sys_enter_open, tracepoint:syscalls:sys_enter_openat, tracepoint:syscalls:sys_enter_openat2 {
    printf("open %d %s %s\n", pid, comm, str(args->filename)); }
tracepoint:syscalls:sys_enter_execve, tracepoint:syscalls:sys_enter_execveat {
    printf("exec %d %s %s\n", pid, comm, str(args->filename)); }'"#;
