//! 35: one session takes what all need.

use tests::{Scratch, bystander, held};

use crate::calls::{run, script, session, succeeded};

/// Stops the agent, and fills its ring.
const FLOOD: &str = r#"
import signal
os.kill(os.getppid(), signal.SIGSTOP)
for at in range(3000):
    os.mknod(f"f{at}")
    os.unlink(f"f{at}")
os.kill(os.getppid(), signal.SIGCONT)
"#;

#[test]
fn a_flood_costs_the_one_who_floods() {
    let (quiet, flooded) = (Scratch::new(), Scratch::new());
    let mut running = session(&quiet, bystander::waiting()).start();
    running.wait_for(&quiet.join("here"));
    let loud = succeeded(session(&flooded, script(FLOOD)).option("--ring-bytes=4096").go());
    quiet.write("go", "");
    let calm = succeeded(running.wait());
    loud.must_lack("LOST_EVENTS");
    calm.must_be_complete_on_the_weakest();
    assert!(calm.trace.gaps().iter().all(|gap| gap.code != "LOST_EVENTS"));
    held("a session beside one that loses events loses none");
}

#[test]
fn twin() {
    let scratch = Scratch::new();
    let record = run(&scratch, "os.mknod('f')\nos.unlink('f')");
    record.must_be_complete_on_the_weakest();
    assert!(record.trace.gaps().iter().all(|gap| gap.code != "LOST_EVENTS"));
}
