//! 29: a block device below a file system, or the machine's memory, changes files without an open.

use tests::Scratch;

use crate::calls::run;

#[test]
fn a_block_device_that_is_opened_ends_completeness() {
    let scratch = Scratch::new();
    let record = run(
        &scratch,
        r#"
for name in sorted(os.listdir("/sys/class/block")):
    major, minor = map(int, open(f"/sys/class/block/{name}/dev").read().split(":"))
    if os.path.exists("device"): os.unlink("device")
    os.mknod("device", 0o60600, os.makedev(major, minor))
    try:
        os.open("device", os.O_PATH)
        os.open("device", 3)
        break
    except OSError: pass
else: sys.exit("no block device opens")
"#,
    );
    record.must_lack("RAW_DEVICE");
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let record = run(
        &scratch,
        "os.mknod('device', 0o20600, os.makedev(1, 3))\nos.open('device', os.O_RDWR)\nos.open('/dev/zero', os.O_RDONLY)",
    );
    record.must_be_complete_on_the_weakest();
}
