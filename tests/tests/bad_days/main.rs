//! Bad input and bad days: what `testimony run` does where it cannot do its work, or only a part of it.

mod beside;
mod blind;
mod killed;
mod loss;
mod refused;
mod signals;
mod status;
