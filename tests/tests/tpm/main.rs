//! TPMs in software: what is computed without one, what the helper asks one, and what runs have sealed in one.

mod bench;
mod helper;
mod hindered;
mod node;
mod rewritten;
mod seals;
mod tools;
