//! Nodes and their collector.

mod delivery;
mod enrolment;
mod node;
mod refusals;
mod spiffe;
mod waiting;
