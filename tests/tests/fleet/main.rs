//! Nodes and their collector.

mod delivery;
mod enrolment;
mod hostile_collector;
mod hostile_node;
mod node;
mod peer;
mod refusals;
mod spiffe;
mod waiting;
