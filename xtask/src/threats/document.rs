//! The text of docs/threats.md.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Path, Row, Shown, Verdict};

const HEAD: &str = "# Threats and blind spots

Each row is a way to make a signed trace say less than what happened, and what this version makes of it on either path
(README.md, \"Supported kernels\"). *seen*: the act or its effect is in the trace. *stated*: the signed statement says, because it
happened, that something may be missing or that a digest is not to be relied on. *held*: the way leads nowhere. *part*: one of these
for some of it, and the rest is open. *open*: neither; it is a limit of this version that nothing in a statement tells.
Numbers are never given again.

This file is made by `cargo xtask threats` of what the tests in `tests/tests/threats` have shown (`tests/threats/shown.txt`), on the weak
path here and on the strong one in Linux 6.1, and of `tests/threats/rows.toml`. Each file of tests does what its row describes, and has a
twin that does not (but for 20 and 31, which every session does). On the weak path what is seen is not seen when its hook is left out
(`tests/tests/threats/controls.rs`), but for what the hooks see without which there is no session, and for the one test that two hooks
serve. `cargo xtask test` fails where a test shows something else than what stands here, or less. In Linux 7 the strong path tells acts as the kernel
asks its security modules about them: what came of one is not known, and a few are not asked about.
The statement names them (`ACTS_NOT_OBSERVED`).

`cargo xtask test` also runs both paths over the same commands in the guests, one session around the other (`tests/tests/judge`). Each
difference must have a cause from a closed list that cites a row here.

| # | way | strong path | weak path |
|---|---|---|---|
";

/// The whole text.
pub(crate) fn document(rows: &[Row], shown: &[Shown<'_>]) -> String {
    let mut text = HEAD.to_owned();
    for row in rows {
        let [strong, weak] = [Path::Strong, Path::Weak].map(|path| claim(row, shown, path));
        let _ = writeln!(text, "| [{0}](#row-{0}) | {1} | {strong} | {weak} |", row.number, row.way);
    }
    for row in rows {
        section(&mut text, row, shown);
    }
    text
}

/// What the table says of a row on a path.
pub(crate) fn claim(row: &Row, shown: &[Shown<'_>], path: Path) -> String {
    let of_row = shown.iter().filter(|shown| shown.row == row.number && shown.holds_on(path));
    let verdicts: BTreeSet<Verdict> = of_row.map(|shown| shown.verdict).collect();
    let is_open = open(row, path).next().is_some();
    if verdicts.is_empty() {
        return "open".to_owned();
    }
    if is_open {
        return "part".to_owned();
    }
    let words = verdicts.iter().map(|verdict| match verdict {
        Verdict::Seen => "seen",
        Verdict::Stated => "stated",
        Verdict::Held => "held",
    });
    words.collect::<Vec<_>>().join(", ")
}

fn open(row: &Row, path: Path) -> impl Iterator<Item = &String> {
    let of_path = match path {
        Path::Strong => &row.open_strong,
        Path::Weak => &row.open_weak,
    };
    row.open.iter().chain(of_path)
}

fn section(text: &mut String, row: &Row, shown: &[Shown<'_>]) {
    let _ = write!(text, "\n### Row {}\n\n**{}.** {}\n\n", row.number, row.way, row.how);
    let of_row: Vec<&Shown<'_>> = shown.iter().filter(|shown| shown.row == row.number).collect();
    for (verdict, word) in [(Verdict::Seen, "Seen"), (Verdict::Stated, "Stated"), (Verdict::Held, "Held")] {
        let mut of_verdict: Vec<&str> =
            of_row.iter().filter(|shown| shown.verdict == verdict).map(|shown| shown.what).collect();
        of_verdict.sort_unstable();
        of_verdict.dedup();
        let told: Vec<String> = of_verdict.iter().map(|what| told(&of_row, verdict, what)).collect();
        if !told.is_empty() {
            let _ = writeln!(text, "- {word}: {}.", told.join("; "));
        }
    }
    let marked = |list: &[String], mark: &str| list.iter().map(|open| format!("{open}{mark}")).collect::<Vec<_>>();
    let all =
        [marked(&row.open, ""), marked(&row.open_strong, " (strong path)"), marked(&row.open_weak, " (weak path)")];
    let all = all.concat();
    if !all.is_empty() {
        let _ = writeln!(text, "- Open: {}.", all.join("; "));
    }
    let _ = writeln!(text, "- With root on the host: {}", row.root);
    let modules: BTreeSet<&str> = of_row.iter().map(|shown| shown.module).collect();
    let modules: Vec<String> = modules.iter().map(|module| format!("`threats/{module}`")).collect();
    let _ = writeln!(text, "- Tests: {}.", if modules.is_empty() { "none".to_owned() } else { modules.join(", ") });
}

/// A finding, with the path where it is the only one that has it.
fn told(of_row: &[&Shown<'_>], verdict: Verdict, what: &str) -> String {
    let on = |path| of_row.iter().any(|shown| shown.verdict == verdict && shown.what == what && shown.holds_on(path));
    let mark = match (on(Path::Strong), on(Path::Weak)) {
        (true, false) => " (strong path)",
        (false, true) => " (weak path)",
        _ => "",
    };
    match verdict {
        Verdict::Stated if what.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') => {
            format!("`{what}`{mark}")
        }
        Verdict::Seen => match what.split_once(' ') {
            Some((observation, told)) => format!("by `{observation}`, {told}{mark}"),
            None => format!("{what}{mark}"),
        },
        _ => format!("{what}{mark}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{rows, shown};
    use super::*;

    const ROW: &str = "[[row]]\nnumber = 3\nway = 'a ring'\nhow = 'How.'\nroot = 'Nothing more.'\n";
    const SHOWN: &str = "3 t03_ring::a strong seen open below it\n3 t03_ring::a weak stated IO_URING_USED\n";

    fn claims(row: &str, shown_text: &str) -> [String; 2] {
        let (rows, shown) = (rows(row).expect("rows"), shown(shown_text).expect("lines"));
        [Path::Strong, Path::Weak].map(|path| claim(&rows[0], &shown, path))
    }

    #[test]
    fn a_claim_is_what_was_shown_and_not_more() {
        assert_eq!(claims(ROW, SHOWN), ["seen", "stated"]);
        assert_eq!(claims(ROW, ""), ["open", "open"]);
        assert_eq!(claims(ROW, "4 t04_other::a any held it"), ["open", "open"]);
        assert_eq!(claims(ROW, "3 t03_ring::a any held it"), ["held", "held"]);
        assert_eq!(claims(&format!("{ROW}open = ['some']\n"), SHOWN), ["part", "part"]);
        assert_eq!(claims(&format!("{ROW}open-weak = ['some']\n"), SHOWN), ["seen", "part"]);
        assert_eq!(claims(&format!("{ROW}open = ['some']\n"), ""), ["open", "open"]);
        let both = format!("{SHOWN}3 t03_ring::a weak seen act its making\n");
        assert_eq!(claims(ROW, &both), ["seen", "seen, stated"]);
    }

    #[test]
    fn a_section_tells_what_was_shown_where() {
        let text = document(&rows(ROW).expect("rows"), &shown(SHOWN).expect("lines"));
        for line in [
            "| [3](#row-3) | a ring | seen | stated |",
            "- Seen: by `open`, below it (strong path).",
            "- Stated: `IO_URING_USED` (weak path).",
            "- With root on the host: Nothing more.",
            "- Tests: `threats/t03_ring`.",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
