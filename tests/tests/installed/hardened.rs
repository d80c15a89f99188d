//! How exposed the units are, by systemd's own reckoning; what is open is in a table, each with its reason.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tests::root;

/// Rows of `systemd-analyze security` that count against a unit, and the sum.
fn judged(unit: &str) -> (Vec<String>, String) {
    let path = root().join("systemd").join(unit);
    let ask = |more: &[&str]| {
        let mut analyze = Command::new("systemd-analyze");
        let output = analyze.args(["security", "--offline=true", "--no-pager"]).args(more).arg(&path).output();
        String::from_utf8(output.expect("systemd-analyze runs").stdout).expect("text")
    };
    let rows: Vec<Value> = serde_json::from_str(&ask(&["--json=short"])).expect("JSON");
    let open = rows.iter().filter(|row| row["exposure"].as_str().is_some_and(|exposure| exposure != "0.0"));
    let open = open.map(|row| row["name"].as_str().expect("a name").to_owned()).collect();
    let overall = ask(&[]);
    let score = overall.split("Overall exposure level for ").nth(1).and_then(|rest| rest.split_whitespace().nth(1));
    (open, score.expect("a score").to_owned())
}

/// Rows of the table of a unit, by their first column.
fn defended(unit: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("systemd/README.md")).expect("it is there");
    let section = text.split(&format!("## {unit}")).nth(1).expect("a section");
    let section = section.split("\n## ").next().expect("it ends");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    // A bar within a cell is escaped.
    rows.map(|row| row.replace("\\|", "|")).collect()
}

#[test]
fn each_open_row_is_defended_and_each_defended_row_is_open() {
    for unit in ["testimony-agent.service", "testimony-collector.service"] {
        let (mut open, mut defended) = (judged(unit).0, defended(unit));
        open.sort();
        defended.sort();
        assert!(!open.is_empty());
        assert_eq!(open, defended, "{unit}");
    }
}

#[test]
fn the_scores_are_what_was_promised() {
    for (unit, most) in [("testimony-agent.service", 3.5), ("testimony-collector.service", 1.5)] {
        let score: f64 = judged(unit).1.parse().expect("a number");
        assert!(score > 0.0 && score <= most, "{unit}: {score}");
    }
}

#[test]
fn a_line_less_is_a_row_more() {
    let scratch = tests::Scratch::new();
    let unit = fs::read_to_string(root().join("systemd/testimony-collector.service")).expect("it is there");
    let weaker =
        scratch.write("weaker.service", unit.replace("NoNewPrivileges=yes\n", "").replace("PrivateUsers=yes\n", ""));
    let open = judged(weaker.to_str().expect("text")).0;
    assert!(open.contains(&"PrivateUsers=".to_owned()), "{open:?}");
}

#[test]
fn systemd_understands_every_line() {
    for unit in ["testimony-agent.service", "testimony-collector.service"] {
        let path = root().join("systemd").join(unit);
        let said = Command::new("systemd-analyze").arg("verify").arg(&path).output().expect("it runs");
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        // The programs are not installed here, nor are the manual pages.
        let faults =
            said.lines().filter(|line| line.contains(unit) && line.contains(": ") && !line.contains("not executable"));
        let faults: Vec<&str> = faults.filter(|line| !line.contains("man ")).collect();
        assert_eq!(faults, Vec::<&str>::new());
    }
}
