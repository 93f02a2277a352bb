//! The wire.
//!
//! The HTTP/1.1 and HTTP/2 server over TLS ([`server`], [`tls`]), the one HTTP client with guarded egress
//! ([`client`]), HTTP vocabulary with bounded and abortable bodies ([`http`]), and revocation lists by
//! URL ([`lists`]). Everything here is bounded by [`ward_core::Limits`] and nothing is installed
//! globally: no process-wide TLS provider, no ambient client.

mod aia;
mod built;
pub mod bundle;
pub mod client;
mod evidence;
pub mod head;
mod heads;
pub mod http;
mod http2;
mod kept;
mod lines;
pub mod lists;
mod named;
mod places;
pub mod server;
pub mod stats;
pub mod status;
#[cfg(test)]
mod tests;
pub mod tls;
mod wire;

pub use client::{Egress, FetchError, HttpClient};
pub use evidence::{Evidence, Source};
pub use http::Body;
pub use lists::{ListsError, RevocationLists};
pub use named::Named;
pub use server::{Handler, Peer, Running, Server};
pub use stats::{ServerSnapshot, ServerStats};
pub use status::{CertificationStatus, StatusError};
pub use tls::{TlsError, TlsReload, TlsVersions};
