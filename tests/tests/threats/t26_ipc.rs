//! 26: ways to talk that are neither files nor sockets.

use tests::Scratch;

use crate::calls::{one, run, text, told};

#[test]
fn ipc_is_told() {
    let scratch = Scratch::new();
    let record = run(
        &scratch,
        r#"
import struct
memory = must(call(29, 0, 4096, 0o1600))
must(call(30, memory, 0, 0))
must(call(31, memory, 0, 0))
messages = must(call(68, 0, 0o1600))
must(call(71, messages, 0, 0))
semaphores = must(call(64, 0, 1, 0o1600))
must(call(66, semaphores, 0, 0))
print(call(240, b"no-such-queue", 0, 0, 0))
print(call(248, b"user", b"name", b"secret", 6, -3))
"#,
    );
    record.must_be_complete_on_the_weakest();
    for call in ["shmget", "shmat", "msgget", "semget"] {
        assert!(one(&record, call).result >= 0, "{call}");
    }
    assert_eq!(text(&one(&record, "mq_open")), b"no-such-queue");
    assert_eq!(one(&record, "add_key").texts, [Some(&b"user"[..]), Some(&b"name"[..])]);
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let record = run(&scratch, "one, other = os.pipe()\nos.write(other, b'x')\nassert os.read(one, 1) == b'x'");
    record.must_be_complete_on_the_weakest();
    assert!(told(&record, "shmget").is_empty());
}
