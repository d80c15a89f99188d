//! Statements bound to who signed and when: SPIFFE identities of a real SPIRE, timestamps of a real authority, both verified
//! offline.

mod bench;
mod hostile;
mod rotation;
mod spire;
mod timestamps;
mod witness;
