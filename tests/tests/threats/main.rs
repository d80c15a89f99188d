//! Ways to hide, one file a row of docs/threats.md: each is done for real, and is in the record or ends completeness with its
//! code. Its twin does the same work without hiding anything, and is complete.

mod bystander;
mod calls;
mod controls;
mod t01_arguments;
mod t02_paths;
mod t03_io_uring;
mod t06_kernel_code;
mod t09_sockets;
mod t10_received_descriptors;
mod t12_memory_files;
mod t13_foreign_memory;
mod t14_namespaces;
mod t17_clock;
mod t18_secrets;
mod t23_helpers;
mod t25_executable_memory;
mod t26_ipc;
mod t27_taken_descriptors;
mod t29_raw_devices;
mod t30_canaries;
mod t30_muted_hooks;
