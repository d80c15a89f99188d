//! 31: what a program takes in without opening a file. Every program does, so there is no twin: each statement says it.

use tests::Scratch;

use crate::calls::run;

#[test]
fn what_is_no_content_is_said_not_to_be_observed() {
    let scratch = Scratch::new();
    let record = run(
        &scratch,
        "import time\nos.stat('/etc/passwd')\nos.listdir('/etc')\nos.readlink('/proc/self/exe')\nos.path.exists('/no/such/file')\n\
         os.environ.get('HOME')\ntime.time()\nos.getrandom(8)",
    );
    record.must_be_complete_on_the_weakest();
    record.must_say("INPUTS_NOT_OBSERVED");
}
