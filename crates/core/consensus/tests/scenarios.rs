//! Plays `scenarios/*.txt`: blocks of commands, `----`, and all that happens.
//!
//! `HOLDFAST_BLESS=1 cargo test -p holdfast-consensus --test scenarios` writes what came out into the files; the
//! diff then shows what changed. A block that begins with `cluster` begins a new story; disks sync and entries are
//! applied at once unless told to stall; messages wait until they are delivered. The judges look after each step.

#![allow(clippy::disallowed_methods, reason = "a test may know the world around what it tests")]

mod player;
mod world;

use std::path::Path;

use player::Player;

/// Plays a file and gives it back with what really came out, and how many stories it tells.
fn play(text: &str) -> (String, usize) {
    let mut player = Player::default();
    let mut stories = 0;
    let blocks = text.trim_end().split("\n\n").map(|block| {
        let lines: Vec<&str> = block.lines().take_while(|line| *line != "----").collect();
        if lines.iter().all(|line| line.starts_with('#')) {
            return format!("{}\n", lines.join("\n"));
        }
        stories += lines.iter().filter(|line| line.starts_with("cluster")).count();
        let out: String = lines
            .iter()
            .filter(|line| !line.starts_with('#'))
            .map(|line| player.command(line))
            .collect();
        format!("{}\n----\n{out}", lines.join("\n"))
    });
    let played = blocks.collect::<Vec<_>>().join("\n");
    (played, stories)
}

#[test]
fn every_scenario_happens_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let bless = std::env::var_os("HOLDFAST_BLESS").is_some();
    let mut told = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder is there") {
        let path = entry.expect("a readable folder").path();
        let text = std::fs::read_to_string(&path).expect("a readable file");
        println!("{}", path.display());
        let (actual, stories) = play(&text);
        told += stories;
        if bless {
            std::fs::write(&path, &actual).expect("a writable file");
        }
        assert_eq!(actual, if bless { actual.clone() } else { text }, "{}", path.display());
    }
    assert!(told >= 40, "only {told} stories were found");
}
