//! The program; all it does is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Where even this fails, the signals do what they always did.
    let _ = go::outlive_signals();
    let words = std::env::args_os().skip(1);
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    etcdutl::run(&words)
}
