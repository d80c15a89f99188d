//! Sessions of a node's agent: those that are asked for, and those that it opens by itself.

mod asked;
mod containers;
mod ends;
mod node;
