//! See `ward_fuzz_checks::sealed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ward_fuzz_checks::sealed::check(data);
});
