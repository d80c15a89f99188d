//! Which system call makes which observation: the table behind the program `sys_exit`. Numbers of the x86-64 table.

mod acts;

use agent_ebpf::{
    CALLS,
    call::{BY_COMPAT, Call, NONE, TRUNCATES, class, send},
    hook, name_op, net_op,
};

use acts::ACTS;
pub(crate) use acts::name;

/// The table by number, of the calls behind these hooks. Renames always count as such, whoever reports them, where
/// `renames` says that nobody else counts them.
pub(super) fn table(hooks: &[u16], renames: bool) -> [u64; CALLS] {
    let mut table = [0; CALLS];
    let acts = ACTS.iter().map(|act| (act.number, act.call));
    // The later entry of a number counts: by what else the end of system calls serves, io_uring escapes it.
    for (number, call) in acts.chain(ENTRIES.iter().copied()) {
        if hooks.contains(&call.hook.into()) {
            table[number] = call.pack();
        } else if renames && u16::from(call.hook) == hook::RENAME {
            table[number] = Call { hook: 0, ..call }.pack();
        }
    }
    for (number, hook) in COMPAT.iter().chain(acts::COMPAT) {
        if hooks.contains(hook) {
            if table[*number] == 0 {
                table[*number] = call(class::COMPAT, hook::ATTENTION, 0).pack();
            }
            table[*number] |= BY_COMPAT;
        }
    }
    table
}

/// `flags`: the argument that holds them, NONE where they are not in a register.
const fn open(flags: u8) -> Call {
    Call { flags, ..call(class::OPEN, hook::OPEN, 0) }
}

const fn call(class: u8, hook: u16, operation: u32) -> Call {
    #[expect(clippy::cast_possible_truncation, reason = "both are small by the ABI's own lists")]
    let (hook, operation) = (hook as u8, operation as u8);
    Call {
        class,
        hook,
        operation,
        from_directory: NONE,
        from_name: NONE,
        to_directory: NONE,
        to_name: NONE,
        flags: NONE,
        flag_bit: 0,
        flagged_operation: 0,
    }
}

const fn sends(which: u8) -> Call {
    Call { operation: which, ..call(class::SEND, hook::UNIX_SEND, 0) }
}

const fn one(hook: u16, operation: u32, from_directory: u8, from_name: u8) -> Call {
    Call { from_directory, from_name, ..call(class::NAME, hook, operation) }
}

const fn two(one: Call, to_directory: u8, to_name: u8) -> Call {
    Call { to_directory, to_name, ..one }
}

const fn flagged(one: Call, flags: u8, flag_bit: u8, operation: u32) -> Call {
    #[expect(clippy::cast_possible_truncation, reason = "small by the ABI's own list")]
    let flagged_operation = operation as u8;
    Call { flags, flag_bit, flagged_operation, ..one }
}

/// Bit of AT_REMOVEDIR.
const REMOVEDIR: u8 = 9;
/// Bit of RENAME_EXCHANGE.
const EXCHANGE: u8 = 1;

/// Numbers that the 32-bit entry gives to calls which the hooks here follow by the 64-bit numbers only. A call by that
/// entry whose number stands in neither list does nothing that is observed. Of every exec of a 32-bit program the kernel says
/// that it came by that entry's `execve`; its loader is not looked for.
const COMPAT: &[(usize, u16)] = &[
    (5, hook::OPEN),        // open
    (8, hook::OPEN),        // creat
    (295, hook::OPEN),      // openat
    (342, hook::OPEN),      // open_by_handle_at
    (437, hook::OPEN),      // openat2
    (11, hook::OPEN),       // execve
    (38, hook::RENAME),     // rename
    (302, hook::RENAME),    // renameat
    (353, hook::RENAME),    // renameat2
    (9, hook::LINK),        // link
    (303, hook::LINK),      // linkat
    (10, hook::UNLINK),     // unlink
    (40, hook::UNLINK),     // rmdir
    (301, hook::UNLINK),    // unlinkat
    (39, hook::MKDIR),      // mkdir
    (296, hook::MKDIR),     // mkdirat
    (83, hook::SYMLINK),    // symlink
    (304, hook::SYMLINK),   // symlinkat
    (92, hook::TRUNCATE),   // truncate
    (93, hook::TRUNCATE),   // ftruncate
    (193, hook::TRUNCATE),  // truncate64
    (194, hook::TRUNCATE),  // ftruncate64
    (102, hook::CONNECT),   // socketcall
    (362, hook::CONNECT),   // connect
    (361, hook::BIND),      // bind
    (364, hook::ACCEPT),    // accept4
    (345, hook::UNIX_SEND), // sendmmsg
    (369, hook::UNIX_SEND), // sendto
    (370, hook::UNIX_SEND), // sendmsg
];

