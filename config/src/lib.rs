//! Configuration files: TOML in which every fault is said at once, with its line.
//!
//! A reader that stops at the first fault makes an operator start a daemon once for each. Here a value that cannot be
//! taken is noted and left out, and the rest is read again, until nothing is left to note. What is refused is never
//! replaced by a default: a file with a fault gives no configuration.
//!
//! What this asks of the structures: `#[serde(default, deny_unknown_fields)]` on each, so that leaving one value out gives
//! no second fault, and what must be there is an `Option` or an empty text that [`Validate`] looks for.
#![forbid(unsafe_code)]

mod document;
mod fault;
mod file;
mod quantity;

pub use document::parse;
pub use fault::{Fault, Refused, each, within};
pub use file::read;
pub use quantity::{Bytes, QuantityError, Seconds};

/// Bytes of a file at most.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Faults that are said at most; that there are more is said too.
pub const FAULTS_MAX: usize = 100;

/// What a configuration is held to when each of its values could be read: what must be there, and what may not stand
/// together.
pub trait Validate {
    /// Adds what is wrong, each by its path from here. Parts add theirs by [`within`] and [`each`].
    fn faults(&self, faults: &mut Vec<Fault>);
}
