//! The kernel programs: one function a hook, each a line that hands the kernel's arguments to the room that knows them.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "the only way to an atomic fetch-add on this target")]

mod account;
mod act;
mod asked;
mod atomic;
mod cgroup;
mod dns;
mod file;
mod globals;
mod ima;
mod kernel;
mod member;
mod name;
mod net;
mod path;
mod process;
mod recent;
mod seat;
mod security;
mod syscall;
mod unix;
mod watch;

use agent_ebpf::{call::asked as by, hook, name_op, net_op};
use aya_ebpf::{
    EbpfContext as _,
    macros::{btf_tracepoint, cgroup_skb, cgroup_sock_addr, fentry, fexit, lsm},
    programs::{BtfTracePointContext, FEntryContext, FExitContext, LsmContext, SkBuffContext, SockAddrContext},
};

/// A tracepoint's program, and its spare. Where tracepoints can be preempted, the kernel skips a program that was preempted
/// on the same CPU: then its spare, which comes after it, finds the event untold. Each is a program of its own to the
/// kernel, and what they call tells nothing twice.
macro_rules! spared_tracepoint {
    ($name:ident, $spare:ident, $tracepoint:literal, |$ctx:ident| $handle:expr) => {
        #[btf_tracepoint(function = $tracepoint)]
        fn $name($ctx: BtfTracePointContext) -> i32 {
            $handle;
            0
        }

        #[btf_tracepoint(function = $tracepoint)]
        fn $spare($ctx: BtfTracePointContext) -> i32 {
            $handle;
            0
        }
    };
}

spared_tracepoint!(fork, fork_spare, "sched_process_fork", |ctx| process::fork(ctx.arg(0), ctx.arg(1)));
spared_tracepoint!(exec, exec_spare, "sched_process_exec", |ctx| process::exec(
    ctx.arg(0),
    ctx.arg::<i32>(1) as u32,
    ctx.arg(2)
));
spared_tracepoint!(exit, exit_spare, "sched_process_exit", |ctx| process::exit(ctx.arg(0)));
spared_tracepoint!(sock_state, sock_state_spare, "inet_sock_set_state", |ctx| net::state(ctx.arg(0), ctx.arg(2)));
spared_tracepoint!(cgroup_attach, cgroup_attach_spare, "cgroup_attach_task", |ctx| cgroup::attach(
    ctx.arg(0),
    ctx.arg(2)
));
spared_tracepoint!(cgroup_mkdir, cgroup_mkdir_spare, "cgroup_mkdir", |ctx| cgroup::mkdir(ctx.arg(0)));

#[btf_tracepoint(function = "sys_exit")]
fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    syscall::exit(ctx.arg(0), ctx.arg(1));
    0
}

#[cgroup_sock_addr(connect4)]
fn connect4(ctx: SockAddrContext) -> i32 {
    net::attempt4(&ctx, agent_ebpf::net_op::CONNECT_ATTEMPT, agent_ebpf::hook::CONNECT_ATTEMPT);
    1
}

#[cgroup_sock_addr(connect6)]
fn connect6(ctx: SockAddrContext) -> i32 {
    net::attempt6(&ctx, agent_ebpf::net_op::CONNECT_ATTEMPT, agent_ebpf::hook::CONNECT_ATTEMPT);
    1
}

#[cgroup_sock_addr(sendmsg4)]
fn sendmsg4(ctx: SockAddrContext) -> i32 {
    net::attempt4(&ctx, agent_ebpf::net_op::SEND, agent_ebpf::hook::SEND);
    1
}

#[cgroup_sock_addr(sendmsg6)]
fn sendmsg6(ctx: SockAddrContext) -> i32 {
    net::attempt6(&ctx, agent_ebpf::net_op::SEND, agent_ebpf::hook::SEND);
    1
}

/// Does nothing: what the others cost is measured beside it.
#[lsm(hook = "file_open")]
fn empty_file_open(ctx: LsmContext) -> i32 {
    ctx.arg(1)
}

