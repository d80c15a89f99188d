//! Both ends of mutual TLS against each other, with gRPC in it: who is let in, and above all who is not.

mod bench;
mod files;
mod hostile;
mod service;
mod spiffe;
mod start;
