//! Plays seeds: `holdfast-sim [--members N] [--from N] [--seeds N] [--step N] [--operations N] [--without KIND]
//! [--shrink] [--show]`. Ends with an error at the first that fails.

use holdfast_sim::{Cuts, KINDS, Play, Report, run, shrink};

/// What to do.
struct Wanted {
    members: usize,
    from: u64,
    seeds: u64,
    step: u64,
    cuts: Cuts,
    shrink: bool,
    show: bool,
}

#[expect(clippy::disallowed_methods, reason = "a program reads its arguments")]
fn main() -> Result<(), String> {
    let wanted = read(std::env::args().skip(1))?;
    let Wanted { members, from, seeds, step, cuts, .. } = wanted;
    for number in 0..seeds {
        let play = Play { seed: from + number * step, members, cuts };
        let report = run(play, wanted.show);
        if report.failure.is_none() {
            if seeds == 1 {
                println!("{report}");
            }
            continue;
        }
        let shortest: Option<Report> = if wanted.shrink { shrink(play) } else { None };
        println!("{}", shortest.unwrap_or(report));
        return Err(format!("seed {} failed", play.seed));
    }
    Ok(())
}

fn read(mut arguments: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let cuts = Cuts::default();
    let mut wanted =
        Wanted { members: 1, from: 0, seeds: 1, step: 1, cuts, shrink: false, show: false };
    while let Some(option) = arguments.next() {
        match option.as_str() {
            "--show" => {
                wanted.show = true;
                continue;
            }
            "--shrink" => {
                wanted.shrink = true;
                continue;
            }
            _ => {}
        }
        let value = arguments.next().ok_or_else(|| format!("{option} needs a value"))?;
        if option == "--without" {
            let cut = wanted.cuts.without(&value);
            wanted.cuts = cut.ok_or_else(|| format!("--without one of {}", KINDS.join(", ")))?;
            continue;
        }
        let number: u64 = value.parse().map_err(|_| format!("{option} needs a number"))?;
        match option.as_str() {
            "--members" if (1..=5).contains(&number) => wanted.members = number as usize,
            "--from" => wanted.from = number,
            "--seeds" => wanted.seeds = number,
            "--step" => wanted.step = number,
            "--operations" => wanted.cuts.operations = Some(number as usize),
            other => return Err(format!("there is no option {other} {value}")),
        }
    }
    Ok(wanted)
}
