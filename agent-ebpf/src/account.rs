//! Numbers, accounts and records: a number is taken before there is a place in the ring, so that a loss leaves a trace.

use agent_ebpf::{Account, Attention, CANARY, Header, Member, flag, hook, kind};
use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns, bpf_ringbuf_output, bpf_ringbuf_query},
};

use crate::{
    atomic,
    globals::{ACCOUNTS, CURSOR_MASK, RING, SCRATCH, SCRATCH_PER_CPU, Scratch, cpus, ring_wake_bytes},
    kernel::kernel_unknown,
    member,
};

/// A number taken for an event: it ends as delivered, coalesced or lost.
#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    account: *mut Account,
    pub(crate) number: u64,
    pub(crate) serial: u64,
    pub(crate) slot: u32,
    pub(crate) epoch: u32,
    // Small: the stack of a chain of calls has 512 bytes.
    cpu: u16,
    hook: u16,
    /// See [`Ticket::begin`]; in units of 1024 ns, 0 before.
    began: u32,
}

#[inline(always)]
fn add(counter: *mut u64, by: u64) -> u64 {
    // SAFETY: a field of a map value; 8-byte aligned.
    unsafe { atomic::fetch_add(counter, by) }
}

/// The next number of (slot, epoch, CPU, hook); none where the session no longer takes events.
#[inline(always)]
pub(crate) fn take(member: &Member, hook: u16) -> Option<Ticket> {
    let session = member::session(member)?;
    // SAFETY: a pointer into the map's value; volatile, since user space flips it.
    let epoch = unsafe { core::ptr::read_volatile(&raw const (*session).epoch) };
    // SAFETY: no argument.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let row = ((member.slot * 2 + (epoch & 1)) * cpus() + cpu) * u32::from(hook::COUNT) + u32::from(hook);
    let account = ACCOUNTS.get_ptr_mut(row)?;
    // SAFETY: a pointer into the map's value.
    let number = add(unsafe { &raw mut (*account).attempted }, 1);
    Some(Ticket { account, number, serial: member.serial, slot: member.slot, epoch, cpu: cpu as u16, hook, began: 0 })
}

impl Ticket {
    /// To be called before the version of a file is read. What is read then may be older than the event's own time by as
    /// long as the program was interrupted, but not older than this.
    #[inline(always)]
    pub(crate) fn begin(&mut self) {
        // SAFETY: no argument.
        self.began = (unsafe { bpf_ktime_get_boot_ns() } >> 10) as u32;
    }

    #[inline(always)]
    pub(crate) fn cpu(&self) -> u32 {
        self.cpu.into()
    }

    #[inline(always)]
    pub(crate) fn hook(&self) -> u32 {
        self.hook.into()
    }

    /// The event repeats one that was sent.
    #[inline(always)]
    pub(crate) fn coalesced(&self) {
        // SAFETY: a pointer into the map's value.
        add(unsafe { &raw mut (*self.account).coalesced }, 1);
    }

    /// The event is not sent.
    #[inline(always)]
    pub(crate) fn lost(&self) {
        // SAFETY: a pointer into the map's value.
        add(unsafe { &raw mut (*self.account).lost }, 1);
    }

    #[inline(always)]
    fn truncated(&self) {
        // SAFETY: a pointer into the map's value.
        add(unsafe { &raw mut (*self.account).truncated }, 1);
    }

    fn header(&self, bytes: u32, kind: u16, flags: u32, tail_bytes: u32, pid: u32, tid: u32) -> Header {
        // SAFETY: no argument.
        let boottime_ns = unsafe { bpf_ktime_get_boot_ns() };
        // Rounded up.
        let took = ((boottime_ns >> 10) as u32).wrapping_sub(self.began).wrapping_add(1);
        Header {
            bytes,
            kind,
            hook: self.hook,
            slot: self.slot,
            epoch: self.epoch,
            cpu: self.cpu(),
            flags,
            number: self.number,
            boottime_ns,
            pid,
            tid,
            serial: self.serial,
            tail_bytes,
            took: if self.began == 0 { u32::MAX } else { took },
        }
    }
}

/// A header and a fixed part, for records without a tail.
#[repr(C)]
struct Small<T> {
    header: Header,
    body: T,
}

/// Sends a record without a tail; false if the ring has no room (counted).
#[inline(always)]
pub(crate) fn send<T>(ticket: &Ticket, kind: u16, pid: u32, tid: u32, body: T) -> bool {
    let bytes = size_of::<Small<T>>() as u32;
    let record = Small { header: ticket.header(bytes, kind, 0, 0, pid, tid), body };
    output(ticket, (&raw const record).cast(), u64::from(bytes))
}

