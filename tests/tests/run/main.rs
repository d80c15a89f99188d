//! What `testimony run` sees of a command: each test does a few known acts and finds exactly those in the signed record.

mod asked;
mod digests;
mod exec;
mod folding;
mod ima;
mod membership;
mod names;
mod network;
mod opens;
mod processes;
mod unix;
mod verity;
