//! One boot of a guest: the emulator's command line, the console read line by line, and the judgement of how it ended.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::initramfs;
use super::kernel::KernelFiles;
use super::tpm::Tpm;
use crate::{command, place};

const MEMORY_MIB: u32 = 2048;
const PROCESSORS: u32 = 2;
/// The emulated processor needs no mitigations, which cost a sixth of its time, and its own time stamp counter is the one
/// clock that it reads without leaving the translated code.
const KERNEL_COMMAND_LINE: &str = "console=ttyS0 panic=-1 quiet loglevel=4 lsm=lockdown,yama,integrity,apparmor,bpf \
                                   ima_hash=sha256 mitigations=off tsc=reliable clocksource=tsc";
const BEGIN: &str = "@@testimony-vm begin@@";
const END: &str = "@@testimony-vm end ";
/// A guest is at its command within ten seconds. Under emulation a kernel may lose its timer's interrupt as it starts, and
/// then waits for it for good.
const BOOT_LIMIT: Duration = Duration::from_secs(150);
const BOOTS_MAX: u32 = 3;
/// What a kernel prints when it is no longer to be trusted.
const FAULTS: [&str; 5] = ["Oops", "Kernel panic", "BUG: ", "general protection fault", "soft lockup"];

/// What a guest is booted for.
pub(super) enum Boot {
    Shell,
    Command { command: Vec<String>, environment: Vec<(String, String)> },
}

/// How a boot ended.
enum Ending {
    /// With the status of the command.
    Ran(i32),
    /// Its kernel came to no command in these seconds, and complained of nothing but its own waiting.
    Stuck(u64),
}

/// All that a boot is made of.
pub(super) struct Guest<'a> {
    pub(super) kernel: &'a KernelFiles,
    pub(super) root: &'a Path,
    pub(super) disk: &'a Path,
    /// A folder of this run's own.
    pub(super) work: &'a Path,
    pub(super) name: &'a str,
}

impl Guest<'_> {
    /// A person at the console.
    pub(super) fn shell(&self) -> Result<()> {
        let _tpm = Tpm::start(self.work)?;
        let mut qemu = self.qemu()?;
        command::run(qemu.args(["-serial", "mon:stdio"]))
    }

    /// Runs to the end or the limit. The whole console is kept in a log; what the command prints goes to `print`.
    /// A guest that does not come to its command is booted again, which is said: nothing has run in it by then.
    pub(super) fn run(&self, limit: Duration, print: &mut dyn FnMut(&str)) -> Result<i32> {
        let deadline = Instant::now() + limit;
        for _ in 1..BOOTS_MAX {
            match self.boot(deadline, print)? {
                Ending::Stuck(seconds) => {
                    print(&format!("testimony-vm: no command after {seconds} s, the guest is booted again"));
                }
                Ending::Ran(status) => return Ok(status),
            }
        }
        match self.boot(deadline, print)? {
            Ending::Ran(status) => Ok(status),
            Ending::Stuck(seconds) => {
                Err(self.failed(&anyhow!("the guest came to no command in {BOOTS_MAX} boots of {seconds} s")))
            }
        }
    }

    fn boot(&self, deadline: Instant, print: &mut dyn FnMut(&str)) -> Result<Ending> {
        std::fs::create_dir_all(place::vm().join("log"))?;
        let mut log = std::fs::File::create(self.log_path())?;
        let _tpm = Tpm::start(self.work)?;
        let mut qemu = self.qemu()?;
        qemu.args(["-serial", "stdio"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = qemu.spawn().context("qemu-system-x86_64 did not start")?;
        let lines = console(&mut child)?;
        let mut verdict = Verdict::default();
        let in_time = loop {
            let until = if verdict.begun { deadline } else { deadline.min(started + BOOT_LIMIT) };
            match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    writeln!(log, "{line}")?;
                    if let Some(printed) = verdict.read(&line) {
                        print(printed);
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break true,
                Err(mpsc::RecvTimeoutError::Timeout) => break false,
            }
        };
        if !in_time {
            child.kill()?;
        }
        child.wait()?;
        if !in_time && verdict.is_stuck() {
            return Ok(Ending::Stuck(started.elapsed().as_secs()));
        }
        verdict.judge(in_time).map(Ending::Ran).map_err(|fault| self.failed(&fault))
    }

    fn log_path(&self) -> PathBuf {
        place::vm().join("log").join(format!("{}.log", self.name))
    }

    fn failed(&self, fault: &anyhow::Error) -> anyhow::Error {
        let console = std::fs::read(self.log_path()).unwrap_or_default();
        let tail = command::tail(&String::from_utf8_lossy(&console));
        anyhow!("kernel {}: {fault}\nthe end of {}:\n{tail}", self.name, self.log_path().display())
    }

    fn qemu(&self) -> Result<Command> {
        let initrd = initramfs::write(self.kernel, self.work)?;
        // A guest does not outlive the command that booted it, however that ends.
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-nographic", "-nodefaults", "-no-reboot"])
            .args(["-m", &MEMORY_MIB.to_string(), "-smp", &PROCESSORS.to_string()])
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", KERNEL_COMMAND_LINE])
            // Snapshots are files that grow: beside the disks, not in a small /tmp.
            .env("TMPDIR", self.work);
        for disk in [self.root, self.disk] {
            let disk = disk.to_str().context("the path of a disk is not UTF-8")?.replace(',', ",,");
            qemu.arg("-drive").arg(format!("file={disk},if=virtio,format=raw,snapshot=on,cache=unsafe"));
        }
        Tpm::attach(self.work, &mut qemu)?;
        Ok(qemu)
    }
}

/// The emulator's output, line by line: the guest's console, and what the emulator itself has to say.
fn console(child: &mut Child) -> Result<mpsc::Receiver<String>> {
    let (send, receive) = mpsc::channel();
    let stdout = child.stdout.take().context("qemu's output is not piped")?;
    let stderr = child.stderr.take().context("qemu's errors are not piped")?;
    let outputs: [Box<dyn std::io::Read + Send>; 2] = [Box::new(stdout), Box::new(stderr)];
    for output in outputs {
        let send = send.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                if send.send(line).is_err() {
                    break;
                }
            }
        });
    }
    Ok(receive)
}

