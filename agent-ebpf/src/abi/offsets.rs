//! Where fields of kernel structures are, and how they are read together.

/// Offsets of kernel structures in bytes, from the running kernel's BTF; `u32::MAX` where the kernel has no such field.
macro_rules! offsets {
    ($($(#[$doc:meta])* $field:ident = $path:literal),* $(,)?) => {
        /// Offsets of kernel structures in bytes, from the running kernel's BTF.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Offsets { $($(#[$doc])* pub $field: u32),* }

        impl Offsets {
            /// Every field unknown.
            pub const UNKNOWN: Self = Self { $($field: u32::MAX),* };
            /// For each field the structure and member it is the offset of; alternatives for older kernels after `|`.
            pub const PATHS: &'static [&'static str] = &[$($path),*];

            /// From offsets in the order of [`Self::PATHS`].
            #[must_use]
            pub fn from_slice(values: &[u32]) -> Option<Self> {
                let mut values = values.iter().copied();
                let offsets = Self { $($field: values.next()?),* };
                values.next().is_none().then_some(offsets)
            }
        }
    };
}

offsets! {
    /// struct file.
    file_inode = "file.f_inode",
    /// struct file.
    file_mnt = "file.f_path.mnt",
    /// struct file.
    file_dentry = "file.f_path.dentry",
    /// struct file.
    file_mode = "file.f_mode",
    /// struct file.
    file_flags = "file.f_flags",
    /// struct file.
    file_private = "file.private_data",
    /// struct inode.
    inode_mode = "inode.i_mode",
    /// struct inode.
    inode_flags = "inode.i_flags",
    /// struct inode.
    inode_rdev = "inode.i_rdev",
    /// struct inode.
    inode_sb = "inode.i_sb",
    /// struct inode.
    inode_ino = "inode.i_ino",
    /// struct inode.
    inode_size = "inode.i_size",
    /// struct inode.
    inode_nlink = "inode.i_nlink",
    /// struct inode.
    inode_generation = "inode.i_generation",
    /// struct inode.
    inode_writers = "inode.i_writecount.counter",
    /// struct inode.
    inode_ctime_sec = "inode.i_ctime_sec|inode.__i_ctime.tv_sec|inode.i_ctime.tv_sec",
    /// struct inode.
    inode_ctime_nsec = "inode.i_ctime_nsec|inode.__i_ctime.tv_nsec|inode.i_ctime.tv_nsec",
    /// struct inode: of a pidfd, the `struct pid`, in newer kernels.
    inode_private = "inode.i_private",
    /// struct super_block.
    sb_dev = "super_block.s_dev",
    /// struct super_block.
    sb_magic = "super_block.s_magic",
    /// struct dentry.
    dentry_parent = "dentry.d_parent",
    /// struct dentry: hash and length, then the pointer.
    dentry_name = "dentry.d_name|dentry.__d_name",
    /// struct dentry.
    dentry_inode = "dentry.d_inode",
    /// struct dentry.
    dentry_hash_pprev = "dentry.d_hash.pprev",
    /// struct vfsmount.
    vfsmount_root = "vfsmount.mnt_root",
    /// struct mount.
    mount_mnt = "mount.mnt",
    /// struct mount.
    mount_parent = "mount.mnt_parent",
    /// struct mount.
    mount_mountpoint = "mount.mnt_mountpoint",
    /// struct mount.
    mount_ns = "mount.mnt_ns",
    /// struct mount.
    mount_id = "mount.mnt_id",
    /// struct mnt_namespace.
    mnt_ns_inum = "mnt_namespace.ns.inum",
    /// struct net.
    net_inum = "net.ns.inum",
    /// struct pid_namespace.
    pid_ns_inum = "pid_namespace.ns.inum",
    /// struct user_namespace.
    user_ns_inum = "user_namespace.ns.inum",
    /// struct task_struct.
    task_pid = "task_struct.pid",
    /// struct task_struct.
    task_tgid = "task_struct.tgid",
    /// struct task_struct.
    task_leader = "task_struct.group_leader",
    /// struct task_struct.
    task_start = "task_struct.start_boottime",
    /// struct task_struct.
    task_exec_id = "task_struct.self_exec_id",
    /// struct task_struct.
    task_files = "task_struct.files",
    /// struct task_struct.
    task_flags = "task_struct.flags",
    /// struct task_struct.
    task_real_parent = "task_struct.real_parent",
    /// struct task_struct.
    task_fs = "task_struct.fs",
    /// struct task_struct.
    task_nsproxy = "task_struct.nsproxy",
    /// struct task_struct.
    task_cred = "task_struct.cred",
    /// struct task_struct.
    task_signal = "task_struct.signal",
    /// struct task_struct.
    task_exit_code = "task_struct.exit_code",
    /// struct task_struct.
    task_utime = "task_struct.utime",
    /// struct task_struct.
    task_stime = "task_struct.stime",
    /// struct task_struct.
    task_mm = "task_struct.mm",
    /// struct task_struct.
    task_cgroups = "task_struct.cgroups",
    /// struct task_struct, x86.
    task_status = "task_struct.thread_info.status",
    /// struct task_struct.
    task_thread_pid = "task_struct.thread_pid",
    /// struct pid: 0 in the first namespace.
    pid_level = "pid.level",
    /// struct pid: its tasks, a list for each kind; the second is that of the process.
    pid_tasks = "pid.tasks",
    /// struct pid: its numbers, that of the first namespace first.
    pid_numbers = "pid.numbers",
    /// struct files_struct: tasks that share it.
    files_count = "files_struct.count.counter",
    /// struct files_struct.
    files_fdt = "files_struct.fdt",
    /// struct fdtable.
    fdtable_fd = "fdtable.fd",
    /// struct fdtable.
    fdtable_max = "fdtable.max_fds",
    /// struct fs_struct.
    fs_pwd_mnt = "fs_struct.pwd.mnt",
    /// struct fs_struct.
    fs_pwd_dentry = "fs_struct.pwd.dentry",
    /// struct fs_struct.
    fs_root_mnt = "fs_struct.root.mnt",
    /// struct fs_struct.
    fs_root_dentry = "fs_struct.root.dentry",
    /// struct nsproxy.
    nsproxy_mnt = "nsproxy.mnt_ns",
    /// struct nsproxy.
    nsproxy_net = "nsproxy.net_ns",
    /// struct nsproxy.
    nsproxy_pid = "nsproxy.pid_ns_for_children",
    /// struct cred.
    cred_uid = "cred.uid",
    /// struct cred.
    cred_gid = "cred.gid",
    /// struct cred.
    cred_euid = "cred.euid",
    /// struct cred.
    cred_egid = "cred.egid",
    /// struct cred.
    cred_cap_effective = "cred.cap_effective",
    /// struct cred.
    cred_user_ns = "cred.user_ns",
    /// struct signal_struct.
    signal_live = "signal_struct.live.counter",
    /// struct signal_struct.
    signal_flags = "signal_struct.flags",
    /// struct signal_struct.
    signal_exit_code = "signal_struct.group_exit_code",
    /// struct signal_struct.
    signal_utime = "signal_struct.utime",
    /// struct signal_struct.
    signal_stime = "signal_struct.stime",
    /// struct signal_struct: pages.
    signal_maxrss = "signal_struct.maxrss",
    /// struct mm_struct.
    mm_arg_start = "mm_struct.arg_start",
    /// struct mm_struct.
    mm_arg_end = "mm_struct.arg_end",
    /// struct mm_struct: pairs of a key and a value.
    mm_saved_auxv = "mm_struct.saved_auxv",
    /// struct mm_struct: pages.
    mm_hiwater_rss = "mm_struct.hiwater_rss",
    /// struct vm_area_struct.
    vma_file = "vm_area_struct.vm_file",
    /// struct linux_binprm.
    bprm_file = "linux_binprm.file",
    /// struct linux_binprm.
    bprm_filename = "linux_binprm.filename",
    /// struct linux_binprm.
    bprm_interp = "linux_binprm.interp",
    /// struct css_set.
    css_set_dfl = "css_set.dfl_cgrp",
    /// struct cgroup.
    cgroup_kn = "cgroup.kn",
    /// struct cgroup.
    cgroup_level = "cgroup.level",
    /// struct cgroup: array of pointers.
    cgroup_ancestors = "cgroup.ancestors",
    /// struct cgroup.
    cgroup_root = "cgroup.root",
    /// struct cgroup_root.
    cgroup_root_hierarchy = "cgroup_root.hierarchy_id",
    /// struct kernfs_node.
    kernfs_id = "kernfs_node.id",
    /// struct kernfs_node.
    kernfs_name = "kernfs_node.name",
    /// struct sock: the process at the other end of a unix socket.
    sock_peer_pid = "sock.sk_peer_pid",
    /// struct sock: that process's credentials.
    sock_peer_cred = "sock.sk_peer_cred",
    /// struct sock: its `struct socket`.
    sock_socket = "sock.sk_socket",
    /// struct sock: its owner.
    sock_uid = "sock.sk_uid",
    /// struct socket_alloc: behind a `struct socket` its inode.
    socket_inode = "socket_alloc.vfs_inode",
    /// struct socket.
    socket_sk = "socket.sk",
    /// struct socket.
    socket_type = "socket.type",
    /// struct sock_common.
    sock_family = "sock_common.skc_family",
    /// struct sock_common.
    sock_daddr = "sock_common.skc_daddr",
    /// struct sock_common.
    sock_rcv_saddr = "sock_common.skc_rcv_saddr",
    /// struct sock_common: network order.
    sock_dport = "sock_common.skc_dport",
    /// struct sock_common: host order.
    sock_num = "sock_common.skc_num",
    /// struct sock_common.
    sock_v6_daddr = "sock_common.skc_v6_daddr",
    /// struct sock_common.
    sock_v6_rcv_saddr = "sock_common.skc_v6_rcv_saddr",
    /// struct sock_common.
    sock_cookie = "sock_common.skc_cookie.counter",
    /// struct sock.
    sock_protocol = "sock.sk_protocol",
    /// struct sock.
    sock_type = "sock.sk_type",
    /// struct sock_common.
    sock_flags = "sock_common.skc_flags",
    /// struct unix_sock.
    unix_peer = "unix_sock.peer",
    /// struct unix_sock.
    unix_addr = "unix_sock.addr",
    /// struct unix_address.
    unix_address_len = "unix_address.len",
    /// struct unix_address.
    unix_address_name = "unix_address.name",
    /// struct tcp_sock.
    tcp_sent = "tcp_sock.bytes_sent",
    /// struct tcp_sock.
    tcp_received = "tcp_sock.bytes_received",
}

/// The call of a kernel function, `bpf_rdonly_cast`, as the object file has it: as that of a helper of this number, which
/// no kernel has. The loader puts the running kernel's own number there, or takes the call out.
pub const CAST_CALL: u32 = 0x7e57_0001;
/// The kernel function.
pub const CAST_FUNCTION: &str = "bpf_rdonly_cast";
/// A structure of the kernel that begins with [`CAST_WORDS`] words which are no pointers: memory that is looked at as one may
/// be read word by word, and what is read may be counted with. x86-64.
pub const CAST_STRUCT: &str = "pt_regs";
/// See [`CAST_STRUCT`].
pub const CAST_WORDS: usize = 16;

/// Where the parts of kernel structures begin that are read together, in bytes, multiples of 8; and how they are read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// struct file.
    pub file: u32,
    /// struct inode.
    pub inode: u32,
    /// struct dentry.
    pub dentry: u32,
    /// Number of [`CAST_STRUCT`] among the kernel's types; 0 where windows are copied, since the kernel has no
    /// [`CAST_FUNCTION`].
    pub words: u32,
}

impl Windows {
    /// Words read of a struct file.
    pub const FILE_WORDS: usize = 11;
    /// Words read of a struct inode.
    pub const INODE_WORDS: usize = 16;
    /// Words read of a struct dentry.
    pub const DENTRY_WORDS: usize = 4;

    /// Windows that begin at the first field of interest. A field beyond the end of one is read by itself.
    #[must_use]
    pub fn of(at: &Offsets) -> Self {
        let first = |fields: &[u32]| fields.iter().fold(u32::MAX, |first, at| first.min(*at)) & !7;
        Self {
            file: first(&[at.file_inode, at.file_mnt, at.file_dentry, at.file_mode, at.file_flags]),
            inode: first(&[at.inode_sb, at.inode_ino, at.inode_size, at.inode_ctime_sec, at.inode_ctime_nsec]),
            dentry: first(&[at.dentry_hash_pprev, at.dentry_parent, at.dentry_name]),
            words: 0,
        }
    }
}
