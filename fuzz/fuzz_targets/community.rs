//! See `ward_fuzz_checks::community`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ward_fuzz_checks::community::check(data);
});
