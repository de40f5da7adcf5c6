//! Plots, as SVG: lines over a logarithmic or linear axis, readable in light and in dark.

use std::fmt::Write as _;

/// One line of a plot.
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Where it goes.
    pub points: Vec<(f64, f64)>,
}

/// How an axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal steps.
    Linear,
    /// Equal factors.
    Logarithmic,
}

/// An axis.
pub struct Axis {
    /// What it shows.
    pub title: String,
    /// How it counts.
    pub scale: Scale,
    /// Places with a name, if they are not numbers in equal steps.
    pub ticks: Vec<(f64, String)>,
}

/// A plot.
pub struct Plot {
    /// Above it.
    pub title: String,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// What it shows.
    pub lines: Vec<Line>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 58.0;
const COLOURS: [&str; 4] = ["#d9480f", "#1971c2", "#2f9e44", "#862e9c"];

impl Scale {
    fn of(self, value: f64) -> f64 {
        match self {
            Scale::Linear => value,
            Scale::Logarithmic => value.max(1e-9).log10(),
        }
    }
}

/// From figures to places on the sheet.
struct Frame {
    x: (Scale, f64, f64),
    y: (Scale, f64, f64),
}

impl Frame {
    fn place(&self, point: (f64, f64)) -> (f64, f64) {
        let share = |(scale, from, to): (Scale, f64, f64), value: f64| {
            (scale.of(value) - from) / (to - from).max(1e-9)
        };
        let x = LEFT + share(self.x, point.0) * (WIDTH - LEFT - RIGHT);
        let y = HEIGHT - BOTTOM - share(self.y, point.1) * (HEIGHT - TOP - BOTTOM);
        (x, y)
    }
}

/// Least and most of all points along one axis, with the axis's own steps around them.
fn extent(axis: &Axis, values: impl Iterator<Item = f64>) -> (Scale, f64, f64) {
    let values: Vec<f64> = values.map(|value| axis.scale.of(value)).collect();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match axis.scale {
        _ if values.is_empty() => (axis.scale, 0.0, 1.0),
        Scale::Linear => (axis.scale, 0.0, most * 1.08),
        Scale::Logarithmic if axis.ticks.is_empty() => (axis.scale, least.floor(), most.ceil()),
        Scale::Logarithmic => (axis.scale, least, most),
    }
}

/// Round numbers for an axis without names of its own.
fn ticks(axis: &Axis, from: f64, to: f64) -> Vec<(f64, String)> {
    if !axis.ticks.is_empty() {
        return axis.ticks.clone();
    }
    match axis.scale {
        Scale::Logarithmic => (from as i32..=to as i32)
            .map(|power| (10f64.powi(power), label(10f64.powi(power))))
            .collect(),
        Scale::Linear => {
            let rough = (to - from) / 6.0;
            let unit = 10f64.powf(rough.max(1e-9).log10().floor());
            let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * unit);
            let step = step.into_iter().find(|step| rough <= *step).unwrap_or(unit * 10.0);
            let count = ((to - from) / step) as usize;
            (0..=count).map(|at| (at as f64 * step, label(at as f64 * step))).collect()
        }
    }
}

fn label(value: f64) -> String {
    match value {
        large if large >= 1000.0 => format!("{}k", large / 1000.0),
        small => format!("{small}"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

impl Plot {
    /// The plot as a file.
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| line.points.iter().copied());
        let frame = Frame {
            x: extent(&self.x, points().map(|point| point.0)),
            y: extent(&self.y, points().map(|point| point.1)),
        };
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"13\" fill=\"#666\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-size=\"16\" fill=\"#222\">{}</text>\n",
            escape(&self.title)
        );
        self.axes(&frame, &mut out);
        for (at, line) in self.lines.iter().enumerate() {
            line.draw(&frame, COLOURS[at % COLOURS.len()], at, &mut out);
        }
        out.push_str("</svg>\n");
        out
    }

    fn axes(&self, frame: &Frame, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let mut add = |text: String| out.push_str(&text);
        for (value, name) in ticks(&self.y, frame.y.1, frame.y.2) {
            let y = frame.place((1.0, value)).1;
            add(format!(
                "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>\n",
                LEFT - 8.0,
                y + 4.0
            ));
        }
        for (value, name) in ticks(&self.x, frame.x.1, frame.x.2) {
            let x = frame.place((value, 1.0)).0;
            add(format!(
                "<path d=\"M{x:.1} {bottom}v5\" stroke=\"#666\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{name}</text>\n",
                bottom + 20.0
            ));
        }
        let middle = (TOP + bottom) / 2.0;
        add(format!(
            "<path d=\"M{LEFT} {bottom}H{right}\" stroke=\"#666\"/>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(20 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
            (LEFT + right) / 2.0,
            HEIGHT - 14.0,
            escape(&self.x.title),
            escape(&self.y.title)
        ));
    }
}

impl Line {
    fn draw(&self, frame: &Frame, colour: &str, at: usize, out: &mut String) {
        let places: Vec<(f64, f64)> = self.points.iter().map(|point| frame.place(*point)).collect();
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        writeln!(
            out,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\"/>",
            path.join("L")
        )
        .expect("a text takes all");
        for (x, y) in places {
            writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>")
                .expect("a text takes all");
        }
        let x = LEFT + 170.0 * at as f64;
        writeln!(
            out,
            "<path d=\"M{x} 44h22\" stroke=\"{colour}\" stroke-width=\"2.5\"/>\
             <text x=\"{}\" y=\"48\">{}</text>",
            x + 28.0,
            escape(&self.name)
        )
        .expect("a text takes all");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_and_the_highest_point_of_a_logarithmic_axis_are_on_the_sheet() {
        let axis = |title: &str| Axis {
            title: title.into(),
            scale: Scale::Logarithmic,
            ticks: Vec::new(),
        };
        let lines =
            vec![Line { name: "a & b".into(), points: vec![(1.0, 20.0), (1000.0, 90_000.0)] }];
        let svg = Plot { title: "t".into(), x: axis("x"), y: axis("y"), lines }.svg();
        assert!(svg.contains("M84.0 "), "{svg}");
        assert!(svg.contains("L696.0 "), "{svg}");
        assert!(svg.contains("a &amp; b"));
        assert!(svg.contains(">100k<"));
    }
}
