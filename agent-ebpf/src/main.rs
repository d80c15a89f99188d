//! The kernel programs: one function a hook, each a line that hands the kernel's arguments to the room that knows them.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "the only way to an atomic fetch-add on this target")]

mod account;
mod atomic;
mod cgroup;
mod file;
mod globals;
mod kernel;
mod member;
mod name;
mod net;
mod path;
mod process;
mod syscall;

use aya_ebpf::{
    macros::{btf_tracepoint, cgroup_sock_addr},
    programs::{BtfTracePointContext, SockAddrContext},
};

#[btf_tracepoint(function = "sched_process_fork")]
fn fork(ctx: BtfTracePointContext) -> i32 {
    process::fork(ctx.arg(0), ctx.arg(1));
    0
}

#[btf_tracepoint(function = "sched_process_exec")]
fn exec(ctx: BtfTracePointContext) -> i32 {
    process::exec(ctx.arg(0), ctx.arg(2));
    0
}

#[btf_tracepoint(function = "sched_process_exit")]
fn exit(ctx: BtfTracePointContext) -> i32 {
    process::exit(ctx.arg(0));
    0
}

#[btf_tracepoint(function = "sys_exit")]
fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    syscall::exit(ctx.arg(0), ctx.arg(1));
    0
}

#[btf_tracepoint(function = "inet_sock_set_state")]
fn sock_state(ctx: BtfTracePointContext) -> i32 {
    net::state(ctx.arg(0), ctx.arg(2));
    0
}

#[btf_tracepoint(function = "cgroup_attach_task")]
fn cgroup_attach(ctx: BtfTracePointContext) -> i32 {
    cgroup::attach(ctx.arg(0), ctx.arg(2));
    0
}

#[btf_tracepoint(function = "cgroup_mkdir")]
fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    cgroup::mkdir(ctx.arg(0));
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

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// Tracing programs and most helpers demand a licence that is compatible with the kernel's.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
