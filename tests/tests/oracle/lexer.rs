//! strace's notation: a call cut into its arguments, strings and descriptors' paths brought back to bytes.

/// A call with its arguments as text, and what it returned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    pub(crate) name: &'a str,
    pub(crate) args: Vec<&'a str>,
    pub(crate) result: &'a str,
}

/// Cuts `name(a, b) = result`. None for a call that never returned.
pub(crate) fn call(line: &str) -> Option<Text<'_>> {
    let (name, rest) = line.split_once('(')?;
    let (args, used) = list(rest, b')')?;
    let result = rest.get(used..)?.trim_start().strip_prefix("= ")?;
    (!result.starts_with('?')).then_some(Text { name, args, result })
}

/// Cuts a list at its commas, up to the bracket that ends it; the elements, and the bytes used.
fn list(text: &str, end: u8) -> Option<(Vec<&str>, usize)> {
    let bytes = text.as_bytes();
    let (mut depth, mut from, mut at) = (0_u32, 0, 0);
    let mut elements = Vec::new();
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at)?,
            // A descriptor's path; `>` in it is escaped. `=>` and `<<` are no such.
            b'<' => at += bytes.get(at..)?.iter().position(|byte| *byte == b'>')?,
            b'(' | b'[' | b'{' => depth += 1,
            byte if depth == 0 && *byte == end => {
                if at > from {
                    elements.push(text[from..at].trim());
                }
                return Some((elements, at + 1));
            }
            b')' | b']' | b'}' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                elements.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the string that opens at `at` closes.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut end = at + 1;
    while *bytes.get(end)? != b'"' {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    Some(end)
}

/// The bytes of a quoted string; `@` before it marks an abstract socket's name.
pub(crate) fn string(text: &str) -> Option<Vec<u8>> {
    if let Some(abstract_name) = text.strip_prefix('@') {
        return string(abstract_name).map(|name| [b"\0", name.as_slice()].concat());
    }
    let inner = text.strip_prefix('"')?;
    assert!(!text.ends_with("..."), "strace cut a string: {text}");
    Some(bytes(inner.strip_suffix('"')?))
}

/// The strings of an array.
pub(crate) fn strings(text: &str) -> Option<Vec<Vec<u8>>> {
    let (elements, _) = list(text.strip_prefix('[')?, b']')?;
    elements.into_iter().map(string).collect()
}

/// The path behind a descriptor: `3</path>`, `AT_FDCWD</path>`, with `(deleted)` after it where the name is gone.
pub(crate) fn path(text: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once('<')?;
    let (path, _) = rest.split_once('>')?;
    Some(bytes(path))
}

/// The value of `key=value` in a structure.
pub(crate) fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (fields, _) = list(text.strip_prefix('{')?, b'}')?;
    fields.into_iter().find_map(|field| field.strip_prefix(key)?.strip_prefix('='))
}

/// C's escapes.
fn bytes(text: &str) -> Vec<u8> {
    let source = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(source.len()), 0);
    while at < source.len() {
        if source[at] != b'\\' {
            out.push(source[at]);
            at += 1;
            continue;
        }
        let digits = source[at + 1..].iter().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
        if digits > 0 {
            let octal =
                source[at + 1..=at + digits].iter().fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'));
            out.push(u8::try_from(octal).unwrap_or(b'?'));
            at += 1 + digits;
            continue;
        }
        out.push(match source.get(at + 1) {
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(b'v') => 0x0b,
            Some(b'f') => 0x0c,
            Some(other) => *other,
            None => b'\\',
        });
        at += 2;
    }
    out
}

#[test]
fn a_call_is_cut_at_its_own_commas() {
    let line = r#"execve("/bin/a b", ["a", "x, \") = 1", "\n\303\2441"], 0x7ffd /* 3 vars */) = 0"#;
    let text = call(line).expect("a call");
    assert_eq!((text.name, text.args.len(), text.result), ("execve", 3, "0"));
    let words = strings(text.args[1]).expect("an array");
    assert_eq!(words, [b"a".to_vec(), b"x, \") = 1".to_vec(), b"\n\xc3\xa41".to_vec()]);
}

#[test]
fn a_descriptor_s_path_is_unescaped() {
    let line = r#"openat(AT_FDCWD</tmp/a, b>, "n\nl<>", O_RDONLY) = 6</tmp/a, b/n\nl\74\76>(deleted)"#;
    let text = call(line).expect("a call");
    assert_eq!(path(text.args[0]).as_deref(), Some(b"/tmp/a, b".as_slice()));
    assert_eq!(path(text.result).as_deref(), Some(b"/tmp/a, b/n\nl<>".as_slice()));
}

#[test]
fn a_call_without_a_result_is_none() {
    assert_eq!(call("exit_group(0) = ?"), None);
    assert_eq!(call("read(3, \"unfinished"), None);
}
