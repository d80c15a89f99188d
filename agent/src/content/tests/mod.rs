//! The room on real file systems: every class and reason, each at its boundary.

mod scale;
mod scene;
mod stable;
