//! Negative controls: with the hook left out that sees what a test does, the test fails. That the statement says of the hook that it
//! was left out is no reason to.

use std::process::Command;

use tests::left_out;

/// Tests, and the observation that each rests on where it has no other.
const CONTROLS: [(&str, &str); 19] = [
    ("t01_arguments::what_is_told_is_what_was_opened", "open"),
    ("t02_paths::a_bind_mount_hides_no_file", "open"),
    ("t02_paths::a_root_of_its_own_hides_no_path", "open"),
    ("t09_sockets::a_socket_of_any_family_is_told", "act"),
    ("t09_sockets::a_connection_whose_descriptor_has_more_than_an_int_is_told", "connect"),
    ("t10_received_descriptors::a_descriptor_from_outside_is_told_and_ends_completeness", "act"),
    ("t12_memory_files::a_program_in_memory_is_told_where_it_is_made_and_where_it_runs", "act"),
    ("t13_foreign_memory::a_bystander_that_is_traced_ends_completeness", "act"),
    ("t13_foreign_memory::a_bystander_s_memory_that_is_read_ends_completeness", "act"),
    ("t13_foreign_memory::a_bystander_s_memory_that_is_opened_for_writing_ends_completeness", "open"),
    ("t13_foreign_memory::a_member_that_is_traced_from_outside_ends_completeness", "act"),
    ("t14_namespaces::what_changes_the_meaning_of_paths_is_told", "act"),
    ("t14_namespaces::a_child_in_namespaces_of_its_own_is_told", "act"),
    ("t17_clock::a_clock_that_could_not_be_set_is_told_and_ends_nothing", "act"),
    ("t25_executable_memory::memory_made_executable_is_told", "act"),
    ("t26_ipc::ipc_is_told", "act"),
    ("t27_taken_descriptors::a_descriptor_taken_from_a_bystander_ends_completeness", "act"),
    ("t29_raw_devices::a_block_device_that_is_opened_ends_completeness", "open"),
    ("t06_kernel_code::a_module_that_the_kernel_refused_is_told_and_ends_nothing", "act"),
];

#[test]
fn without_its_hook_each_fails() {
    assert!(left_out().is_none(), "a control has no controls");
    let this = std::env::current_exe().expect("the test binary");
    let held: Vec<_> = CONTROLS
        .iter()
        .filter(|(test, observation)| {
            let mut run = Command::new(&this);
            run.args(["--exact", test, "--test-threads=1"]).env("TESTIMONY_LEAVE_OUT", observation);
            let ran = run.output().expect("it starts");
            let said = String::from_utf8_lossy(&ran.stdout);
            assert!(said.contains("1 passed") || said.contains("1 failed"), "{test} is not there: {said}");
            ran.status.success()
        })
        .collect();
    assert!(held.is_empty(), "these hold without what they rest on: {held:?}");
}

#[test]
fn with_another_hook_left_out_a_test_holds() {
    let this = std::env::current_exe().expect("the test binary");
    let mut run = Command::new(this);
    run.args(["--exact", "t25_executable_memory::memory_made_executable_is_told"]).env("TESTIMONY_LEAVE_OUT", "send");
    let ran = run.output().expect("it starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
}
