//! The check `signers`: whether all who were to sign did, where there were several or one stood in for another.

use super::Check;
use super::checks::{not_claimed, proven, refused};
use crate::codes;
use crate::escape::escape;
use crate::statement::Meta;

const NAME: &str = "signers";
const OPEN: &str = "That those who signed are independent of each other: they run on one host.";

/// None for a statement of one signer, of whom the check of the signature says all.
pub(super) fn check(meta: &Meta, signatures: usize, signers: &[String]) -> Option<Check> {
    let names: Vec<&String> = std::iter::once(&meta.signer).chain(&meta.co_signers).collect();
    let listed = |names: &[&String]| {
        let names: Vec<String> = names.iter().map(|name| escape(name.as_bytes()).into_owned()).collect();
        names.join(", ")
    };
    if signatures < names.len() {
        let says = format!("{} were to sign, and {signatures} signatures are there: {}", names.len(), listed(&names));
        return Some(refused(NAME, codes::SIGNATURE_MISSING, says, OPEN));
    }
    if meta.co_signers.is_empty() && meta.instead_of.is_none() {
        return None;
    }
    let instead = meta.instead_of.as_ref().map(|name| format!(", instead of {}", escape(name.as_bytes())));
    let instead = instead.unwrap_or_default();
    let (held, open): (Vec<&String>, Vec<&String>) = names.into_iter().partition(|name| signers.contains(name));
    Some(if open.is_empty() {
        proven(NAME, format!("all that the statement names: {}{instead}", listed(&held)), OPEN)
    } else {
        let says = format!("no anchor that was given is of {}{instead}", listed(&open));
        not_claimed(NAME, None, says, OPEN)
    })
}