#[inline(always)]
fn output(ticket: &Ticket, data: *const u8, bytes: u64) -> bool {
    let ring = (&raw const RING).cast_mut().cast();
    // SAFETY: the ring map and `bytes` readable bytes, which the verifier checks.
    let sent = unsafe {
        let waiting = bpf_ringbuf_query(ring, u64::from(BPF_RB_AVAIL_DATA));
        let wake = if waiting > ring_wake_bytes() { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
        bpf_ringbuf_output(ring, data.cast_mut().cast(), bytes, u64::from(wake)) == 0
    };
    if !sent {
        ticket.lost();
    }
    sent
}

/// A record under construction in a scratch buffer.
pub(crate) struct Record {
    pub(crate) scratch: *mut Scratch,
    /// Where the next tail byte goes, from the record's start.
    pub(crate) at: u32,
    pub(crate) flags: u32,
    fixed: u32,
    /// Of the scratch buffer.
    pub(crate) index: u32,
}

/// Takes a scratch buffer of this CPU; where all are busy (hooks within hooks), the event is counted as lost.
#[inline(always)]
pub(crate) fn begin<T>(ticket: &Ticket) -> Option<Record> {
    let first = ticket.cpu() * SCRATCH_PER_CPU;
    let fixed = (size_of::<Header>() + size_of::<T>()) as u32;
    let mut index = 0;
    while index < SCRATCH_PER_CPU {
        if let Some(scratch) = SCRATCH.get_ptr_mut(first + index) {
            // SAFETY: a field of a map value; 8-byte aligned.
            let busy = unsafe { atomic::swap(&raw mut (*scratch).busy, 1) };
            if busy == 0 {
                let at = kernel_unknown(u64::from(fixed)) as u32;
                return Some(Record { scratch, at, flags: 0, fixed, index: first + index });
            }
        }
        index += 1;
    }
    ticket.lost();
    None
}

impl Record {
    /// The fixed part, to be filled in place.
    #[inline(always)]
    pub(crate) fn body<T>(&mut self) -> *mut T {
        // SAFETY: header and every fixed part lie below the scratch's size.
        unsafe { (&raw mut (*self.scratch).bytes).cast::<u8>().add(size_of::<Header>()).cast() }
    }

    /// Where the tail goes on: always inside the scratch, one string below its end.
    #[inline(always)]
    pub(crate) fn cursor(&self) -> *mut u8 {
        // SAFETY: the mask keeps the cursor within the buffer.
        unsafe { (&raw mut (*self.scratch).bytes).cast::<u8>().add(self.bounded() as usize) }
    }

    /// The cursor, masked where the verifier sees it: read as volatile, or the compiler drops a mask that it knows to be
    /// of no effect.
    #[inline(always)]
    fn bounded(&self) -> u32 {
        // SAFETY: a field.
        unsafe { core::ptr::read_volatile(&raw const self.at) & CURSOR_MASK }
    }

    /// Gives the scratch back: the event repeats another.
    #[inline(always)]
    pub(crate) fn drop_unsent(self) {
        // SAFETY: a field of a map value; 8-byte aligned.
        unsafe { core::ptr::write_volatile(&raw mut (*self.scratch).busy, 0) };
    }

    /// Sends the record and gives the scratch back; false if the ring has no room (counted).
    #[inline(always)]
    pub(crate) fn finish(self, ticket: &Ticket, kind: u16, pid: u32, tid: u32) -> bool {
        let bytes = self.bounded();
        let header = ticket.header(bytes, kind, self.flags, bytes.wrapping_sub(self.fixed), pid, tid);
        // SAFETY: the header lies at the start of the scratch.
        let data = unsafe {
            let data = (&raw mut (*self.scratch).bytes).cast::<u8>();
            data.cast::<Header>().write(header);
            data
        };
        if self.flags & flag::TRUNCATIONS != 0 {
            ticket.truncated();
        }
        let sent = output(ticket, data, u64::from(bytes));
        // SAFETY: a field of a map value; 8-byte aligned.
        unsafe { core::ptr::write_volatile(&raw mut (*self.scratch).busy, 0) };
        sent
    }
}

/// Reports an act that limits what can be claimed, once a session for each code.
#[inline(always)]
pub(crate) fn attend(member: &Member, code: u32, detail: u64) {
    account_attend(member.serial, member.slot, code, detail);
}

/// Global, by its linkage: the verifier looks at a global function once, at another one at each call. Such a function is
/// handed numbers only, and gives one back; a pointer that the verifier knows by its type is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn account_attend(serial: u64, slot: u32, code: u32, detail: u64) -> u32 {
    // What a known act meets is the session's matter: it is told once, and no part of the acts.
    let member = &Member::of(serial & !CANARY, slot);
    let Some(session) = member::session(member) else { return 0 };
    let bit = 1u32 << (code & 31);
    // SAFETY: a field of a map value. A lost update sends the event twice, which is harmless.
    unsafe {
        if (*session).reported & bit != 0 {
            return 0;
        }
        (*session).reported |= bit;
    }
    let Some(ticket) = take(member, hook::ATTENTION) else { return 0 };
    let (pid, tid) = member::current_ids();
    u32::from(send(&ticket, kind::ATTENTION, pid, tid, Attention { code, reserved: 0, detail }))
}
