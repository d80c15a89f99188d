//! A guest's TPM: a software one of this boot's own, gone with the emulator.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command;

const START_LIMIT: Duration = Duration::from_secs(20);

/// A TPM that waits for its guest.
pub(super) struct Tpm(Child);

impl Tpm {
    /// Makes one below `work`, and starts it.
    pub(super) fn start(work: &Path) -> Result<Self> {
        let state = work.join("tpm");
        if !state.exists() {
            std::fs::create_dir(&state)?;
            let mut setup = Command::new("swtpm_setup");
            setup.args(["--tpm2", "--pcr-banks", "sha256", "--tpmstate"]).arg(&state);
            command::quiet(&mut setup)?;
        }
        let socket = work.join("tpm.sock");
        let _ = std::fs::remove_file(&socket);
        let mut swtpm = Command::new("setpriv");
        swtpm.args(["--pdeathsig", "KILL", "swtpm", "socket", "--tpm2", "--terminate", "--flags", "startup-clear"]);
        swtpm.arg("--tpmstate").arg(format!("dir={}", state.display()));
        swtpm.arg("--ctrl").arg(format!("type=unixio,path={}", socket.display()));
        let started = Instant::now();
        let mut tpm = Self(swtpm.stdin(Stdio::null()).spawn().context("swtpm did not start")?);
        while !socket.exists() {
            if tpm.0.try_wait()?.is_some() || started.elapsed() > START_LIMIT {
                bail!("swtpm did not come up");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(tpm)
    }

    /// Gives it to the emulator.
    pub(super) fn attach(work: &Path, qemu: &mut Command) -> Result<()> {
        let socket = work.join("tpm.sock");
        let socket = socket.to_str().context("the path of a TPM is not UTF-8")?.replace(',', ",,");
        qemu.arg("-chardev").arg(format!("socket,id=tpm,path={socket}"));
        qemu.args(["-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm0"]);
        Ok(())
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
