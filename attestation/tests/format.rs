//! docs/format.md carries the messages and the codes as they are. `GOLDEN_WRITE=1 cargo test -p attestation --test format`
//! puts them there anew.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "the crate is pure, its documentation is a file")]

use attestation::codes;
use std::fs;
use std::path::Path;

/// The document with `text` between the marks of this name.
fn with_part(document: &str, name: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = document.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    format!("{before}{begin}{text}{end}{after}")
}

fn messages() -> String {
    let proto = include_str!("../../proto/testimony/evidence/v1/evidence.proto");
    format!("```proto\n{proto}```\n")
}

fn code_table() -> String {
    let row = |code: &codes::Code| format!("| {} | {:?} | {} |\n", code.name, code.kind, code.meaning);
    format!("| code | kind | meaning |\n|---|---|---|\n{}", codes::ALL.iter().map(row).collect::<String>())
}

#[test]
fn the_document_has_every_message_and_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/format.md");
    let document = fs::read_to_string(&path).unwrap();
    let current = with_part(&with_part(&document, "proto", &messages()), "codes", &code_table());
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        fs::write(&path, &current).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == current, "docs/format.md is behind: see the head of this test");
}
