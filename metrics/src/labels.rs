//! Labels that both programs have. Each has few values, and none that somebody else chooses.

use prometheus_client::encoding::EncodeLabelSet;

/// Classes of files' digests, in the order in which statements count them.
pub const CLASSES: [&str; 5] = ["kernel", "stable", "ephemeral", "raced", "absent"];

/// A code of the project's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Code {
    /// Its name.
    pub code: &'static str,
}

/// What a statement says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Verdict {
    verdict: &'static str,
}

impl Verdict {
    /// Whether it is complete.
    #[must_use]
    pub fn of(complete: bool) -> Self {
        Self { verdict: if complete { "complete" } else { "incomplete" } }
    }
}

/// One of [`CLASSES`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Class {
    /// Its name.
    pub class: &'static str,
}
