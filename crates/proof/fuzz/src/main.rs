//! Mutates blindly and watches for panics and for inputs that take for ever.
//!
//! `holdfast-fuzz TARGET SECONDS [SEED]` begins with the target's seeds and what lies in `fuzz/corpus/TARGET`.
//! `holdfast-fuzz seeds` writes the seeds there. What failed lies in `fuzz/artifacts/TARGET` afterwards.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdfast_fuzz::{TARGETS, Target, mutate, target};

/// An input that takes longer is taken for endless.
const INPUT_SECONDS_MAX: u64 = 20;

fn folder(kind: &str, target: &Target) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz");
    root.join(kind).join(target.name)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["seeds"] => write_seeds(),
        [name, seconds, rest @ ..] => {
            let (Some(target), Ok(seconds)) = (target(name), seconds.parse()) else {
                return usage();
            };
            let seed = rest.first().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                now.map_or(1, |now| now.as_secs())
            });
            fuzz(target, Duration::from_secs(seconds), seed)
        }
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    let names = TARGETS.map(|target| target.name).join("|");
    eprintln!("holdfast-fuzz seeds\nholdfast-fuzz {names} SECONDS [SEED]");
    ExitCode::from(2)
}

fn write_seeds() -> ExitCode {
    for target in &TARGETS {
        let folder = folder("corpus", target);
        fs::create_dir_all(&folder).expect("the repository can be written");
        for (number, seed) in (target.seeds)().iter().enumerate() {
            let path = folder.join(format!("seed-{number}"));
            fs::write(path, seed).expect("the repository can be written");
        }
    }
    ExitCode::SUCCESS
}

fn fuzz(target: &'static Target, time: Duration, seed: u64) -> ExitCode {
    println!("{}: seed {seed}, {} s", target.name, time.as_secs());
    let mut inputs = (target.seeds)();
    if let Ok(entries) = fs::read_dir(folder("corpus", target)) {
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        inputs.extend(paths.iter().filter_map(|path| fs::read(path).ok()));
    }
    let mut chance = proof::Chance(seed);
    let under_way = Arc::new(Mutex::new((Vec::new(), Instant::now())));
    watch_over(target, under_way.clone());
    let (began, mut runs, mut failures) = (Instant::now(), 0u64, 0);
    while began.elapsed() < time && failures < 5 {
        let input = mutate::mutate(&inputs, &mut chance);
        *under_way.lock().expect("no holder panics") = (input.clone(), Instant::now());
        runs += 1;
        if catch_unwind(|| (target.run)(&input)).is_err() {
            failures += 1;
            keep(target, "crash", &input);
        }
    }
    println!("{}: {runs} runs, {failures} failures", target.name);
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn keep(target: &Target, kind: &str, input: &[u8]) {
    let folder = folder("artifacts", target);
    let path = folder.join(format!("{kind}-{:08x}", crc32c::crc32c(input)));
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input));
    println!("{kind}: {} ({written:?})", path.display());
}

fn watch_over(target: &'static Target, under_way: Arc<Mutex<(Vec<u8>, Instant)>>) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let under_way = under_way.lock().expect("no holder panics");
            if INPUT_SECONDS_MAX < under_way.1.elapsed().as_secs() {
                keep(target, "endless", &under_way.0);
                std::process::exit(1);
            }
        }
    });
}