/// As `empty_file_open`.
#[btf_tracepoint(function = "sys_exit")]
fn empty_sys_exit(_ctx: BtfTracePointContext) -> i32 {
    0
}

/// A packet that a socket of the host sends. It is let go in any case.
#[cgroup_skb(egress)]
fn dns_sent(ctx: SkBuffContext) -> i32 {
    dns::passed(ctx.skb.skb, net_op::DNS_SENT);
    1
}

/// A packet for a socket of the host.
#[cgroup_skb(ingress)]
fn dns_received(ctx: SkBuffContext) -> i32 {
    dns::passed(ctx.skb.skb, net_op::DNS_RECEIVED);
    1
}

/// A security hook as an LSM program. It never decides anything: it hands on what the program before it said.
macro_rules! lsm_hook {
    ($lsm:ident, $hook:literal, $returned:literal, |$ctx:ident| $handle:expr) => {
        #[lsm(hook = $hook)]
        fn $lsm($ctx: LsmContext) -> i32 {
            let before: i32 = $ctx.arg($returned);
            if before == 0 {
                $handle;
            }
            before
        }
    };
}

/// A security hook, as an LSM program and as an fentry program on the kernel's function of the same purpose.
macro_rules! security_hook {
    ($lsm:ident, $hook:literal, $fentry:ident, $function:literal, $returned:literal, |$ctx:ident| $handle:expr) => {
        lsm_hook!($lsm, $hook, $returned, |$ctx| $handle);

        #[fentry(function = $function)]
        fn $fentry($ctx: FEntryContext) -> i32 {
            $handle;
            0
        }
    };
}

security_hook!(lsm_file_open, "file_open", fentry_file_open, "security_file_open", 1, |ctx| security::file_open(
    ctx.arg(0)
));
security_hook!(lsm_rename, "path_rename", fentry_rename, "security_path_rename", 5, |ctx| security::renamed(
    ctx.arg(0),
    ctx.arg(1),
    ctx.arg(2),
    ctx.arg(3),
    ctx.arg(4)
));
security_hook!(lsm_link, "path_link", fentry_link, "security_path_link", 3, |ctx| security::linked(
    ctx.arg(0),
    ctx.arg(1),
    ctx.arg(2)
));
security_hook!(lsm_unlink, "path_unlink", fentry_unlink, "security_path_unlink", 2, |ctx| security::one(
    hook::UNLINK,
    name_op::UNLINK,
    ctx.arg(0),
    ctx.arg(1)
));
security_hook!(lsm_rmdir, "path_rmdir", fentry_rmdir, "security_path_rmdir", 2, |ctx| security::one(
    hook::UNLINK,
    name_op::RMDIR,
    ctx.arg(0),
    ctx.arg(1)
));
security_hook!(lsm_mkdir, "path_mkdir", fentry_mkdir, "security_path_mkdir", 3, |ctx| security::one(
    hook::MKDIR,
    name_op::MKDIR,
    ctx.arg(0),
    ctx.arg(1)
));
security_hook!(lsm_symlink, "path_symlink", fentry_symlink, "security_path_symlink", 3, |ctx| security::symlinked(
    ctx.arg(0),
    ctx.arg(1),
    ctx.arg(2)
));
security_hook!(lsm_truncate, "path_truncate", fentry_truncate, "security_path_truncate", 1, |ctx| {
    security::truncated(ctx.arg(0))
});
security_hook!(lsm_ftruncate, "file_truncate", fentry_ftruncate, "security_file_truncate", 1, |ctx| {
    security::file_truncated(ctx.arg(0))
});
security_hook!(lsm_connect, "socket_connect", fentry_connect, "security_socket_connect", 3, |ctx| security::socket(
    hook::CONNECT,
    net_op::CONNECT,
    ctx.arg(0),
    ctx.arg(1),
    ctx.arg(2)
));
security_hook!(lsm_bind, "socket_bind", fentry_bind, "security_socket_bind", 3, |ctx| security::socket(
    hook::BIND,
    net_op::BIND,
    ctx.arg(0),
    ctx.arg(1),
    ctx.arg(2)
));

