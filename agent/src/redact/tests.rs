//! What a rule takes out, and what stays.

use std::ffi::{OsStr, OsString};

use super::*;

fn rules(rules: &[&str]) -> Redaction {
    Redaction::new(&rules.iter().map(|rule| (*rule).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn mark(redaction: &Redaction, secret: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    redaction.mark(secret, &mut out);
    out
}

#[test]
fn of_a_rule_with_groups_the_groups_are_secret_and_else_all_of_it() {
    let redaction = rules(&["--password[=\0]([^\0]+)", "hunter[0-9]"]);
    let said = redaction.arguments(b"tool\0--password\x00123456\0--user\0me\0see hunter2!\0");
    let expected = [
        b"tool\0--password\0".as_slice(),
        &mark(&redaction, b"123456"),
        b"\0--user\0me\0see ",
        &mark(&redaction, b"hunter2"),
        b"!\0",
    ]
    .concat();
    assert_eq!(said, expected);
}

#[test]
fn arguments_stay_as_many_and_overlaps_are_one() {
    let redaction = rules(&["a.*c", "b.*d"]);
    let said = redaction.arguments(b"xabc\0\0bcdx");
    assert_eq!(said, [b"x".as_slice(), &mark(&redaction, b"abc"), b"\0\0", &mark(&redaction, b"bcd"), b"x"].concat());
}

#[test]
fn what_matches_nothing_and_empty_matches_change_nothing() {
    for rule in ["absent", "", "x*", "()"] {
        assert_eq!(rules(&[rule]).arguments(b"cc\0-o\0tool\0"), b"cc\0-o\0tool\0", "{rule:?}");
    }
    assert_eq!(rules(&[]).arguments(b"\xff\0"), b"\xff\0");
}

#[test]
fn a_rule_sees_the_same_text_of_a_command_and_of_what_the_kernel_tells() {
    let words = ["echo", "--token", "hunter2"].map(OsString::from);
    for rule in [r"(hunter2)$", r"--token\x00(\w+)$", r"(?m)^(hunter\w)$"] {
        let redaction = rules(&[rule]);
        let hidden = [b"echo\0--token\0".as_slice(), &mark(&redaction, b"hunter2"), b"\0"].concat();
        assert_eq!(redaction.arguments(b"echo\0--token\0hunter2\0"), hidden, "{rule}");
        assert_eq!(redaction.command(&words).join(&0), hidden[..hidden.len() - 1], "{rule}");
    }
}

#[test]
fn too_many_secrets_are_one() {
    let redaction = rules(&["[a-z]"]);
    let arguments = vec![b'x'; SPANS_MAX + 2];
    assert_eq!(redaction.arguments(&arguments), mark(&redaction, &arguments));
}

#[test]
fn any_bytes_can_be_matched() {
    let redaction = rules(&[r"(?-u:\xff)+"]);
    assert_eq!(redaction.arguments(b"a\xff\xffb"), [b"a".as_slice(), &mark(&redaction, b"\xff\xff"), b"b"].concat());
}

#[test]
fn a_mark_is_of_its_session_and_of_its_secret() {
    let (one, other) = (rules(&[]), rules(&[]));
    assert_eq!(one.hmac(b"123456"), one.hmac(b"123456"));
    assert_ne!(one.hmac(b"123456"), one.hmac(b"123457"));
    assert_ne!(one.hmac(b"123456"), other.hmac(b"123456"));
}

#[test]
fn more_than_a_frame_s_reader_takes_is_one_mark() {
    let redaction = rules(&["[a-z]"]);
    let arguments = vec![b'x'; ARGUMENTS_BYTES_MAX / 70];
    assert_eq!(redaction.arguments(&arguments), mark(&redaction, &arguments));
}

#[test]
fn a_variable_is_plain_hashed_or_not_set() {
    let redaction = rules(&["^TOKEN=(.*)"]);
    let value = OsStr::new("secret");
    let plain = redaction.variable("MODE", Some(value), false);
    assert_eq!((plain.value.as_deref(), plain.hmac), (Some(&b"secret"[..]), None));
    for hashed in [redaction.variable("MODE", Some(value), true), redaction.variable("TOKEN", Some(value), false)] {
        assert_eq!((hashed.value, hashed.hmac), (None, Some(redaction.hmac(b"secret").to_vec())));
    }
    let absent = redaction.variable("MODE", None, true);
    assert_eq!((absent.value, absent.hmac), (None, None));
}

#[test]
fn a_rule_that_is_none_is_named() {
    let error = Redaction::new(&["a(".to_owned()]).err().unwrap();
    assert_eq!(error.to_string(), "--redact a(: no regular expression");
    assert!(Redaction::new(&["(a{1000}){1000}".to_owned()]).is_err(), "too large");
}
