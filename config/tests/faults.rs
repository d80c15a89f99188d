//! What is said of configurations with faults, and by which line.

use std::os::unix::fs::PermissionsExt as _;
use std::{collections::BTreeMap, fs, path::PathBuf};

use config::{Bytes, FAULTS_MAX, FILE_BYTES_MAX, Fault, Refused, Seconds, Validate, each, parse, read, within};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Agent {
    name: String,
    workers: u8,
    ship: Ship,
    rules: Vec<Rule>,
    labels: BTreeMap<String, u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Ship {
    to: Option<String>,
    retry: Seconds,
    spool: Bytes,
    tls: Tls,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Tls {
    key: Option<PathBuf>,
    certificate: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rule {
    name: String,
    limit: u32,
    action: Action,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Action {
    #[default]
    Keep,
    Drop {
        #[serde(default)]
        after: Seconds,
    },
}

impl Validate for Agent {
    fn faults(&self, faults: &mut Vec<Fault>) {
        if self.name.is_empty() {
            faults.push(Fault::new("name", "is missing"));
        }
        within("ship", &self.ship, faults);
        each("rules", &self.rules, faults);
        for (key, value) in &self.labels {
            within("labels", &Label(key, *value), faults);
        }
    }
}

struct Label<'a>(&'a str, u32);

impl Validate for Label<'_> {
    fn faults(&self, faults: &mut Vec<Fault>) {
        if self.1 == 0 {
            within(self.0, &Zero, faults);
        }
    }
}

struct Zero;

impl Validate for Zero {
    fn faults(&self, faults: &mut Vec<Fault>) {
        faults.push(Fault::new("", "may not be 0"));
    }
}

impl Validate for Ship {
    fn faults(&self, faults: &mut Vec<Fault>) {
        if self.to.is_none() {
            faults.push(Fault::new("to", "is missing"));
        }
        if self.tls.key.is_some() != self.tls.certificate.is_some() {
            faults.push(Fault::new("tls", "takes both or none"));
        }
    }
}

impl Validate for Rule {
    fn faults(&self, faults: &mut Vec<Fault>) {
        if self.limit == 0 {
            faults.push(Fault::new("limit", "may not be 0"));
        }
        if let Action::Drop { after } = self.action
            && after.get() == 0
        {
            faults.push(Fault::new("action.drop.after", "may not be 0s"));
        }
    }
}

fn refused(text: &str) -> Refused {
    parse::<Agent>("agent.toml", text).expect_err("faults")
}

/// Line and path of each.
fn places(text: &str) -> Vec<(u32, String)> {
    refused(text).faults.into_iter().map(|fault| (fault.line.unwrap_or(0), fault.path)).collect()
}

fn at(places: &[(u32, &str)]) -> Vec<(u32, String)> {
    places.iter().map(|(line, path)| (*line, (*path).to_owned())).collect()
}

#[test]
fn a_file_without_faults_is_taken() {
    let text = "name = 'a'\n[ship]\nto = 'b'\nretry = '5m'\nspool = '64MiB'\n[[rules]]\nname = 'r'\nlimit = 3\n\
                action = { drop = { after = '1s' } }\n[labels]\n'a.b' = 1\n";
    let agent: Agent = parse("agent.toml", text).unwrap();
    assert_eq!((agent.name.as_str(), agent.workers, agent.ship.retry.get()), ("a", 0, 300));
    assert_eq!((agent.ship.spool, agent.rules.len()), (Bytes::new(64 << 20), 1));
    assert_eq!(agent.rules.first().map(|rule| rule.name.as_str()), Some("r"));
}

#[test]
fn all_faults_are_said_at_once_by_line() {
    let text = "\
name = 7
workers = 256
colour = 'red'

[ship]
retry = 30
spool = '64MB'
tls.kee = 'x'

[[rules]]
limit = 1
[[rules]]
limit = -1
[[rules]]
limit = 1
limmit = 2
action = 'burn'
";
    let said = refused(text).to_string();
    let lines: Vec<&str> = said.lines().collect();
    let expected = [
        "agent.toml:1: name: invalid type: integer `7`, expected a string",
        "agent.toml:2: workers: invalid value: integer `256`, expected u8",
        "agent.toml:3: colour: unknown field `colour`, expected one of `name`, `workers`, `ship`, `rules`, `labels`",
        "agent.toml:5: ship.to: is missing",
        "agent.toml:6: ship.retry: 30 has no unit: write a text, a whole number with s, m, h or d, as in \"30s\" or \"5m\"",
        "agent.toml:7: ship.spool: \"64MB\" is not a whole number with B, KiB, MiB, GiB or TiB, as in \"64MiB\"",
        "agent.toml:8: ship.tls.kee: unknown field `kee`, expected `key` or `certificate`",
        "agent.toml:13: rules[1].limit: invalid value: integer `-1`, expected u32",
        "agent.toml:16: rules[2].limmit: unknown field `limmit`, expected one of `name`, `limit`, `action`",
        "agent.toml:17: rules[2].action: unknown variant `burn`, expected `keep` or `drop`",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn elements_that_are_none_are_counted_where_they_stood() {
    let text = "name = 'a'\nship.to = 'b'\nrules = [\n  1,\n  { limit = 1 },\n  'x',\n  { limit = 0 },\n  { limit = 'y' },\n]\n";
    // Both of serde and of the value, though two before them were left out.
    let expected = [(4, "rules[0]"), (6, "rules[2]"), (7, "rules[3].limit"), (8, "rules[4].limit")];
    assert_eq!(places(text), at(&expected));
}

#[test]
fn a_value_that_was_left_out_is_not_said_to_be_missing_too() {
    assert_eq!(places("name = 1\nship.to = 2\n"), at(&[(1, "name"), (2, "ship.to")]));
    // Nor is what may hold of both only because one was left out.
    assert_eq!(
        places("name = 'a'\n[ship]\nto = 'b'\n[ship.tls]\nkey = 1\ncertificate = 'c'\n"),
        at(&[(5, "ship.tls.key")])
    );
}

#[test]
fn what_is_missing_has_the_line_of_what_it_belongs_into() {
    assert_eq!(places(""), at(&[(0, "name"), (0, "ship.to")]));
    assert_eq!(places("name = 'a'\n\n[ship]\nretry = '1s'\n"), at(&[(3, "ship.to")]));
    assert_eq!(places("name = 'a'\nship.to = 'b'\n[[rules]]\n[[rules]]\nlimit = 1\n"), at(&[(3, "rules[0].limit")]));
    let dropped = "name = 'a'\nship.to = 'b'\n[[rules]]\nlimit = 1\n[rules.action.drop]\n";
    assert_eq!(places(dropped), at(&[(5, "rules[0].action.drop.after")]));
}

#[test]
fn keys_with_dots_are_found() {
    let text = "name = 'a'\nship.to = 'b'\n[labels]\na = 1\n'a.b' = 0\n\"\\u001b[2J\" = 'x'\n";
    assert_eq!(places(text), at(&[(5, "labels.\"a.b\""), (6, "labels.\"\\u{1b}[2J\"")]));
}

#[test]
fn a_fault_inside_an_enum_is_found() {
    let text = "name = 'a'\nship.to = 'b'\n[[rules]]\nlimit = 1\n[rules.action.drop]\nafter = 5\n";
    assert_eq!(places(text), at(&[(6, "rules[0].action.drop.after")]));
}

#[test]
fn a_syntax_error_is_the_one_fault() {
    let refused = refused("name = 7\nworkers = = 1\nx = 'y'\n");
    assert_eq!(refused.faults.len(), 1);
    assert!(refused.to_string().starts_with("agent.toml:2: "), "{refused}");
}

#[test]
fn what_stands_twice_is_refused() {
    for text in ["name = 'a'\nname = 'b'\n", "[ship]\nto = 'a'\n[ship]\n", "ship.to = 'a'\n[ship]\nto = 'b'\n"] {
        let refused = refused(text);
        assert!(refused.to_string().contains("duplicate key"), "{refused}");
        assert!(refused.faults.iter().all(|fault| fault.line > Some(1)), "{refused}");
    }
}

#[test]
fn what_a_file_has_cannot_break_lines_or_fill_them() {
    let said =
        refused(&format!("name = 'a'\nship.to = 'b'\n\"\\n\\u001b\" = 1\n{} = 1\n", "k".repeat(9000))).to_string();
    assert_eq!(said.lines().count(), 2);
    assert!(said.len() < 2000 && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn as_many_faults_as_are_said_are_all() {
    let unknown = |count: usize| (0..count).map(|index| format!("k{index:04} = 1\n")).collect::<String>();
    let head = "name = 'a'\nship.to = 'b'\n";
    let at_limit = refused(&format!("{head}{}", unknown(FAULTS_MAX)));
    assert_eq!((at_limit.faults.len(), at_limit.more), (FAULTS_MAX, false));
    let over = refused(&format!("{head}{}", unknown(FAULTS_MAX + 1)));
    assert_eq!((over.faults.len(), over.more), (FAULTS_MAX, true));
    assert_eq!(over.to_string().lines().last(), Some("agent.toml: there may be more faults"));
}

#[test]
fn a_text_of_one_byte_too_many_is_refused() {
    let head = "name = 'a'\nship.to = 'b'\n#";
    let text = |bytes: usize| format!("{head}{}", " ".repeat(bytes - head.len()));
    assert!(parse::<Agent>("agent.toml", &text(FILE_BYTES_MAX)).is_ok());
    assert!(refused(&text(FILE_BYTES_MAX + 1)).to_string().contains("over the limit of 1048576 bytes"));
}

#[test]
fn nesting_without_end_is_a_fault() {
    assert_eq!(refused(&format!("x = {}", "[".repeat(100_000))).faults.len(), 1);
    assert_eq!(refused(&format!("x = {}1{}", "[".repeat(10_000), "]".repeat(10_000))).faults.len(), 1);
}

#[test]
fn a_file_is_read_only_if_its_owner_alone_may_write_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.toml");
    fs::write(&path, "name = 'a'\nship.to = 'b'\n").unwrap();
    for (mode, taken) in [(0o644, true), (0o600, true), (0o444, true), (0o664, false), (0o646, false), (0o666, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let result = read::<Agent>(&path);
        assert_eq!(result.is_ok(), taken, "{mode:o}");
        if let Err(refused) = result {
            assert!(refused.to_string().contains("others than its owner may write it"), "{refused}");
            assert!(refused.to_string().contains(&format!("{mode:o}")), "{refused}");
        }
    }
}

#[test]
fn files_that_are_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let says = |path: &std::path::Path| read::<Agent>(path).unwrap_err().to_string();
    assert!(says(&folder.path().join("none.toml")).contains("cannot be read"));
    assert!(says(folder.path()).contains("it is no file"));
    assert!(says("/dev/zero".as_ref()).contains("it is no file"));
    let path = folder.path().join("agent.toml");
    let write = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write(b"name = 'a'\nship.to = '\xff'\n");
    assert_eq!(says(&path), format!("{}:2: it is not UTF-8", path.display()));
    write(&vec![b'#'; FILE_BYTES_MAX + 1]);
    assert!(says(&path).contains("over the limit"));
    write(b"name = 'a'\nship.too = 'b'\n");
    assert!(says(&path).starts_with(&format!("{}:2: ship.", path.display())));
}
