//! What IMA itself measured of a program at its exec, left by a sleepable program for the tracepoint of the same exec.
//!
//! Only a sleepable program may ask. It takes no number and sends nothing: it leaves a note, which the tracepoint takes a moment
//! later, in the same process. So the end of a session has to wait for the tracepoint alone, as it does for all others.

use agent_ebpf::{Exec, Measured};
use aya_ebpf::helpers::generated;

use crate::{
    globals::{IMA, TASKS, offset},
    kernel::{current, read},
    member,
};

/// include/uapi/linux/hash_info.h.
const HASH_ALGO_SHA256: i64 = 4;

/// `bprm_committed_creds`: the exec cannot fail any more, and IMA has measured its binary if it ever does.
#[inline(always)]
pub(crate) fn committed(bprm: *const u8) {
    let (pid, _) = member::current_ids();
    if TASKS.get_ptr(&pid).is_none() {
        return;
    }
    // Of an exec that nobody told.
    let _ = IMA.remove(&pid);
    // SAFETY: pointers that the verifier knows by their type; a load through a wrong one reads as 0.
    let inode = unsafe {
        let file = core::ptr::read_volatile(bprm.add(offset!(bprm_file)).cast::<*const u8>());
        core::ptr::read_volatile(file.add(offset!(file_inode)).cast::<*const u8>())
    };
    let mut note = Measured::default();
    // SAFETY: the inode is the binary's, which the exec holds; the helper writes into the note's own bytes.
    let algorithm =
        unsafe { generated::bpf_ima_inode_hash(inode.cast_mut().cast(), (&raw mut note.sha256).cast(), 32) };
    if algorithm != HASH_ALGO_SHA256 {
        return;
    }
    // IMA keeps what it measured while a writer stays open. Below 0 the kernel denies writing for the exec.
    if read::<i32>(inode as u64, offset!(inode_writers)) > 0 {
        return;
    }
    note.inode = inode as u64;
    note.exec_id = read::<u64>(current(), offset!(task_exec_id)) as u32;
    let _ = IMA.insert(&pid, &note, 0);
}

/// Takes what was left for this exec of this inode.
#[inline(never)]
pub(crate) fn take(out: *mut Exec, inode: u64, pid: u32) {
    // SAFETY: the caller's record; the note is freed by RCU, and set as a whole before its exec is told.
    unsafe {
        (*out).measured = 0;
        (*out).ima_sha256 = [0; 32];
        let Some(note) = IMA.get_ptr(&pid) else { return };
        let exec_id = read::<u64>(current(), offset!(task_exec_id)) as u32;
        if (*note).inode == inode && (*note).exec_id == exec_id {
            (*out).ima_sha256 = (*note).sha256;
            (*out).measured = 1;
        }
    }
    let _ = IMA.remove(&pid);
}
