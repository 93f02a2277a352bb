//! Tests of the room: generated chains, lists, JWTs and documents, good and bad, named after the rows of
//! udap.md §7.

mod assertion;
mod bundle;
mod certification;
mod chains;
mod context;
mod crl;
mod jose;
mod metadata;
mod ocsp;
mod path;
mod pki;
mod pool;
mod reach;
mod responder;
mod revocation;
mod selectors;
mod signal;
mod statement;
mod tefca;
