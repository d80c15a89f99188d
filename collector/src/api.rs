//! The JSON API (docs/api.md): questions to the index, over HTTPS, by whoever has a right to ask, each with limits.
//!
//! Nothing is answered before it is known who asks: by a certificate of the authorities with a SPIFFE ID that has rights, or by a token, of
//! which only the hash is known here.

mod answer;
mod ask;
mod handlers;
mod rights;
mod serve;
mod settings;
#[cfg(test)]
mod tests;

pub(crate) use answer::State;
pub(crate) use handlers::document;
pub(crate) use rights::make_token;
pub(crate) use serve::{check, start};
pub(crate) use settings::Settings;
