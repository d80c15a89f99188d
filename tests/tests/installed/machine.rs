//! A Debian that boots systemd in a container of its own, over a root that stays as it is; it is gone when it is dropped.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tests::Scratch;

/// How long something may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);
/// What changes though nothing is installed: logs, caches, the lists that packages' own tools keep, and older copies of users' files.
const PASSING: [&str; 9] =
    ["/proc/", "/sys/", "/dev/", "/run/", "/tmp/", "/var/log/", "/var/cache/", "/var/lib/dpkg/", "/var/lib/systemd/"];

/// Calls that a machine of its own has, and a container has not unless that is said.
const CALLS: &str = "bpf perf_event_open landlock_create_ruleset landlock_add_rule landlock_restrict_self";

/// It.
pub(crate) struct Machine {
    scratch: Scratch,
    container: Child,
    /// The process that is the first there.
    first: String,
}

/// What a variable says, which `cargo xtask test` sets.
fn said(variable: &str) -> PathBuf {
    let said = std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set: run `cargo xtask test`"));
    let path = PathBuf::from(said);
    assert!(path.is_dir(), "{} is missing: run `cargo xtask test`", path.display());
    path
}

impl Machine {
    /// Boots one, with the packages in /root/debs.
    pub(crate) fn boot() -> Self {
        tests::need_root();
        let (base, scratch) = (said("TESTIMONY_DEBIAN"), Scratch::new());
        let [upper, work, root] = ["upper", "work", "root"].map(|name| scratch.folder(name));
        let options = format!("lowerdir={},upperdir={},workdir={}", base.display(), upper.display(), work.display());
        let mounted = Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&root).status();
        assert!(mounted.expect("mount runs").success(), "no overlay over {}", base.display());
        let copied = Command::new("cp").arg("-r").arg(said("TESTIMONY_DEBS")).arg(root.join("root/debs")).status();
        assert!(copied.expect("cp runs").success());
        let name = scratch.path().file_name().unwrap_or_default().to_owned();
        let mut container = Command::new("systemd-nspawn");
        container
            .args(["--quiet", "--register=no", "--keep-unit", "--private-network", "--capability=all", "--boot"])
            // A machine that itself never booted systemd has no id to link journals by.
            .arg("--link-journal=no")
            // What its programs may do on a machine of their own.
            .args([&format!("--system-call-filter={CALLS}"), "--console=pipe"])
            .arg("--machine")
            .arg(name)
            .arg("--directory")
            .arg(&root);
        let log = fs::File::create(scratch.join("console")).expect("a log");
        let container = container.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log).spawn();
        let mut this = Self { scratch, container: container.expect("systemd-nspawn runs"), first: String::new() };
        this.wait("it boots", |this| {
            this.first = first_of(this.container.id()).unwrap_or_default();
            let state = this.run(&["systemctl", "is-system-running"]);
            ["running\n", "degraded\n"].contains(&String::from_utf8_lossy(&state.stdout).as_ref())
        });
        this
    }

    /// Its file of this path.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.scratch.join("root").join(path.trim_start_matches('/'))
    }

    /// A command in it, as root.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--target"]);
        command.arg(&self.first).arg("--").args(words).env("HOME", "/root").env_remove("TESTIMONY_CACHE");
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).stdin(Stdio::null()).output().expect("nsenter runs")
    }

    /// What it printed; it ended well.
    pub(crate) fn says(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {}\n{text}{error}\n{}", output.status, self.journal());
        text + &error
    }

    /// A property of a unit.
    pub(crate) fn show(&self, unit: &str, property: &str) -> String {
        self.says(&["systemctl", "show", "--value", "--property", property, unit]).trim().to_owned()
    }

    pub(crate) fn journal(&self) -> String {
        let said = self.run(&["journalctl", "--no-pager", "--unit=testimony-agent", "--unit=testimony-collector"]);
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    /// Installs packages of a folder: `now` or `later`.
    pub(crate) fn install(&self, folder: &str, packages: &[&str]) -> String {
        let list = self.path(&format!("/root/debs/{folder}"));
        let debs = packages.iter().map(|package| {
            let mut files = fs::read_dir(&list).expect("packages").flatten().map(|file| file.file_name());
            let wanted = |name: &String| name.starts_with(&format!("{package}_"));
            let name = files.find_map(|name| name.into_string().ok().filter(wanted)).expect("the package");
            format!("/root/debs/{folder}/{name}")
        });
        let debs: Vec<String> = debs.collect();
        let words: Vec<&str> = ["dpkg", "--install"].into_iter().chain(debs.iter().map(String::as_str)).collect();
        self.says(&words)
    }

    pub(crate) fn wait(&mut self, what: &str, mut is: impl FnMut(&mut Self) -> bool) {
        let began = Instant::now();
        while !is(self) {
            let console = || fs::read_to_string(self.scratch.join("console")).unwrap_or_default();
            let ended = self.container.try_wait().expect("it can be asked");
            assert!(ended.is_none(), "the container ended before {what}: {}", console());
            assert!(began.elapsed() < PATIENCE, "not in time: {what}\n{}\n{}", self.journal(), console());
            sleep(Duration::from_millis(50));
        }
    }

    /// Every file there is, and every line of who there is.
    pub(crate) fn everything(&self) -> BTreeSet<String> {
        let root = self.path("/");
        let found = Command::new("find").arg(&root).args(["-xdev", "-printf", "/%P %y\n"]).output().expect("find runs");
        let files = String::from_utf8_lossy(&found.stdout).into_owned();
        let is_lasting = |line: &&str| {
            !PASSING.iter().any(|passing| line.starts_with(passing))
                && !["/etc/.pwd.lock", "/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/root/debs"]
                    .iter()
                    .any(|copy| line.starts_with(copy))
        };
        let users = ["passwd", "group", "shadow", "gshadow"].map(|name| {
            let text = fs::read_to_string(self.path(&format!("/etc/{name}"))).unwrap_or_default();
            text.lines().map(|line| format!("{name}: {line}")).collect::<Vec<_>>()
        });
        files.lines().filter(is_lasting).map(str::to_owned).chain(users.into_iter().flatten()).collect()
    }

    /// A file of it, that its owner alone may read.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).open(self.path(path));
        file.expect("a file").write_all(text.as_bytes()).expect("written");
    }
}

/// The first process of a container: the child of what made it.
fn first_of(container: u32) -> Option<String> {
    let children = fs::read_to_string(format!("/proc/{container}/task/{container}/children")).ok()?;
    children.split_whitespace().next().map(str::to_owned)
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.container.kill();
        // Its first process is killed with it; what it had mounted is free then.
        if !self.first.is_empty() {
            let _ = Command::new("kill").args(["-KILL", &self.first]).stderr(Stdio::null()).status();
        }
        let _ = self.container.wait();
        let began = Instant::now();
        while !unmounted(&self.path("/")) && began.elapsed() < PATIENCE {
            sleep(Duration::from_millis(50));
        }
    }
}

fn unmounted(root: &Path) -> bool {
    Command::new("umount").arg(root).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
