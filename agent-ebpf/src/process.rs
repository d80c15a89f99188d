//! Processes: fork, exec with argv and credentials, exit with status and times.

use agent_ebpf::{ARGS_PART_BYTES, ARGS_PARTS_MAX, Args, Exec, Exit, Fork, Member, attention, flag, hook, kind};
use aya_ebpf::{
    cty::c_void,
    helpers::{bpf_get_current_task_btf, bpf_loop, bpf_probe_read_user_buf, generated},
};

use crate::{
    account::{self, Ticket},
    cgroup, file,
    globals::offset,
    ima,
    kernel::{current, process_start, read},
    member, path,
};

/// Pairs in `saved_auxv` that are looked at; the kernel has room for fewer.
const AUXV_PAIRS_MAX: usize = 32;
/// No address of a file: there is one, and it is not known.
pub(crate) const UNKNOWN: u64 = u64::MAX;

/// `sched_process_fork`: a child of a member is a member; a child put into a watched cgroup becomes one.
#[inline(always)]
pub(crate) fn fork(parent: u64, child: u64) {
    let child_pid: u32 = read(child, offset!(task_tgid));
    let parent_pid: u32 = read(parent, offset!(task_tgid));
    if child_pid == parent_pid {
        if let Some(member) = member::of(parent_pid) {
            let tid = read(child, offset!(task_pid));
            if !member::has_thread(parent_pid, tid) {
                account::attend(&member, attention::MEMBERS_FULL, u64::from(tid));
            }
        }
        return;
    }
    let start: u64 = process_start(child);
    if member::of(child_pid).is_some_and(|told| told.start_ns == start) {
        return;
    }
    let Some(mut member) = member::of(parent_pid) else {
        cgroup::forked_into(parent, child, child_pid, start);
        return;
    };
    let Some(ticket) = account::take(&member, hook::FORK) else { return };
    member.start_ns = start;
    if !member::join(child_pid, &member) {
        account::attend(&member, attention::MEMBERS_FULL, u64::from(child_pid));
    }
    let (pid, tid) = member::current_ids();
    account::send(&ticket, kind::FORK, pid, tid, Fork { child_pid, reserved: 0, child_start_ns: start });
    cgroup::forked_into(parent, child, child_pid, start);
}

/// `sched_process_exit`: the last thread of a member ended.
#[inline(always)]
pub(crate) fn exit(task: u64) {
    let (pid, tid) = member::current_ids();
    if tid != pid {
        member::lost_thread(tid);
    }
    let Some(member) = member::of(pid) else { return };
    let signal: u64 = read(task, offset!(task_signal));
    let live: i32 = read(signal, offset!(signal_live));
    // Two threads may both see zero; only one of them finds the entry to remove.
    if live != 0 || !member::leave(pid) {
        return;
    }
    let Some(ticket) = account::take(&member, hook::EXIT) else { return };
    const SIGNAL_GROUP_EXIT: u32 = 4;
    let group: u32 = read(signal, offset!(signal_flags));
    let status: u32 = if group & SIGNAL_GROUP_EXIT != 0 {
        read(signal, offset!(signal_exit_code))
    } else {
        read(task, offset!(task_exit_code))
    };
    let body = Exit {
        status: status & 0xffff,
        reserved: 0,
        utime_ns: read::<u64>(signal, offset!(signal_utime)) + read::<u64>(task, offset!(task_utime)),
        stime_ns: read::<u64>(signal, offset!(signal_stime)) + read::<u64>(task, offset!(task_stime)),
        max_rss_bytes: read::<u64>(signal, offset!(signal_maxrss)) * 4096,
        start_ns: process_start(task),
    };
    account::send(&ticket, kind::EXIT, pid, tid, body);
}

/// `sched_process_exec`: the new program is in place and has not run yet.
#[inline(always)]
pub(crate) fn exec(task: u64, old_tid: u32, bprm: u64) {
    let (pid, tid) = member::current_ids();
    let Some(member) = member::of(pid) else { return };
    if old_tid != pid {
        member::lost_thread(old_tid);
    }
    if !member::executes(pid, read::<u64>(task, offset!(task_exec_id)) as u32) {
        return;
    }
    let Some(mut ticket) = account::take(&member, hook::EXEC) else { return };
    ticket.begin();
    let mm: u64 = read(task, offset!(task_mm));
    let start: u64 = read(mm, offset!(mm_arg_start));
    let end: u64 = read(mm, offset!(mm_arg_end));
    let bytes = end.wrapping_sub(start).min(u64::from(u32::MAX)) as u32;
    if told(&ticket, task, bprm, bytes) {
        arguments(&member, pid, tid, start, bytes);
    }
}

/// The dynamic loader of the program that just took the place of the running one: the kernel opened it itself, and no
/// call returns it. It is the file of the mapping where the program was told its loader lies: a `struct file`, 0 where
/// there is none, [`UNKNOWN`] where it could not be looked up. Global, as [`account::attend`] is.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn process_loader() -> u64 {
    let base = loader_base(read(current(), offset!(task_mm)));
    if base == 0 {
        return 0;
    }
    let mut file = 0_u64;
    // SAFETY: the callback is of the helper's type, and the context is a word of this frame.
    let found = unsafe {
        let context = (&raw mut file).cast::<c_void>();
        generated::bpf_find_vma(
            bpf_get_current_task_btf().cast(),
            base,
            mapped_file as *const () as *mut c_void,
            context,
            0,
        )
    };
    // SAFETY: a word of this frame; volatile, since the callback wrote it.
    let file = unsafe { core::ptr::read_volatile(&raw const file) };
    if found == 0 && file != 0 { file } else { UNKNOWN }
}

