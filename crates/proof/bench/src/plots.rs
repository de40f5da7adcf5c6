//! The plots of the report: throughput against clients, and how long they wait.

use std::io;
use std::path::Path;

use crate::rates::{CURVE, PERCENTILES};
use crate::results::Results;
use crate::subject::Subject;
use crate::svg::{Axis, Line, Plot, Scale};

/// At which load the percentiles are shown.
const IN_FLIGHT_SHOWN: [usize; 2] = [100, 1000];

/// Writes the plots for which there are figures.
pub fn write(folder: &Path, results: &Results, subjects: &[Subject]) -> io::Result<()> {
    for kind in ["put", "get"] {
        let lines =
            lines(results, subjects, &CURVE.map(|n| (n as f64, format!("{kind} {n} rate"))));
        if lines.is_empty() {
            continue;
        }
        let plot = Plot {
            title: format!("{kind}: throughput against requests in flight"),
            x: Axis {
                title: "requests in flight".into(),
                scale: Scale::Logarithmic,
                ticks: CURVE.map(|n| (n as f64, n.to_string())).to_vec(),
            },
            y: Axis { title: "requests a second".into(), scale: Scale::Linear, ticks: Vec::new() },
            lines,
        };
        std::fs::write(folder.join(format!("{kind}-rate.svg")), plot.svg())?;
        for in_flight in IN_FLIGHT_SHOWN {
            let file = format!("{kind}-waits-{in_flight}.svg");
            std::fs::write(folder.join(file), waits(results, subjects, kind, in_flight).svg())?;
        }
    }
    Ok(())
}

fn waits(results: &Results, subjects: &[Subject], kind: &str, in_flight: usize) -> Plot {
    let mut places = Vec::new();
    let mut ticks = Vec::new();
    for (at, (name, _)) in PERCENTILES.iter().enumerate() {
        places.push((at as f64 + 1.0, format!("{kind} {in_flight} {name}")));
        ticks.push((at as f64 + 1.0, (*name).to_string()));
    }
    Plot {
        title: format!("{kind}: how long {in_flight} in flight wait"),
        x: Axis { title: "share of the requests".into(), scale: Scale::Logarithmic, ticks },
        y: Axis { title: "microseconds".into(), scale: Scale::Logarithmic, ticks: Vec::new() },
        lines: lines(results, subjects, &places),
    }
}

fn lines(results: &Results, subjects: &[Subject], places: &[(f64, String)]) -> Vec<Line> {
    let line = |subject: &Subject| {
        let point = |(x, measure): &(f64, String)| {
            Some((*x, results.of(&format!("curve {measure}"), subject.name)?.median))
        };
        let points: Vec<(f64, f64)> = places.iter().filter_map(point).collect();
        (!points.is_empty()).then(|| Line { name: subject.name.to_string(), points })
    };
    subjects.iter().filter_map(line).collect()
}
