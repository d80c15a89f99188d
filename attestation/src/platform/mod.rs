//! Which machine a statement was made on, and in which state: by the word of its TPM, in a statement beside it.
//!
//! While a session runs, heads of its tree are extended into one register of the TPM, with those of the other sessions of the
//! node: [`Seal`]. All of them since the boot stand in the statement, so that none can be left out: whose seal is whose, everybody sees,
//! and what was sealed, only who has that session's log. At the end the TPM quotes its registers over a question that has the signed statement in it: [`Quoting`], the
//! statement `NAME.quote.intoto.jsonl`. Whose TPM it is, an enrolment says: [`Machine`].
//!
//! What that proves: that what was sealed was there before the quote, in this order, and that the machine was not restarted meanwhile.
//! It does not prove that what was sealed is true. Who is root may extend the register too; then the seals lead elsewhere, and nothing is
//! proven.
//!
//! Format: docs/format.md, section 15.

mod boot;
mod enrol;
mod machine;
mod quoting;
mod seal;
#[cfg(test)]
mod tests;

pub use boot::{Accepted, BOOT_POLICY_BYTES_MAX, Boot, BootPolicy, BootPolicyError};
pub use enrol::{Answer, Challenge, ENROL_BYTES_MAX, Endorsement, EnrolError, Message, Pending, Request, Terms};
pub use machine::{MACHINE_BYTES_MAX, Machine, MachineError, SEAL_PCRS};
pub use quoting::{
    Asked, CERTIFIED_DATA, CertifiedError, CertifiedKey, NONCE_BYTES_MAX, PREDICATE_TYPE, QUOTE_BYTES_MAX, Quoting,
    QuotingError, SIGNERS_MAX, Seals, start_data,
};
pub use seal::{HEADS_MAX, Head, Heads, SEAL_BYTES, SEALS_MAX, Seal, SealList};
