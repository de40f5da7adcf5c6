//! libFuzzer's door to the target `http2` of `crates/proof/fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let target = holdfast_fuzz::target("http2").expect("a target of this name");
    (target.run)(data);
});
