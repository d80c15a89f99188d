//! What a file system's magic number allows: whether its files are opened at all, and how high their class can be.
//!
//! The lists are of what may be opened, never of what may not: a file system nobody has heard of is left alone.

use super::reason::Reason;

/// What is known of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// ext2/3/4 and XFS: tested; `s_dev` and inode number name a file.
    Tested,
    /// Tested; an inode number names a file only within its subvolume, and `st_dev` is the subvolume's.
    Btrfs,
    /// tmpfs and ramfs: `s_dev` and inode number name a file; stores through a mapping move no ctime.
    Memory,
    /// The real file is another one.
    Overlay,
    /// Local, not tested.
    Untested,
    /// Reached by a network.
    Network,
    /// Answered by a process.
    Fuse,
    /// Made by the kernel at each read.
    Pseudo,
    /// Not on any list.
    Unknown,
}

const TESTED: &[u32] = &[0xEF53, 0x5846_5342];
const BTRFS: u32 = 0x9123_683E;
const MEMORY: &[u32] = &[0x0102_1994, 0x8584_58F6];
const OVERLAY: u32 = 0x794C_7630;
const FUSE: u32 = 0x6573_5546;
/// squashfs, erofs, f2fs, ISO 9660, UDF, cramfs, romfs, JFS, NILFS, ZFS, bcachefs, vfat, exFAT, NTFS3, minix, ecryptfs not.
const UNTESTED: &[u32] = &[
    0x7371_7368,
    0xE0F5_E1E2,
    0xF2F5_2010,
    0x9660,
    0x1501_3346,
    0x28CD_3D45,
    0x7275,
    0x3153_464A,
    0x3434,
    0x2FC1_2FC1,
    0xCA45_1A4E,
    0x4D44,
    0x2011_BAB0,
    0x7366_746E,
    0x137F,
    0x138F,
    0x2468,
    0x2478,
    0x4D5A,
];
/// NFS, SMB, CIFS, SMB2, 9P, Ceph, AFS (two), Coda, Lustre, GFS2, OCFS2, OrangeFS, GPFS, BeeGFS, vboxsf, autofs.
const NETWORK: &[u32] = &[
    0x6969,
    0x517B,
    0xFF53_4D42,
    0xFE53_4D42,
    0x0102_1997,
    0x00C3_6400,
    0x5346_414F,
    0x6B41_4653,
    0x7375_7245,
    0x0BD0_0BD0,
    0x0116_1970,
    0x7461_636F,
    0x2003_0528,
    0x4750_4653,
    0x1983_0326,
    0x786F_4256,
    0x0187,
];
/// proc, sysfs, cgroup (two), debugfs, tracefs, bpf, devpts, securityfs, selinuxfs, smackfs, pstore, efivarfs, configfs,
/// mqueue, hugetlbfs, binfmt_misc, nsfs, pipefs, sockfs, anon_inode, resctrl, rpc_pipefs, nfsd, xenfs, binderfs, secretmem,
/// pidfs, fusectl, apparmorfs, dma-buf, guest_memfd.
const PSEUDO: &[u32] = &[
    0x9FA0,
    0x6265_6572,
    0x0027_E0EB,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0xCAFE_4A11,
    0x1CD1,
    0x7363_6673,
    0xF97C_FF8C,
    0x4341_5D53,
    0x6165_676C,
    0xDE5E_81E4,
    0x6265_6570,
    0x1980_0202,
    0x9584_58F6,
    0x4249_4E4D,
    0x6E73_6673,
    0x5049_5045,
    0x534F_434B,
    0x0904_1934,
    0x0765_5821,
    0x6759_6969,
    0x6E66_7364,
    0xABBA_1974,
    0x6C6F_6F70,
    0x5345_434D,
    0x5049_4446,
    0x6573_5543,
    0x5A3C_69F0,
    0x444D_4142,
    0x474D_454D,
];

