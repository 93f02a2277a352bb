//! Black-box tests over real sockets with real TLS. Each names the requirement ids that it proves.

#![expect(unreachable_pub, reason = "the modules of a test binary are used by each other only")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking, helpers included")]

mod bad_input;
mod command_line;
mod durability;
mod faults;
mod floors;
mod harness;
mod pki;
mod rows;