/// `AT_BASE` of what the kernel tells the new program; 0 for one without a loader.
#[inline(never)]
fn loader_base(mm: u64) -> u64 {
    const AT_NULL: u64 = 0;
    const AT_BASE: u64 = 7;
    let mut at = 0;
    while at < AUXV_PAIRS_MAX {
        let [key, value] = read::<[u64; 2]>(mm, offset!(mm_saved_auxv) + at * 16);
        if key == AT_BASE {
            return value;
        }
        if key == AT_NULL {
            break;
        }
        at += 1;
    }
    0
}

#[inline(never)]
extern "C" fn mapped_file(_task: u64, vma: u64, file: *mut u64) -> i64 {
    // SAFETY: the caller's, as bpf_find_vma hands it over.
    unsafe { file.write(read(vma, offset!(vma_file))) };
    0
}

#[inline(never)]
fn told(ticket: &Ticket, task: u64, bprm: u64, args_bytes: u32) -> bool {
    let (pid, tid) = member::current_ids();
    let Some(mut record) = account::begin::<Exec>(ticket) else { return false };
    let binary: u64 = read(bprm, offset!(bprm_file));
    let inode: u64 = read(binary, offset!(file_inode));
    let mnt: u64 = read(binary, offset!(file_mnt));
    let dentry: u64 = read(binary, offset!(file_dentry));
    let body = record.body::<Exec>();
    // SAFETY: the body lies in the scratch.
    unsafe {
        file::version(&raw mut (*body).binary, inode, mnt);
        credentials(body, task);
        (*body).args_bytes = args_bytes;
    }
    ima::take(body, inode, pid);
    if file::unlinked(dentry) {
        record.flags |= flag::DELETED;
    }
    path::append(&mut record, mnt, dentry);
    let filename: u64 = read(bprm, offset!(bprm_filename));
    path::append_kernel_str(&mut record, filename);
    let interp: u64 = read(bprm, offset!(bprm_interp));
    if interp == filename {
        path::append_nothing(&mut record);
    } else {
        path::append_kernel_str(&mut record, interp);
    }
    let fs: u64 = read(task, offset!(task_fs));
    path::append(&mut record, read(fs, offset!(fs_pwd_mnt)), read(fs, offset!(fs_pwd_dentry)));
    record.finish(ticket, kind::EXEC, pid, tid)
}

#[inline(always)]
unsafe fn credentials(body: *mut Exec, task: u64) {
    let cred: u64 = read(task, offset!(task_cred));
    let proxy: u64 = read(task, offset!(task_nsproxy));
    let namespace = |at: usize, inum: usize| u64::from(read::<u32>(read::<u64>(proxy, at), inum));
    // SAFETY: the caller's record.
    unsafe {
        (*body).uid = read(cred, offset!(cred_uid));
        (*body).gid = read(cred, offset!(cred_gid));
        (*body).euid = read(cred, offset!(cred_euid));
        (*body).egid = read(cred, offset!(cred_egid));
        (*body).cap_effective = read(cred, offset!(cred_cap_effective));
        (*body).user_ns = u64::from(read::<u32>(read::<u64>(cred, offset!(cred_user_ns)), offset!(user_ns_inum)));
        (*body).pid_ns = namespace(offset!(nsproxy_pid), offset!(pid_ns_inum));
        (*body).mnt_ns = namespace(offset!(nsproxy_mnt), offset!(mnt_ns_inum));
        (*body).net_ns = namespace(offset!(nsproxy_net), offset!(net_inum));
    }
}

/// What the parts of argv need, on the stack of the program that sends them.
#[repr(C)]
struct Parts {
    member: Member,
    start: u64,
    bytes: u32,
    pid: u32,
    tid: u32,
    reserved: u32,
}

/// Sends argv in parts, an event each: its pages are the new program's, which has not run yet.
#[inline(never)]
fn arguments(member: &Member, pid: u32, tid: u32, start: u64, bytes: u32) {
    let mut parts = Parts { member: *member, start, bytes, pid, tid, reserved: 0 };
    let count = (bytes as usize).div_ceil(ARGS_PART_BYTES) as u32;
    // SAFETY: the callback takes the context it is given.
    unsafe {
        bpf_loop(count.min(ARGS_PARTS_MAX), part as *const () as *mut c_void, (&raw mut parts).cast(), 0);
    }
}

#[inline(never)]
extern "C" fn part(index: u32, parts: *mut Parts) -> i64 {
    // SAFETY: the caller's, as bpf_loop hands it over.
    let parts = unsafe { &*parts };
    let member = parts.member;
    let Some(ticket) = account::take(&member, hook::EXEC) else { return 1 };
    let Some(mut record) = account::begin::<Args>(&ticket) else { return 0 };
    let offset = index * ARGS_PART_BYTES as u32;
    // SAFETY: the body lies in the scratch.
    unsafe { record.body::<Args>().write(Args { offset, reserved: 0 }) };
    let left = parts.bytes.wrapping_sub(offset);
    let bytes = if left < ARGS_PART_BYTES as u32 { left & 0xfff } else { ARGS_PART_BYTES as u32 };
    // SAFETY: a cursor is at least one part below the buffer's end; the helper checks the source.
    let copied = unsafe {
        record.cursor().cast::<u16>().write_unaligned(bytes as u16);
        record.at += 2;
        let buffer = core::slice::from_raw_parts_mut(record.cursor(), bytes as usize);
        bpf_probe_read_user_buf((parts.start + u64::from(offset)) as *const u8, buffer)
    };
    if copied.is_err() {
        record.flags |= flag::USER_FAULT;
    }
    record.at += bytes;
    record.finish(&ticket, kind::ARGS, parts.pid, parts.tid);
    0
}
