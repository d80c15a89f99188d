//! The room on real file systems: every class and reason, each at its boundary.

mod absent;
mod chain;
mod ephemeral;
mod filesystems;
mod hostile;
mod left;
mod raced;
mod rights;
mod scale;
mod scene;
mod stable;
