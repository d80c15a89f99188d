//! Testimony as it is installed: packages in a Debian that boots, units that systemd starts, watches, reloads and stops, and nothing left
//! when they are purged.

mod hardened;
mod machine;
mod service;

use machine::Machine;

const BOTH: [&str; 2] = ["testimony", "testimony-collector"];
const AGENT: &str = "testimony-agent.service";
const COLLECTOR: &str = "testimony-collector.service";

#[test]
fn what_is_not_configured_is_enabled_and_not_started_and_what_is_purged_leaves_nothing() {
    let machine = Machine::boot();
    let before = machine.everything();
    let said = machine.install("now", &BOTH);
    assert!(said.contains("starts when it is configured: see /etc/testimony/agent.toml.example"), "{said}");
    for unit in [AGENT, COLLECTOR] {
        assert_eq!(machine.show(unit, "UnitFileState"), "enabled");
        // As a boot would: nothing fails because nothing is configured.
        machine.says(&["systemctl", "start", unit]);
        assert_eq!(
            (machine.show(unit, "ActiveState"), machine.show(unit, "ConditionResult")),
            ("inactive".into(), "no".into())
        );
    }
    assert!(!machine.path("/etc/testimony/signing.key").exists() && !machine.path("/var/lib/testimony").exists());
    machine.says(&["dpkg", "--verify", "testimony", "testimony-collector"]);
    machine.says(&["dpkg", "--purge", "testimony", "testimony-collector"]);
    let after = machine.everything();
    assert_eq!(before.symmetric_difference(&after).collect::<Vec<_>>(), Vec::<&String>::new());
}