impl Kind {
    /// The kind of a superblock's magic number.
    pub(super) fn of(magic: u32) -> Self {
        match magic {
            BTRFS => Self::Btrfs,
            OVERLAY => Self::Overlay,
            FUSE => Self::Fuse,
            _ if TESTED.contains(&magic) => Self::Tested,
            _ if MEMORY.contains(&magic) => Self::Memory,
            _ if UNTESTED.contains(&magic) => Self::Untested,
            _ if NETWORK.contains(&magic) => Self::Network,
            _ if PSEUDO.contains(&magic) => Self::Pseudo,
            _ => Self::Unknown,
        }
    }

    /// Why files of this kind are never opened, if they are not.
    pub(super) fn refusal(self) -> Option<Reason> {
        match self {
            Self::Network => Some(Reason::NetworkFilesystem),
            Self::Fuse => Some(Reason::FuseFilesystem),
            Self::Pseudo => Some(Reason::PseudoFile),
            Self::Unknown => Some(Reason::UnknownFilesystem),
            Self::Tested | Self::Btrfs | Self::Memory | Self::Overlay | Self::Untested => None,
        }
    }

    /// What stands between files of this kind and `stable`, if anything does.
    pub(super) fn ceiling(self) -> Option<Reason> {
        match self {
            Self::Tested | Self::Btrfs => None,
            Self::Memory => Some(Reason::TmpfsShared),
            Self::Overlay => Some(Reason::OverlayUnresolved),
            _ => Some(Reason::UntestedFilesystem),
        }
    }

    /// Whether `s_dev` and inode number name one file, and `st_dev` is `s_dev`. Where not, a file is known by its path
    /// too, so that two files are never taken for one.
    pub(super) fn inode_is_identity(self) -> bool {
        matches!(self, Self::Tested | Self::Memory)
    }

    /// Whether files of this kind that are under fs-verity are known by number and generation. On btrfs two subvolumes may
    /// have files with the same of both.
    pub(super) fn keeps_verity(self) -> bool {
        self == Self::Tested
    }

    /// Whether every writer of a file is seen at the file's own (device, inode): on an overlay one may write below it.
    pub(super) fn shows_writers(self) -> bool {
        matches!(self, Self::Tested | Self::Memory | Self::Btrfs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tested_filesystems_have_no_ceiling() {
        assert_eq!(Kind::of(0xEF53).ceiling(), None);
        assert_eq!(Kind::of(0x5846_5342).ceiling(), None);
        assert_eq!(Kind::of(0x9123_683E).ceiling(), None);
        assert_eq!(Kind::of(0x0102_1994).ceiling(), Some(Reason::TmpfsShared));
        assert_eq!(Kind::of(0x794C_7630).ceiling(), Some(Reason::OverlayUnresolved));
        assert_eq!(Kind::of(0x7371_7368).ceiling(), Some(Reason::UntestedFilesystem));
    }

    #[test]
    fn what_can_block_is_never_opened() {
        for (magic, reason) in [
            (0x6969, Reason::NetworkFilesystem),
            (0x0102_1997, Reason::NetworkFilesystem),
            (0xFF53_4D42, Reason::NetworkFilesystem),
            (0x6573_5546, Reason::FuseFilesystem),
            (0x9FA0, Reason::PseudoFile),
            (0x6265_6572, Reason::PseudoFile),
            (0x6367_7270, Reason::PseudoFile),
            (0, Reason::UnknownFilesystem),
            (0xDEAD_BEEF, Reason::UnknownFilesystem),
        ] {
            assert_eq!(Kind::of(magic).refusal(), Some(reason), "{magic:#x}");
        }
    }

    #[test]
    fn no_magic_stands_on_two_lists() {
        let mut all: Vec<u32> = [TESTED, MEMORY, UNTESTED, NETWORK, PSEUDO, &[BTRFS, OVERLAY, FUSE]].concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
