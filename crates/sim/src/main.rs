//! Plays seeds: `holdfast-sim [--from N] [--seeds N] [--step N] [--show]`. Ends with an error at the first that fails.

fn main() -> Result<(), String> {
    let (mut from, mut seeds, mut step, mut show) = (0, 1, 1, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        if option == "--show" {
            show = true;
            continue;
        }
        let value = arguments.next().and_then(|value| value.parse::<u64>().ok());
        let value = value.ok_or_else(|| format!("{option} needs a number"))?;
        match option.as_str() {
            "--from" => from = value,
            "--seeds" => seeds = value,
            "--step" => step = value,
            other => return Err(format!("there is no option {other}")),
        }
    }
    for number in 0..seeds {
        let report = holdfast_sim::run(from + number * step, show);
        if seeds == 1 || report.failure.is_some() {
            println!("{report}");
        }
        if report.failure.is_some() {
            return Err(format!("seed {} failed", report.seed));
        }
    }
    Ok(())
}
