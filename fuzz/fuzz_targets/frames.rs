//! libFuzzer's door to the target `frames` of `crates/proof/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let target = holdfast_fuzz::target("frames").expect("a target of this name");
    (target.run)(data);
});
