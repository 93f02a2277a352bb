//! Black-box tests of the door over real sockets to a scripted upstream (house §6).
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests stand outside test functions, where clippy allows these"
)]

mod faults;
mod intake;
mod observe;
mod paging;
mod promise;
mod record;
mod review;
mod socket;
mod support;
mod uniform;
mod upstream;
