//! Both services at work: what is sworn to is delivered, whatever is reloaded, exchanged, stopped or killed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::Value;
use tests::collector::{Authority, names};

use crate::machine::Machine;
use crate::{AGENT, BOTH, COLLECTOR};

/// The collector's own capabilities, and what the agent has by its unit.
const NONE: &str = "0000000000000000";

/// Both installed and configured for each other, not started yet.
fn installed() -> Machine {
    let machine = Machine::boot();
    machine.install("now", &BOTH);
    let authority = Authority::new();
    let section = |who: &str, names: &[_]| {
        let folder = machine.path(&format!("/etc/testimony/{who}"));
        let tls = authority.tls(&folder, who, names);
        tls.replace(&folder.display().to_string(), &format!("/etc/testimony/{who}"))
    };
    let (agent, collector) = (
        section("agent", &names("spiffe://example.org/node/one", "")),
        section("collector", &names("spiffe://example.org/collector", "")),
    );
    machine.says(&["testimony", "keygen", "-o", "/etc/testimony/signing.key"]);
    machine.write(
        "/etc/testimony/collector.toml",
        &format!(
            "listen = \"127.0.0.1:8443\"\n[log]\nname = \"collector.example.org/log\"\n{collector}[peers]\n\
             spiffe_ids = [\"spiffe://example.org/node/*\"]\n[trust]\nkeys = [\"/etc/testimony/signing.key.pub\"]\n"
        ),
    );
    machine.says(&["sh", "-c", "chown testimony-collector: /etc/testimony/collector/*"]);
    machine.write("/etc/testimony/agent.toml", &agent_toml(&agent));
    machine
}

fn agent_toml(tls: &str) -> String {
    format!(
        "[collector]\nhost = \"127.0.0.1\"\nport = 8443\nspiffe_id = \"spiffe://example.org/collector\"\n{tls}\
         [control]\ngroup = \"testimony\"\n"
    )
}

/// A statement of `true`, put into the spool.
fn swear(machine: &Machine, name: &str) {
    let output = format!("/root/{name}");
    machine.says(&["testimony", "run", "--config", "-o", &output, "--", "true"]);
}

fn spool(machine: &Machine) -> Value {
    serde_json::from_str(&machine.says(&["testimony", "spool", "state", "--json"])).expect("JSON")
}

fn kept(machine: &Machine) -> usize {
    machine.says(&["testimony-collector", "statements"]).lines().count()
}

/// The lines of capabilities of a unit's process.
fn sets(machine: &Machine, unit: &str) -> Vec<String> {
    let pid = machine.show(unit, "MainPID");
    let status = machine.says(&["cat", &format!("/proc/{pid}/status")]);
    let lines = status.lines().filter(|line| line.starts_with("Cap") || line.starts_with("NoNewPrivs"));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn started_by_systemd_both_say_so_and_have_the_rights_that_they_need() {
    let mut machine = installed();
    machine.says(&["systemctl", "start", COLLECTOR, AGENT]);
    for unit in [AGENT, COLLECTOR] {
        // Of a unit that notifies, only who said that he is ready is active.
        assert_eq!((machine.show(unit, "ActiveState"), machine.show(unit, "Type")), ("active".into(), "notify".into()));
        assert!(sets(&machine, unit).contains(&"NoNewPrivs: 1".to_owned()));
    }
    let collector = sets(&machine, COLLECTOR);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(collector.contains(&format!("{set}: {NONE}")), "{collector:?}");
    }
    assert_eq!(machine.show(COLLECTOR, "User"), "testimony-collector");
    let said = machine.journal();
    assert!(said.contains("no capabilities, and other files than its own are refused to it"), "{said}");
    let kept_by_agent = said.lines().find_map(|line| line.split_once("capabilities kept: ")).expect("it is said").1;
    let listed = machine.says(&["testimony", "sessions"]);
    assert!(listed.contains(kept_by_agent) && kept_by_agent.contains("CAP_BPF"), "{listed}");
    assert!(!kept_by_agent.contains("SYS_MODULE") && !kept_by_agent.contains("SYS_RAWIO"), "{kept_by_agent}");
    // Its group may ask it, and nobody else.
    let socket = machine.says(&["stat", "--format=%U %G %a", "/run/testimony/agent.sock"]);
    assert_eq!(socket, "root testimony 660\n");
    let nobody = machine.run(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "testimony", "sessions"]);
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(!nobody.status.success() && said.contains("you may not ask the node's agent"), "{said}");
    swear(&machine, "one");
    machine.wait("it is delivered", |machine| spool(machine)["delivered"] == 1);
    assert_eq!(kept(&machine), 1);
    // Nothing that root asked of the store is root's.
    let owners = machine.says(&["find", "/var/lib/testimony-collector", "!", "-user", "testimony-collector"]);
    assert_eq!(owners, "");
}

#[test]
fn who_says_nothing_any_more_is_started_anew() {
    let mut machine = installed();
    for unit in [AGENT, COLLECTOR] {
        let folder = machine.path(&format!("/etc/systemd/system/{unit}.d"));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("watchdog.conf"), "[Service]\nWatchdogSec=2\nRestartSec=0\n").expect("written");
    }
    machine.says(&["systemctl", "daemon-reload"]);
    machine.says(&["systemctl", "start", COLLECTOR, AGENT]);
    for unit in [AGENT, COLLECTOR] {
        let pid = machine.show(unit, "MainPID");
        // As long as it speaks it lives longer than that.
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!((machine.show(unit, "MainPID"), machine.show(unit, "NRestarts")), (pid.clone(), "0".to_owned()));
        machine.says(&["sh", "-c", &format!("kill -STOP {pid}")]);
        machine.wait("it is started anew", |machine| {
            machine.show(unit, "NRestarts") == "1" && machine.show(unit, "ActiveState") == "active"
        });
        assert_ne!(machine.show(unit, "MainPID"), pid);
    }
    assert!(machine.journal().contains("Watchdog timeout"));
}

