//! The object file of the kernel programs, and the one call in it that differs by kernel.
#![expect(unsafe_code, reason = "words seen as bytes")]

use agent_ebpf::CAST_CALL;
use sha2::{Digest, Sha256};

/// The kernel programs, built by `cargo xtask build-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("TESTIMONY_EBPF"));

/// Of the object file as it was built.
pub(super) fn sha256() -> [u8; 32] {
    Sha256::digest(OBJECT).into()
}

/// An instruction, as `struct bpf_insn` has it: opcode, registers, offset, immediate value.
const fn instruction(opcode: u8, registers: u8, immediate: u32) -> [u8; 8] {
    let [a, b, c, d] = immediate.to_le_bytes();
    [opcode, registers, 0, 0, a, b, c, d]
}

/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// `BPF_ALU64 | BPF_MOV | BPF_K`.
const MOVE: u8 = 0xb7;
/// `BPF_PSEUDO_KFUNC_CALL` where the source register stands.
const KERNEL_FUNCTION: u8 = 2 << 4;

/// The object file with its call linked to the running kernel. aya knows helpers only.
pub(super) struct Linked {
    /// At a multiple of 8, as the object's reader wants it.
    words: Vec<u64>,
}

impl Linked {
    /// With the number of the kernel's function; without one, nothing is left of the call: no program comes to it then.
    pub(super) fn with(function: Option<u32>) -> Self {
        let call = instruction(CALL, 0, CAST_CALL);
        let instead = match function {
            Some(number) => instruction(CALL, KERNEL_FUNCTION, number),
            None => instruction(MOVE, 0, 0),
        };
        let (instructions, rest) = OBJECT.as_chunks::<8>();
        let linked = instructions.iter().map(|word| if *word == call { instead } else { *word });
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        Self { words: linked.chain([last]).map(u64::from_ne_bytes).collect() }
    }

    /// The file, and up to 8 bytes that no header of it knows.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the words' own memory, borrowed as long; any byte is a value.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.words.len() * 8) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(bytes: &[u8], wanted: [u8; 8]) -> usize {
        bytes.as_chunks::<8>().0.iter().filter(|word| **word == wanted).count()
    }

    #[test]
    fn every_call_is_linked_and_nothing_else_is_changed() {
        let call = instruction(CALL, 0, CAST_CALL);
        let calls = count(OBJECT, call);
        assert!(calls > 0);
        let linked = Linked::with(Some(0x0001_2345));
        assert_eq!(count(linked.bytes(), call), 0);
        assert_eq!(count(linked.bytes(), [0x85, 0x20, 0, 0, 0x45, 0x23, 1, 0]), calls);
        let words = OBJECT.as_chunks::<8>().0.iter().zip(linked.bytes().as_chunks::<8>().0);
        assert!(words.filter(|(old, new)| old != new).all(|(old, _)| *old == call));
        assert!(linked.bytes().ends_with(&[0]) && linked.bytes().len() - OBJECT.len() <= 8);
        assert_eq!(count(Linked::with(None).bytes(), call), 0);
    }
}
