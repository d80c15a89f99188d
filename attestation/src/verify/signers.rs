//! The check `signers`: whether all who were to sign did, where there were several or one stood in for another.

use super::Check;
use super::checks::{not_claimed, proven, refused};
use crate::codes;
use crate::escape::escape;
use crate::statement::Meta;
use std::collections::BTreeSet;

const NAME: &str = "signers";
const OPEN: &str = "That those who signed are independent of each other: they run on one host.";

/// None for a statement of one signer, of whom the check of the signature says all, unless identities are trusted and it names
/// another than who is proven. `held` has the places of the signatures
/// that held with the key of each, and `unproven`, where no identities are trusted,
/// how many of these carry a certificate: they may be by whomever that names.
pub(super) fn check(
    meta: &Meta,
    signatures: usize,
    held: &[(usize, String)],
    unproven: Option<usize>,
    signers: &[String],
) -> Option<Check> {
    let alone = meta.co_signers.is_empty() && meta.instead_of.is_none();
    if alone && unproven.is_some() {
        return None;
    }
    let names: Vec<&String> = std::iter::once(&meta.signer).chain(&meta.co_signers).collect();
    let listed = |names: &[&String]| {
        let names: Vec<String> = names.iter().map(|name| escape(name.as_bytes()).into_owned()).collect();
        names.join(", ")
    };
    let instead = meta.instead_of.as_ref().map(|name| format!(", instead of {}", escape(name.as_bytes())));
    let instead = instead.unwrap_or_default();
    let (proven_names, open): (Vec<&String>, Vec<&String>) = names.into_iter().partition(|name| signers.contains(name));
    // A signature twice is one signer's. What did not hold may be anybody's, as far as can be told here.
    let places: BTreeSet<usize> = held.iter().map(|(place, _)| *place).collect();
    let others = signatures.saturating_sub(places.len()) + unproven.unwrap_or_default();
    if open.len() > others {
        let says = format!(
            "nobody signed as {}: {signatures} signatures are there, {others} of them by others",
            listed(&open)
        );
        return Some(refused(NAME, codes::SIGNATURE_MISSING, says, OPEN));
    }
    if alone {
        return None;
    }
    Some(if open.is_empty() {
        proven(NAME, format!("all that the statement names: {}{instead}", listed(&proven_names)), OPEN)
    } else {
        let says = format!("no anchor that was given is of {}{instead}", listed(&open));
        not_claimed(NAME, None, says, OPEN)
    })
}
