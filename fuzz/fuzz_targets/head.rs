//! See `ward_fuzz_checks::head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ward_fuzz_checks::head::check(data);
});
