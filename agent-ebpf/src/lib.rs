//! The ABI between the kernel programs and user space: integers and byte arrays only, sizes asserted, no padding.
//!
//! A record in the ring is a [`Header`], then the fixed part of its kind, then the tail: `tail_bytes` bytes of sections,
//! each `u16 length ++ bytes`. A path section holds the components from the leaf to the root of the mount namespace, each
//! `u8 length ++ bytes`; the kernel side never formats text.
#![no_std]
#![forbid(unsafe_code)]

mod abi;

pub use abi::{call, codes::*, offsets::*, records::*, tables::*};

/// Words in the table CALLS.
pub const CALLS: usize = 512;
/// Bytes a record's tail may have: sections are cut at this limit, and the cut is counted.
pub const TAIL_BYTES_MAX: usize = 28 * 1024;
/// Bytes of argv in one [`Args`] record.
pub const ARGS_PART_BYTES: usize = 4096;
/// Parts of argv: the kernel's own limit is 2 MiB with the environment.
pub const ARGS_PARTS_MAX: u32 = 512;
/// Components a path may have.
pub const PATH_COMPONENTS_MAX: u32 = 4096;
/// Bytes of a DNS message that are taken; the rest is left out, and told as such. What resolvers offer to take by UDP.
pub const DNS_BYTES_MAX: usize = 1232;
/// Slots for concurrent sessions under one loader.
pub const SLOTS_MAX: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_survives_its_packing() {
        let call = call::Call {
            class: 2,
            hook: 23,
            operation: 8,
            from_directory: 0,
            from_name: 1,
            to_directory: 2,
            to_name: 3,
            flags: 4,
            flag_bit: 9,
            flagged_operation: 5,
        };
        assert_eq!(call::Call::unpack(call.pack()), call);
    }

    #[test]
    fn offsets_and_their_paths_are_one_list() {
        assert_eq!(Offsets::PATHS.len() * 4, size_of::<Offsets>());
        let values = [7; Offsets::PATHS.len()];
        assert!(Offsets::from_slice(&values).is_some());
        assert!(Offsets::from_slice(&values[1..]).is_none());
    }
}
