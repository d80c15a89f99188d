//! The API against its document, by another program: schemathesis asks all that the document allows, and what it does not.

use std::process::Command;

use tests::{root, tool};

use crate::asking::{Asked, joined, put, until};
use crate::node::{Node, here};

/// What is asked of each path, beside what the document itself suggests.
const EXAMPLES: &str = "12";

#[test]
fn the_document_holds_for_whatever_is_asked() {
    if !here() {
        return;
    }
    let mut node = Node::new();
    // One that has every right.
    let mut asked = Asked::new(&node, "");
    let text = std::fs::read_to_string(asked.collector.config()).expect("a file");
    let all = text.replace("rights = [\"facts\"]", "rights = [\"facts\", \"statements\", \"metrics\"]");
    std::fs::write(asked.collector.config(), all).expect("written");
    joined(&mut asked, &mut node);
    ["complete", "dns", "unix"].iter().for_each(|name| drop(put(&node, name)));
    node.wait(|state| state["delivered"] == 3);
    until("they are in the index", || Some(asked.items("/v1/statements")).filter(|found| found.len() == 3));
    let mut run = Command::new(tool("schemathesis-4.32.5/bin/schemathesis"));
    run.arg("run").arg(root().join("docs/openapi.json"));
    run.args(["--url", &format!("https://localhost:{}", asked.port), "--max-examples", EXAMPLES, "--seed", "6"]);
    run.arg("--tls-verify").arg(asked.collector.folder.join("collector-authorities.pem"));
    run.args([
        "-H",
        &format!("Authorization: Bearer {}", asked.tokens[0]),
        "--no-color",
        "--generation-database",
        "none",
    ]);
    run.args(["--checks", "all", "--phases", "examples,coverage,fuzzing", "--workers", "2"]);
    // A cursor is a word of the collector's own, and texts have a limit in sum: no schema says that. What is refused is so with a problem.
    run.args(["--exclude-checks", "positive_data_acceptance"]);
    let said = run.current_dir(node.scratch.path()).output().expect("schemathesis runs");
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{text}\n{}", String::from_utf8_lossy(&said.stderr));
    // It asked each of them, and found nothing. That digests of its own making are of no statement it says too.
    assert!(text.contains("Tested: 12") && !text.contains("\u{274c}"), "{text}");
}
