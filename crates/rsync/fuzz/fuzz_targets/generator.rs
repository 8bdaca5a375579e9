#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    assert!(barge_rsync_fuzz::generator(input) <= input.len() + barge_rsync_fuzz::MOST_TOLD);
});
