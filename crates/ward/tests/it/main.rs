//! Black-box tests over real sockets with real TLS. Each names the requirement ids that it proves.

#![expect(unreachable_pub, reason = "the modules of a test binary are used by each other only")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, helpers included"
)]
#![expect(
    clippy::print_stdout,
    clippy::disallowed_macros,
    reason = "tests say what they counted and what they skipped"
)]
#![expect(clippy::format_push_string, reason = "requests are written to be read")]

mod backup;
mod bad_certificates;
mod bad_input;
mod bundle;
mod certifications;
mod check_command;
mod client_command;
mod client_examples;
mod client_rows;
mod command_line;
mod community;
mod conformance;
mod demo_trust;
mod discovery;
mod docs;
mod durability;
mod fault_table;
mod faults;
mod floors;
mod hanging;
mod harness;
mod hostile;
mod inferno;
mod lying_lists;
mod metadata;
mod observe;
mod operators;
mod ops;
mod passport;
mod pki;
mod place;
mod profiles;
mod reasons;
mod registrations;
mod rows;
mod scripted;
mod serve;
mod signals;
mod stranger;