security_hook!(
    lsm_unix_connect,
    "unix_stream_connect",
    fentry_unix_connect,
    "security_unix_stream_connect",
    3,
    |ctx| { unix::connects(ctx.arg(0), ctx.arg(1)) }
);
security_hook!(lsm_unix_send, "unix_may_send", fentry_unix_send, "security_unix_may_send", 2, |ctx| {
    unix::may_send(ctx.arg(0), ctx.arg(1))
});

/// The accepted connection's socket is handed to its new descriptor. This hook returns nothing.
#[lsm(hook = "sock_graft")]
fn lsm_accept(ctx: LsmContext) -> i32 {
    net::accepted(ctx.arg(0));
    0
}

#[fentry(function = "security_sock_graft")]
fn fentry_accept(ctx: FEntryContext) -> i32 {
    net::accepted(ctx.arg(0));
    0
}

// These have no fentry program: it would be skipped at times, at functions that are called so often.
lsm_hook!(lsm_capable, "capable", 4, |ctx| asked::privileged(ctx.arg(2)));
lsm_hook!(lsm_userns, "userns_create", 1, |ctx| asked::called(by::PRIVILEGE));
lsm_hook!(lsm_receive, "file_receive", 1, |ctx| asked::received(ctx.arg(0)));
lsm_hook!(lsm_access, "ptrace_access_check", 2, |ctx| asked::accessed(ctx.arg(0), ctx.arg(1)));
lsm_hook!(lsm_traceme, "ptrace_traceme", 1, |ctx| asked::called(by::ACCESS));
lsm_hook!(lsm_bpf, "bpf", 4, |ctx| asked::called(by::BPF));
lsm_hook!(lsm_mmap, "mmap_file", 4, |ctx| asked::mapped(ctx.as_ptr() as u64));
lsm_hook!(lsm_mprotect, "file_mprotect", 3, |ctx| asked::protected(ctx.arg(2)));
lsm_hook!(lsm_socket, "socket_create", 4, |ctx| asked::socket());
lsm_hook!(lsm_setuid, "task_fix_setuid", 3, |ctx| asked::called(by::CREDENTIALS));
lsm_hook!(lsm_setgid, "task_fix_setgid", 3, |ctx| asked::called(by::CREDENTIALS));
lsm_hook!(lsm_capset, "capset", 5, |ctx| asked::called(by::CREDENTIALS));
lsm_hook!(lsm_shm, "shm_alloc_security", 1, |ctx| asked::called(by::IPC));
lsm_hook!(lsm_sem, "sem_alloc_security", 1, |ctx| asked::called(by::IPC));
lsm_hook!(lsm_msg, "msg_queue_alloc_security", 1, |ctx| asked::called(by::IPC));
lsm_hook!(lsm_ipc, "ipc_permission", 2, |ctx| asked::called(by::IPC));
lsm_hook!(lsm_key, "key_permission", 3, |ctx| asked::called(by::KEY));
lsm_hook!(lsm_anonymous, "inode_init_security_anon", 3, |ctx| asked::called(by::ANONYMOUS));
lsm_hook!(lsm_perf, "perf_event_open", 1, |ctx| asked::called(by::PERFORMANCE));
lsm_hook!(lsm_ioctl, "file_ioctl", 3, |ctx| asked::called(by::CONTROL));

/// The new program's credentials are in place. This hook returns nothing.
#[lsm(hook = "bprm_committed_creds", sleepable)]
fn ima_exec(ctx: LsmContext) -> i32 {
    ima::committed(ctx.arg(0));
    0
}

/// A rename is over: paths told before may be others now.
#[fexit(function = "vfs_rename")]
fn fexit_rename(_ctx: FExitContext) -> i32 {
    file::renamed();
    0
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// Tracing programs and most helpers demand a licence that is compatible with the kernel's.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
