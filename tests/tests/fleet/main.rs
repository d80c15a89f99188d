//! Nodes and their collector.

mod delivery;
mod enrolment;
mod node;
mod spiffe;
mod waiting;