#[test]
fn what_is_configured_anew_holds_without_a_restart_and_what_is_wrong_changes_nothing() {
    let mut machine = installed();
    machine.says(&["systemctl", "start", COLLECTOR, AGENT]);
    let pids = [AGENT, COLLECTOR].map(|unit| machine.show(unit, "MainPID"));
    for (unit, file) in [(AGENT, "/etc/testimony/agent.toml"), (COLLECTOR, "/etc/testimony/collector.toml")] {
        let good = fs::read_to_string(machine.path(file)).expect("a configuration");
        machine.write(file, &format!("nonsense = 1\n{good}"));
        assert!(!machine.run(&["systemctl", "reload", unit]).status.success());
        assert!(machine.journal().contains("unknown field `nonsense`"));
        machine.write(file, &good.replace("8443", "9443"));
        machine.says(&["systemctl", "reload", unit]);
        machine.wait("it is ready again", |machine| machine.show(unit, "ActiveState") == "active");
    }
    swear(&machine, "one");
    machine.wait("it is delivered at the other port", |machine| spool(machine)["delivered"] == 1);
    assert_eq!([AGENT, COLLECTOR].map(|unit| machine.show(unit, "MainPID")), pids);
}

#[test]
fn another_version_goes_on_with_what_waits_and_so_does_the_one_before() {
    let mut machine = installed();
    machine.says(&["systemctl", "start", AGENT]);
    (0..3).for_each(|number| swear(&machine, &format!("run{number}")));
    assert_eq!(spool(&machine)["waiting"], 3);
    for version in ["later", "now"] {
        let pid = machine.show(AGENT, "MainPID");
        machine.install(version, &BOTH);
        assert_eq!(machine.show(AGENT, "ActiveState"), "active");
        assert_ne!(machine.show(AGENT, "MainPID"), pid, "{version}");
        // What was not running is not started.
        assert_eq!(machine.show(COLLECTOR, "ActiveState"), "inactive");
        assert_eq!(spool(&machine)["waiting"], 3, "{version}");
    }
    machine.says(&["systemctl", "start", COLLECTOR]);
    machine.wait("all is delivered", |machine| spool(machine)["delivered"] == 3 && spool(machine)["waiting"] == 0);
    assert_eq!(kept(&machine), 3);
    machine.install("later", &BOTH);
    assert_eq!((machine.show(COLLECTOR, "ActiveState"), kept(&machine)), ("active".to_owned(), 3));
}

/// A command that the agent traces, which lives until it is killed, in a unit of its own.
fn workload(machine: &mut Machine) -> String {
    let words = ["--unit=work", "--quiet", "testimony", "run", "--agent", "-o", "/root/work", "--", "sleep", "1000"];
    machine.says(&[&["systemd-run"][..], &words].concat());
    let mut pid = String::new();
    machine.wait("it is traced", |machine| {
        let found = machine.run(&["sh", "-c", "grep -lx sleep /proc/[0-9]*/comm"]);
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        pid = found.split('/').nth(2).unwrap_or_default().to_owned();
        !pid.is_empty() && machine.says(&["testimony", "sessions"]).contains(" open ")
    });
    pid
}

#[test]
fn killed_or_stopped_or_purged_the_agent_leaves_what_it_traced_running_and_nothing_else() {
    let machine = Machine::boot();
    let before = machine.everything();
    drop(machine);
    let mut machine = installed();
    machine.says(&["systemctl", "start", COLLECTOR, AGENT]);
    let pid = workload(&mut machine);
    let lives = |machine: &Machine| machine.run(&["sh", "-c", &format!("kill -0 {pid}")]).status.success();
    machine.says(&["systemctl", "kill", "--kill-who=main", "--signal=KILL", AGENT]);
    machine.wait("it is started anew", |machine| {
        machine.show(AGENT, "NRestarts") == "1" && machine.show(AGENT, "ActiveState") == "active"
    });
    assert!(lives(&machine));
    machine.says(&["systemctl", "stop", AGENT]);
    assert!(lives(&machine));
    assert_eq!(machine.show(AGENT, "Result"), "success");
    machine.says(&["dpkg", "--remove", "testimony", "testimony-collector"]);
    assert_eq!(machine.show(COLLECTOR, "ActiveState"), "inactive");
    // What was sworn to and the keys outlive the program; who purges wants neither.
    assert!(machine.path("/var/lib/testimony/spool").exists() && machine.path("/etc/testimony/signing.key").exists());
    machine.says(&["dpkg", "--purge", "testimony", "testimony-collector"]);
    assert!(lives(&machine));
    machine.says(&["sh", "-c", &format!("kill {pid}")]);
    machine.wait("who waited for it has ended", |machine| machine.show("work.service", "ActiveState") != "active");
    let left: Vec<String> = machine.everything().difference(&before).cloned().collect();
    // The run's own, in its user's folder.
    let left: Vec<&String> = left.iter().filter(|line| !line.starts_with("/root/work")).collect();
    assert_eq!(left, Vec::<&String>::new());
    let mode = fs::metadata(machine.path("/etc")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}
