//! Metrics: every one that is documented is there and moves, and every one that is there is documented.

use std::collections::BTreeMap;
use std::process::Command;

use tests::{need, root};

use crate::asking::{Asked, Webhook, joined, put, until};
use crate::node::{Node, here};

/// Metrics that the document has, in its first column.
pub(crate) fn documented(of: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("docs/metrics.md")).expect("the document");
    let name = |line: &str| line.strip_prefix("| `").and_then(|rest| Some(rest.split_once('`')?.0.to_owned()));
    text.lines().filter_map(name).filter(|name| name.starts_with(of)).collect()
}

/// The sum of a page's samples, by the metric's name.
pub(crate) fn sums(page: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    let names: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).map(|(name, _)| name).collect();
    for name in names {
        let is_its = |line: &&str| {
            let rest = line.strip_prefix(name).unwrap_or("#");
            ["", "_total", "_count"]
                .iter()
                .any(|end| rest.strip_prefix(end).is_some_and(|rest| rest.starts_with([' ', '{'])))
        };
        let value = |line: &str| line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
        sums.insert(name.to_owned(), page.lines().filter(is_its).filter_map(value).sum());
    }
    sums
}

#[test]
fn every_documented_metric_moves_and_no_other_is_there() {
    if !here() {
        return;
    }
    let mut node = Node::new();
    let (mut webhook, section) = Webhook::new(node.scratch.path());
    let more = format!("[alerts]\nwaiting_max = 1\nsilent_after = \"1s\"\n{section}");
    let mut asked = Asked::new(&node, &more);
    joined(&mut asked, &mut node);
    for name in ["complete", "lost-events", "dns"] {
        put(&node, name);
    }
    // One of a chain is not sent; one is not trusted.
    node.run("one");
    tests::ended(&node.testimony(&["run", "--key", "key", "--chain", "chain", "-o", "two", "--", "true"]), 0);
    node.run("three");
    tests::ended(&node.testimony(&["keygen", "-o", "other"]), 0);
    let words = ["run", "--key", "other", "--chain", "other", "-o", "bad", "--config=agent.toml", "--", "true"];
    tests::ended(&node.testimony(&words), 0);
    node.wait(|state| state["delivered"] == 5 && state["deferred"] == 1);
    // Another node sends what is there already.
    let mut second = Node::new();
    second.join(&asked.collector);
    put(&second, "complete");
    second.start();
    second.wait(|state| state["delivered"] == 1);
    // Somebody without a certificate, at the port of nodes.
    let stranger = format!("https://localhost:{}/", asked.collector.port);
    let refused = Command::new(need("curl")).args(["--silent", "--insecure", "--max-time", "5", &stranger]).output();
    assert!(!refused.expect("curl runs").status.success());
    let _ = asked.items("/v1/statements");
    // Who is told alerts comes late, so that some were dropped.
    until("attempts fail", || (sums(&asked.page())["testimony_collector_alert_failures"] > 0.0).then_some(()));
    webhook.start();
    let documented = documented("testimony_collector_");
    assert!(documented.len() > 20, "{documented:?}");
    let still = |sums: &BTreeMap<String, f64>| {
        documented.iter().filter(|name| sums.get(*name).is_none_or(|sum| *sum == 0.0)).cloned().collect::<Vec<_>>()
    };
    let began = std::time::Instant::now();
    let page = loop {
        let page = sums(&asked.page());
        if still(&page).is_empty() || began.elapsed().as_secs() > 30 {
            break page;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    };
    assert_eq!(still(&page), [] as [String; 0]);
    let undocumented: Vec<&String> = page.keys().filter(|name| !documented.contains(name)).collect();
    assert!(undocumented.is_empty(), "{undocumented:?}");
    // By the API, the same.
    let by = format!("Authorization: Bearer {}", asked.tokens[2]);
    assert_eq!(
        sums(&asked.ask("/metrics", &["-H", &by]).1).keys().collect::<Vec<_>>(),
        page.keys().collect::<Vec<_>>()
    );
}