const ENTRIES: &[(usize, Call)] = &[
    (2, open(1)),                                      // open
    (85, Call { operation: TRUNCATES, ..open(NONE) }), // creat
    (257, open(2)),                                    // openat
    (304, open(NONE)),                                 // open_by_handle_at
    (437, open(NONE)),                                 // openat2
    // Of every exec of a 64-bit program the kernel says that it came by `execve`.
    (59, call(class::EXEC, hook::OPEN, 0)),
    (42, call(class::SOCKET, hook::CONNECT, net_op::CONNECT)),
    (49, call(class::SOCKET, hook::BIND, net_op::BIND)),
    (43, call(class::ACCEPT, hook::ACCEPT, net_op::ACCEPT)), // accept
    (288, call(class::ACCEPT, hook::ACCEPT, net_op::ACCEPT)), // accept4
    (44, sends(send::TO)),                                   // sendto
    (46, sends(send::MESSAGE)),                              // sendmsg
    (307, sends(send::MESSAGES)),                            // sendmmsg
    (82, two(one(hook::RENAME, name_op::RENAME, NONE, 0), NONE, 1)), // rename
    (264, two(one(hook::RENAME, name_op::RENAME, 0, 1), 2, 3)), // renameat
    (316, flagged(two(one(hook::RENAME, name_op::RENAME, 0, 1), 2, 3), 4, EXCHANGE, name_op::EXCHANGE)), // renameat2
    (86, two(one(hook::LINK, name_op::LINK, NONE, 0), NONE, 1)), // link
    (265, two(one(hook::LINK, name_op::LINK, 0, 1), 2, 3)),  // linkat
    (87, one(hook::UNLINK, name_op::UNLINK, NONE, 0)),       // unlink
    (84, one(hook::UNLINK, name_op::RMDIR, NONE, 0)),        // rmdir
    (263, flagged(one(hook::UNLINK, name_op::UNLINK, 0, 1), 2, REMOVEDIR, name_op::RMDIR)), // unlinkat
    (83, one(hook::MKDIR, name_op::MKDIR, NONE, 0)),         // mkdir
    (258, one(hook::MKDIR, name_op::MKDIR, 0, 1)),           // mkdirat
    (88, two(one(hook::SYMLINK, name_op::SYMLINK, NONE, 1), NONE, 0)), // symlink
    (266, two(one(hook::SYMLINK, name_op::SYMLINK, 1, 2), NONE, 0)), // symlinkat
    (76, one(hook::TRUNCATE, name_op::TRUNCATE, NONE, 0)),   // truncate
    (77, one(hook::TRUNCATE, name_op::TRUNCATE, 0, NONE)),   // ftruncate
    (425, call(class::IO_URING, hook::ATTENTION, 0)),        // io_uring_setup
    // A ring may be inherited.
    (426, call(class::IO_URING, hook::ATTENTION, 0)), // io_uring_enter
    (427, call(class::IO_URING, hook::ATTENTION, 0)), // io_uring_register
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_calls_of_the_hooks_are_looked_at() {
        let table = table(&[hook::ACCEPT], false);
        assert_eq!((0..CALLS).filter(|number| table[*number] != 0).collect::<Vec<_>>(), [43, 288, 364]);
        assert_eq!((0..CALLS).filter(|number| table[*number] & BY_COMPAT != 0).collect::<Vec<_>>(), [364]);
    }

    #[test]
    fn io_uring_is_an_act_where_the_hooks_are_below_it() {
        let class = |hooks: &[u16]| Call::unpack(table(hooks, false)[425]).class;
        assert_eq!(class(&[hook::ACT]), class::ACT);
        assert_eq!(class(&[hook::ACT, hook::ATTENTION]), class::IO_URING);
    }

    #[test]
    fn no_number_stands_twice() {
        let all: Vec<u16> = (1..hook::COUNT).collect();
        let own = |word: &&u64| **word != 0 && Call::unpack(**word).class != class::COMPAT;
        // io_uring_setup stands in both lists.
        assert_eq!(table(&all, true).iter().filter(own).count(), ENTRIES.len() + ACTS.len() - 1);
    }
}
