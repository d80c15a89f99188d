//! What a program keeps of its rights once it has started: some capabilities or none, no way to more, and, by Landlock, the files that
//! it names. Both hold for the thread that asks and for those that it starts, so a program asks before it starts any.
#![forbid(unsafe_code)]

mod capabilities;
mod files;
mod user;

pub use capabilities::{held, keep, listed};
pub use files::{Held, Needs, hold};
pub use rustix::thread::CapabilitySet;
pub use user::{become_owner, is_root};
