//! Nodes and their collector.

mod agent_counts;
mod alerts;
mod api;
mod asking;
mod counts;
mod delivery;
mod enrolment;
mod hostile_collector;
mod hostile_node;
mod networks;
mod node;
mod peer;
mod refusals;
mod schema;
mod spiffe;
mod waiting;