/// What the console has said so far.
#[derive(Default)]
struct Verdict {
    begun: bool,
    status: Option<i32>,
    fault: Option<String>,
}

impl Verdict {
    /// Takes a line in; gives it back when it is one that the command printed.
    fn read<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        let kernel_line = line.trim_start().starts_with('[') || !self.begun || self.status.is_some();
        if kernel_line && self.fault.is_none() && FAULTS.iter().any(|fault| line.contains(fault)) {
            self.fault = Some(line.to_owned());
        }
        if line.contains(BEGIN) {
            self.begun = true;
            return None;
        }
        if let Some((unfinished, status)) = line.split_once(END) {
            self.status = status.strip_suffix("@@").and_then(|status| status.parse().ok());
            return Some(unfinished).filter(|text| !text.is_empty());
        }
        (self.begun && self.status.is_none()).then_some(line)
    }

    /// Nothing has run, and the kernel found no fault.
    fn is_stuck(&self) -> bool {
        !self.begun && self.fault.is_none()
    }

    /// The command's status, if the guest came to its end and its kernel was well.
    fn judge(self, in_time: bool) -> Result<i32> {
        if let Some(fault) = self.fault {
            bail!("the guest's kernel failed: {fault}");
        }
        if !in_time {
            bail!("the guest did not end in its time");
        }
        self.status.context("the guest ended without saying how the command went")
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict;

    fn read(lines: &[&str]) -> (Verdict, Vec<String>) {
        let mut verdict = Verdict::default();
        let printed = lines.iter().filter_map(|line| verdict.read(line).map(str::to_owned)).collect();
        (verdict, printed)
    }

    #[test]
    fn only_what_the_command_prints_is_passed_on() {
        let (verdict, printed) = read(&["boot", "@@testimony-vm begin@@", "a", "", "@@testimony-vm end 3@@", "down"]);
        assert_eq!(printed, ["a", ""]);
        assert_eq!(verdict.judge(true).expect("it ended"), 3);
    }

    #[test]
    fn a_last_line_without_its_end_is_passed_on() {
        let (verdict, printed) = read(&["@@testimony-vm begin@@", "a@@testimony-vm end 0@@"]);
        assert_eq!(printed, ["a"]);
        assert_eq!(verdict.judge(true).expect("it ended"), 0);
    }

    #[test]
    fn an_oops_fails_whatever_the_command_said() {
        let (verdict, _) = read(&["@@testimony-vm begin@@", "[    1.0] Oops: 0000 [#1]", "@@testimony-vm end 0@@"]);
        assert!(verdict.judge(true).is_err());
    }

    #[test]
    fn a_command_that_prints_the_word_oops_is_no_fault() {
        let (verdict, _) = read(&["@@testimony-vm begin@@", "test Oops ... ok", "@@testimony-vm end 0@@"]);
        assert_eq!(verdict.judge(true).expect("it ended"), 0);
    }

    #[test]
    fn an_end_without_the_marker_is_no_success() {
        assert!(read(&["@@testimony-vm begin@@", "a"]).0.judge(true).is_err());
        assert!(read(&["@@testimony-vm end x@@"]).0.judge(true).is_err());
    }

    #[test]
    fn only_a_boot_without_command_and_fault_is_tried_again() {
        assert!(read(&["[    1.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"]).0.is_stuck());
        assert!(!read(&["[    1.0] Kernel panic - not syncing"]).0.is_stuck());
        assert!(!read(&["@@testimony-vm begin@@"]).0.is_stuck());
    }

    #[test]
    fn a_guest_over_its_time_fails() {
        let (verdict, _) = read(&["@@testimony-vm begin@@", "@@testimony-vm end 0@@"]);
        assert!(verdict.judge(false).is_err());
    }
}
