//! See `ward_fuzz_checks::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ward_fuzz_checks::config::check(data);
});
