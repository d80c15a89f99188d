//! 28: a file whose content somebody else's process makes up at each read, or another host.

use std::path::PathBuf;

use proto::evidence::Class;
use tests::{Bystander, Scratch};

use crate::calls::run;

/// Serves a folder `served` with one file, `file`, whose content is another one at each read (FUSE, linux/fuse.h).
const SERVER: &str = r#"
import struct
device = os.open("/dev/fuse", os.O_RDWR)
os.mkdir("served")
libc.mount.restype = ctypes.c_int
options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
if libc.mount(b"a-test", b"served", b"fuse", 0, options): sys.exit("mount: " + os.strerror(ctypes.get_errno()))
print("here", flush=True)
def attributes(node):
    mode = 0o40755 if node == 1 else 0o100644
    return struct.pack("<6Q10I", node, 8, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
reads = 0
while True:
    try: request = os.read(device, 1 << 20)
    except OSError: break
    length, call, unique, node = struct.unpack_from("<IIQQ", request)
    body, fault = b"", 0
    if call == 26: body = struct.pack("<4I2H2I2H8I", 7, 31, 0, 0, 12, 12, 4096, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)[:64].ljust(64, b"\0")
    elif call == 1:
        if request[40:].rstrip(b"\0") == b"file": body = struct.pack("<4Q2I", 2, 0, 0, 0, 0, 0) + attributes(2)
        else: fault = -2
    elif call == 3: body = struct.pack("<Q2I", 0, 0, 0) + attributes(node)
    elif call in (14, 27): body = struct.pack("<Q2I", 0, 1, 0)
    elif call == 15:
        reads += 1
        body = b"" if struct.unpack_from("<Q", request, 48)[0] else b"%08d" % reads
    elif call in (18, 25, 29): pass
    elif call in (2, 42): continue
    else: fault = -38
    os.write(device, struct.pack("<IiQ", 16 + len(body), fault, unique) + body)
"#;

/// A mount of the test's own, gone with it.
struct Served {
    _server: Bystander,
    folder: PathBuf,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.folder, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn what_such_a_file_had_is_never_answered_for() {
    let scratch = Scratch::new();
    let served = Served { _server: Bystander::start(&scratch, SERVER), folder: scratch.join("served") };
    let file = served.folder.join("file");
    let record = run(&scratch, "one, other = (open('served/file').read() for _ in range(2))\nassert one != other, one");
    record.must_be_complete_on_the_weakest();
    record.must_not_answer_for(&file, &["FUSE_FILESYSTEM"]);
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let file = scratch.write("file", "content");
    std::thread::sleep(std::time::Duration::from_millis(100));
    let record = run(&scratch, "open('file').read()");
    record.must_be_complete_on_the_weakest();
    assert_eq!(record.file(&file).class, Class::Stable);
}
