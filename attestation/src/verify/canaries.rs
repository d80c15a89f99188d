//! What a statement says of the agent's known acts, held against what it says of completeness.

use super::Check;
use super::checks::{by_evidence, not_claimed, refused};
use crate::codes;
use crate::statement::{CanaryClaim, Claims, HookClaim};
use crate::trace::{INTERVAL_MAX_NS, UNTRIED_OBSERVATIONS};

const NAME: &str = "canaries";

/// Whether each hook saw the agent's known acts, and how long any may have been muted.
pub(super) fn check(claims: &Claims, recomputed: bool) -> Check {
    const OPEN: &str = "That no hook was muted for less than the time told, or for others than the agent.";
    let told = |hook: &HookClaim| hook.canaries.is_some();
    if !claims.hooks.iter().any(told) {
        return not_claimed(
            NAME,
            None,
            "the agent performed no known acts".into(),
            "That the hooks saw anything at all.",
        );
    }
    let mut first = None;
    for hook in &claims.hooks {
        let Some(code) = fault(hook) else { continue };
        if !claims.gaps.iter().any(|gap| gap.code == code) {
            let says = format!("hook {} has {code}, which does not stand among the gaps", hook.hook);
            return refused(NAME, codes::CLAIM_CONTRADICTED, says, OPEN);
        }
        first.get_or_insert((hook.hook, code));
    }
    if let Some((hook, code)) = first {
        return not_claimed(NAME, Some(code), format!("hook {hook} did not see what it should have"), OPEN);
    }
    let longest =
        |hook: &HookClaim| hook.canaries.filter(|canaries| canaries.seen > 0).map(|canaries| canaries.longest_ns);
    let longest_ms = claims.hooks.iter().filter_map(longest).max().unwrap_or_default() / 1_000_000;
    let says = format!("every hook saw the agent's known acts, at most {longest_ms} ms apart");
    by_evidence(NAME, says, OPEN, recomputed)
}

/// The gap that a hook's row demands.
fn fault(hook: &HookClaim) -> Option<&'static str> {
    match hook.canaries {
        None => (!UNTRIED_OBSERVATIONS.contains(&hook.observation.as_str())).then_some(codes::HOOK_NOT_TRIED),
        Some(CanaryClaim { silent: 1.., .. }) => Some(codes::HOOK_SILENT),
        Some(CanaryClaim { seen: 0, .. }) => Some(codes::HOOK_NOT_TRIED),
        Some(CanaryClaim { longest_ns, .. }) => (longest_ns > INTERVAL_MAX_NS).then_some(codes::CANARIES_LATE),
    }
}
