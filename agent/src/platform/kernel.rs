//! Facts of the kernel and the machine that stand from the boot on. What cannot be read is not there.

use std::{fs, path::Path};

use proto::evidence::Platform;

/// Parameters of the kernel that are told, with their values: those that weaken it or say what guards it. Others may hold
/// secrets, and so would a digest of them all, to whoever tries the few that are likely.
const PARAMETERS: [&str; 31] = [
    "amd_iommu",
    "apparmor",
    "audit",
    "bdev_allow_write_mounted",
    "clocksource",
    "debugfs",
    "efi",
    "enforcing",
    "ima_appraise",
    "ima_policy",
    "init",
    "init_on_alloc",
    "init_on_free",
    "intel_iommu",
    "iommu",
    "kexec_load_disabled",
    "lockdown",
    "lsm",
    "mitigations",
    "module.sig_enforce",
    "nokaslr",
    "nomodule",
    "nosmap",
    "nosmep",
    "pti",
    "rdinit",
    "security",
    "selinux",
    "slab_nomerge",
    "tsc",
    "vsyscall",
];
/// Bytes of a parameter that are told.
const PARAMETER_BYTES_MAX: usize = 256;
/// Of the variable that says whether the firmware starts signed code only; its vendor's id is the standard's.
const SECURE_BOOT: &str = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// All of them; the rest of a platform is left as it is by default.
pub(super) fn facts() -> Platform {
    let uname = rustix::system::uname();
    Platform {
        kernel_release: uname.release().to_string_lossy().into_owned(),
        machine: uname.machine().to_string_lossy().into_owned(),
        kernel_version: Some(uname.version().to_string_lossy().into_owned()),
        kernel_build_id: fs::read("/sys/kernel/notes").ok().and_then(|notes| build_id(&notes)),
        command_line: fs::read("/proc/cmdline").map(|line| parameters(&line)).unwrap_or_default(),
        security_modules: super::line(Path::new("/sys/kernel/security/lsm")),
        secure_boot: fs::read(SECURE_BOOT).ok().and_then(|variable| secure_boot(&variable)),
        module_signatures: super::line(Path::new("/sys/module/module/parameters/sig_enforce")).map(|said| said == "Y"),
        hypervisor: hypervisor(),
        ..Platform::default()
    }
}

/// The note of type 3 of "GNU": notes have the sizes of their name and description, their type, then both at multiples of 4.
fn build_id(notes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = notes;
    loop {
        let word = |at: usize| rest.as_chunks::<4>().0.get(at).map(|bytes| u32::from_ne_bytes(*bytes) as usize);
        let (name_bytes, bytes, kind) = (word(0)?, word(1)?, word(2)?);
        let begin = 12 + name_bytes.next_multiple_of(4);
        let description = rest.get(begin..begin + bytes)?;
        if kind == 3 && rest.get(12..12 + name_bytes) == Some(b"GNU\0") {
            return Some(description.to_vec());
        }
        rest = rest.get(begin + bytes.next_multiple_of(4)..)?;
    }
}

/// Those that are told. What follows `--` is for the first program.
fn parameters(line: &[u8]) -> Vec<Vec<u8>> {
    let words = line.split(u8::is_ascii_whitespace).take_while(|word| *word != b"--");
    let told = words.filter(|word| {
        let name = word.split(|byte| *byte == b'=').next().unwrap_or_default();
        PARAMETERS.iter().any(|known| known.as_bytes() == name)
    });
    told.map(|word| word.get(..PARAMETER_BYTES_MAX).unwrap_or(word).to_vec()).collect()
}

/// A variable has four bytes of attributes before its own.
fn secure_boot(variable: &[u8]) -> Option<bool> {
    match variable.get(4..)? {
        [0] => Some(false),
        [1] => Some(true),
        _ => None,
    }
}

/// As the processor names it.
#[cfg(target_arch = "x86_64")]
fn hypervisor() -> Option<String> {
    use std::arch::x86_64::__cpuid;
    /// Set under a hypervisor, by its own word.
    const UNDER_HYPERVISOR: u32 = 1 << 31;
    if __cpuid(1).ecx & UNDER_HYPERVISOR == 0 {
        return Some("none".to_owned());
    }
    let leaf = __cpuid(0x4000_0000);
    let name: Vec<u8> = [leaf.ebx, leaf.ecx, leaf.edx].into_iter().flat_map(u32::to_le_bytes).collect();
    Some(String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned())
}

#[cfg(not(target_arch = "x86_64"))]
fn hypervisor() -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, description: &[u8]) -> Vec<u8> {
        let sizes = [name.len(), description.len()].map(|size| u32::try_from(size).unwrap());
        let mut note: Vec<u8> = sizes.into_iter().chain([kind]).flat_map(u32::to_ne_bytes).collect();
        for part in [name, description] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn the_build_id_is_found_behind_other_notes_and_nothing_is_made_of_what_is_cut() {
        let notes =
            [note(b"Linux\0", 3, b"version"), note(b"GNU\0", 1, b"1234"), note(b"GNU\0", 3, b"build id")].concat();
        assert_eq!(build_id(&notes).as_deref(), Some(&b"build id"[..]));
        for bytes in 0..notes.len() {
            assert_eq!(build_id(&notes[..bytes]), None, "{bytes} bytes");
        }
        assert_eq!(build_id(&[0xff; 64]), None);
    }

    #[test]
    fn of_the_command_line_only_what_is_listed_is_told() {
        let line = b"quiet lsm=lockdown,bpf secret=654321 nokaslr lockdown-x=1 root=UUID=1 -- init=/x\n";
        assert_eq!(parameters(line), [b"lsm=lockdown,bpf".to_vec(), b"nokaslr".to_vec()]);
        assert_eq!(parameters(&[b"init=", &[b'x'; 999][..]].concat())[0].len(), PARAMETER_BYTES_MAX);
    }

    #[test]
    fn secure_boot_is_on_off_or_not_known() {
        let of = |value: &[u8]| secure_boot(&[&[6, 0, 0, 0], value].concat());
        assert_eq!((of(&[1]), of(&[0])), (Some(true), Some(false)));
        assert_eq!((of(&[]), of(&[2]), of(&[1, 0]), secure_boot(&[6, 0])), (None, None, None, None));
    }

    #[test]
    fn facts_of_this_kernel_are_its_own() {
        let facts = facts();
        assert!(fs::read_to_string("/proc/version").unwrap().contains(&facts.kernel_version.unwrap()));
        assert_eq!(facts.kernel_build_id.map(|id| id.len()), Some(20));
        assert!(facts.hypervisor.is_none_or(|name| !name.is_empty()));
    }
}
