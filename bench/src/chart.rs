//! A line chart with logarithmic axes, as an SVG text.
//!
//! ```text
//!   title
//!   y │        ○───○            ○ one series      a legend beside the plot, with a note
//!     │   ○────    □            □ another         where a series has fewer points
//!     └───┴────┴───┴─ x
//! ```
//!
//! Colours are those of Okabe and Ito, which people of all kinds of sight tell apart; each series has a marker of its own too.

use std::fmt::Write as _;

/// What is drawn.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// With its unit.
    pub(crate) x_title: String,
    /// With its unit.
    pub(crate) y_title: String,
    /// Places on the x axis and what stands there; all points lie between the first and the last.
    pub(crate) x_ticks: Vec<(f64, String)>,
    pub(crate) series: Vec<Series>,
}

/// A line.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// Beneath the name, such as why points are missing.
    pub(crate) note: Option<String>,
    /// Positive numbers, in the order of the line.
    pub(crate) points: Vec<Point>,
}

/// A point with what stands beneath it.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) label: Option<String>,
}

const COLOURS: [&str; 6] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];

/// The picture, and the plot in it: left, right, top, bottom.
const SIZE: [f64; 2] = [960.0, 520.0];
const PLOT: [f64; 4] = [90.0, 650.0, 60.0, 440.0];

/// Ranges of both axes, as logarithms.
struct Scale {
    x: [f64; 2],
    y: [f64; 2],
}

impl Chart {
    /// The text of an SVG file.
    pub(crate) fn svg(&self) -> String {
        let scale = self.scale();
        let [width, height] = SIZE;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
        );
        self.axes(&scale, &mut out);
        for (at, series) in self.series.iter().enumerate() {
            line(at, series, &scale, &mut out);
            legend(at, series, &mut out);
        }
        out += "</svg>\n";
        out
    }

    /// Whole powers of ten from below the least to above the greatest value.
    fn scale(&self) -> Scale {
        let ys = || self.series.iter().flat_map(|series| &series.points).map(|point| point.y.log10());
        let (least, most) = (ys().fold(f64::INFINITY, f64::min), ys().fold(f64::NEG_INFINITY, f64::max));
        let y = if least <= most { [least.floor(), most.ceil().max(least.floor() + 1.0)] } else { [0.0, 1.0] };
        let end = |tick: Option<&(f64, String)>, other: f64| tick.map_or(other, |tick| tick.0.log10());
        Scale { x: [end(self.x_ticks.first(), 0.0), end(self.x_ticks.last(), 1.0)], y }
    }

    fn axes(&self, scale: &Scale, out: &mut String) {
        let [left, right, top, bottom] = PLOT;
        let (middle_x, middle_y) = (f64::midpoint(left, right), f64::midpoint(top, bottom));
        text(out, [middle_x, 32.0], "middle", 16, &self.title);
        text(out, [middle_x, bottom + 48.0], "middle", 13, &self.x_title);
        // Writing into a text does not fail; so throughout this file.
        let y_title = escaped(&self.y_title);
        let _ = writeln!(
            out,
            "<text transform=\"translate(26 {middle_y}) rotate(-90)\" text-anchor=\"middle\">{y_title}</text>"
        );
        for (at, name) in &self.x_ticks {
            let [x, _] = scale.place(*at, 1.0);
            rule(out, [x, top], [x, bottom], "#dddddd");
            text(out, [x, bottom + 20.0], "middle", 13, name);
        }
        for power in scale.y[0] as i32..=scale.y[1] as i32 {
            let [_, y] = scale.place(1.0, 10_f64.powi(power));
            rule(out, [left, y], [right, y], "#dddddd");
            text(out, [left - 8.0, y + 4.0], "end", 13, &format!("{}", 10_f64.powi(power)));
        }
        rule(out, [left, bottom], [right, bottom], "black");
        rule(out, [left, top], [left, bottom], "black");
    }
}

impl Scale {
    /// Where a point is in the picture.
    fn place(&self, x: f64, y: f64) -> [f64; 2] {
        let [left, right, top, bottom] = PLOT;
        let along = |value: f64, [from, to]: [f64; 2]| (value.log10() - from) / (to - from).max(f64::MIN_POSITIVE);
        [left + (right - left) * along(x, self.x), bottom - (bottom - top) * along(y, self.y)]
    }
}

fn line(at: usize, series: &Series, scale: &Scale, out: &mut String) {
    let places = series.points.iter().map(|point| scale.place(point.x, point.y)).collect::<Vec<_>>();
    let path = places.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
    let colour = COLOURS[at % COLOURS.len()];
    let _ = writeln!(out, "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
    for (place, point) in places.iter().zip(&series.points) {
        marker(at, *place, out);
        if let Some(label) = &point.label {
            text(out, [place[0], place[1] + 20.0], "middle", 11, label);
        }
    }
}

fn legend(at: usize, series: &Series, out: &mut String) {
    let y = PLOT[2] + 14.0 + 44.0 * at as f64;
    marker(at, [PLOT[1] + 30.0, y - 4.0], out);
    text(out, [PLOT[1] + 46.0, y], "start", 13, &series.name);
    if let Some(note) = &series.note {
        text(out, [PLOT[1] + 46.0, y + 16.0], "start", 11, note);
    }
}

/// A circle, a square, a triangle or a diamond.
fn marker(at: usize, [x, y]: [f64; 2], out: &mut String) {
    let colour = COLOURS[at % COLOURS.len()];
    let shape = match at % 4 {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\""),
        1 => format!("<rect x=\"{:.1}\" y=\"{:.1}\" width=\"9\" height=\"9\"", x - 4.5, y - 4.5),
        2 => format!("<path d=\"M{x:.1} {:.1}l6 11h-12z\"", y - 6.0),
        _ => format!("<path d=\"M{x:.1} {:.1}l6 6l-6 6l-6 -6z\"", y - 6.0),
    };
    let _ = writeln!(out, "{shape} fill=\"{colour}\"/>");
}

fn rule(out: &mut String, [x, y]: [f64; 2], [to_x, to_y]: [f64; 2], colour: &str) {
    let _ = writeln!(out, "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{to_x:.1}\" y2=\"{to_y:.1}\" stroke=\"{colour}\"/>");
}

fn text(out: &mut String, [x, y]: [f64; 2], anchor: &str, size: u32, what: &str) {
    let what = escaped(what);
    let _ =
        writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{what}</text>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[(f64, f64)]) -> Chart {
        let points = points.iter().map(|&(x, y)| Point { x, y, label: Some("a < b".into()) }).collect();
        Chart {
            title: "t".into(),
            x_title: "x".into(),
            y_title: "y".into(),
            x_ticks: vec![(1.0, "1 %".into()), (100.0, "100 %".into())],
            series: vec![Series { name: "one & two".into(), note: None, points }],
        }
    }

    #[test]
    fn points_lie_where_their_logarithms_say() {
        let svg = chart(&[(1.0, 10.0), (10.0, 100.0), (100.0, 1000.0)]).svg();
        assert!(svg.contains("points=\"90.0,440.0 370.0,250.0 650.0,60.0\""), "{svg}");
        assert!(svg.contains("one &amp; two") && svg.contains("a &lt; b"), "{svg}");
        assert_eq!((svg.matches("<circle").count(), svg.matches("<text").count()), (4, 12));
    }

    #[test]
    fn nothing_and_one_point_are_drawn_too() {
        for points in [&[][..], &[(10.0, 10.0)]] {
            let svg = chart(points).svg();
            assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
