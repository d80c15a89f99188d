//! The ABI's structures as aya wants them.
#![expect(unsafe_code, reason = "aya takes map values by an unsafe marker trait")]

use aya::Pod;

/// Repeats of an event that the kernel side counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Folded {
    /// Hook of the event that stands for them.
    pub hook: u32,
    /// Its CPU.
    pub cpu: u32,
    /// Its number.
    pub number: u64,
    /// How many.
    pub count: u64,
}

/// A structure of the ABI: integers and byte arrays without padding, `agent_ebpf` asserts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub(super) struct Plain<T>(pub(super) T);

/// Structures that `agent_ebpf` asserts to be free of padding.
pub(super) trait Layout: Copy + 'static {}

impl Layout for agent_ebpf::Session {}
impl Layout for agent_ebpf::Member {}
impl Layout for agent_ebpf::Account {}
impl Layout for agent_ebpf::FoldKey {}
impl Layout for agent_ebpf::FoldValue {}

// SAFETY: a transparent wrapper around a structure without padding, of integers only.
unsafe impl<T: Layout> Pod for Plain<T> {}
