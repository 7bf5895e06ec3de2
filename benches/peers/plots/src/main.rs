//! Draws the tables of `cargo xtask bench` as SVG.

use std::error::Error;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use plotters::coord::ranged1d::{NoDefaultFormatting, ValueFormatter};
use plotters::prelude::*;

type Done<T = ()> = Result<T, Box<dyn Error>>;

/// Draws a table of tab-separated values.
#[derive(Parser)]
#[command(max_term_width = 100)]
enum Command {
    /// Bars in groups: a row a group, its name first; a column a kind of bar. Where a value is missing, so is the bar.
    Bars {
        /// The table.
        data: PathBuf,
        /// Where the plot goes.
        out: PathBuf,
        /// What stands above it.
        #[arg(long)]
        title: String,
        /// What the values are.
        #[arg(long)]
        axis: String,
    },
    /// Lines, x by logarithms: a row a point, of the line it belongs to, x and y.
    Lines {
        /// The table.
        data: PathBuf,
        /// Where the plot goes.
        out: PathBuf,
        /// What stands above it.
        #[arg(long)]
        title: String,
        /// What x is.
        #[arg(long)]
        x: String,
        /// What y is.
        #[arg(long)]
        y: String,
    },
}

/// Colours that those who do not see all of them can tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 8] = [
    RGBColor(213, 94, 0),
    RGBColor(230, 159, 0),
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(90, 90, 90),
    RGBColor(240, 228, 66),
];

const FONT: (&str, i32) = ("sans-serif", 16);

fn colour(number: usize) -> RGBColor {
    COLOURS[number % COLOURS.len()]
}

fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split('\t').collect())
}

/// What is above all values, with a little room.
fn top(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::MIN_POSITIVE, f64::max) * 1.08
}

fn bars(text: &str, out: &PathBuf, title: &str, axis: &str) -> Done {
    const BAR: u32 = 9;
    let mut rows = rows(text);
    let head = rows.next().ok_or("the table is empty")?;
    let kinds = &head[1..];
    let groups: Vec<(&str, Vec<Option<f64>>)> =
        rows.map(|row| (row[0], row[1..].iter().map(|cell| cell.parse().ok()).collect())).collect();
    let names: Vec<&str> = groups.iter().map(|(name, _)| *name).collect();
    // With room for the names of the bars beside them.
    let most =
        1.25 * top(groups.iter().flat_map(|(_, values)| values.iter().copied().flatten()).chain([1.0]));

    // A bar a kind, and one left free, in each group.
    let places = kinds.len() + 1;
    let height = (groups.len() * places) as u32 * BAR + 130;
    let area = SVGBackend::new(out, (900, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 24))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(150)
        .build_cartesian_2d(0.0..most, Groups { names: &names, places })?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(groups.len())
        .x_desc(axis)
        .label_style(FONT)
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (number, kind) in kinds.iter().enumerate() {
        let drawn = groups.iter().enumerate().filter_map(|(group, (_, values))| {
            let value = values.get(number).copied().flatten()?;
            let y = (group * places + number) as f64 + 0.5;
            Some(Rectangle::new([(0.0, y), (value, y + 1.0)], colour(number).filled()))
        });
        chart
            .draw_series(drawn)?
            .label(*kind)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour(number).filled()));
    }
    // The best of the others.
    let end = (groups.len() * places) as f64;
    chart.draw_series([PathElement::new([(1.0, 0.0), (1.0, end)], BLACK.stroke_width(1))])?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .label_font(FONT)
        .draw()?;
    area.present()?;
    Ok(())
}

/// The axis of groups of bars: from the top down, a name at the middle of each.
struct Groups<'a> {
    names: &'a [&'a str],
    places: usize,
}

impl Ranged for Groups<'_> {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        // `start` is the lower end.
        let part = value / (self.names.len() * self.places) as f64;
        end + (part * f64::from(start - end)).round() as i32
    }

    fn key_points<H: plotters::coord::ranged1d::KeyPointHint>(&self, _: H) -> Vec<f64> {
        (0..self.names.len()).map(|group| (group as f64 + 0.5) * self.places as f64).collect()
    }

    fn range(&self) -> Range<f64> {
        0.0..(self.names.len() * self.places) as f64
    }
}

impl ValueFormatter<f64> for Groups<'_> {
    fn format_ext(&self, value: &f64) -> String {
        self.names.get((value / self.places as f64) as usize).copied().unwrap_or_default().to_owned()
    }
}

fn lines(text: &str, out: &PathBuf, title: &str, x: &str, y: &str) -> Done {
    let mut all: Vec<(&str, Vec<(f64, f64)>)> = Vec::new();
    for row in rows(text).skip(1) {
        let [name, x, y] = row[..] else { return Err("a row has not three cells".into()) };
        let point = (x.parse()?, y.parse()?);
        match all.iter_mut().find(|(other, _)| *other == name) {
            Some((_, points)) => points.push(point),
            None => all.push((name, vec![point])),
        }
    }
    let points = || all.iter().flat_map(|(_, points)| points.iter().copied());
    let (least, most) =
        points().fold((f64::MAX, 1.0_f64), |(least, most), (x, _)| (least.min(x), most.max(x)));
    let whole = SVGBackend::new(out, (1000, 420)).into_drawing_area();
    whole.fill(&WHITE)?;
    let (area, names) = whole.split_horizontally(740);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 24))
        .margin(12)
        .margin_right(40)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d((least..most).log_scale(), 0.0..top(points().map(|(_, y)| y)))?;
    chart
        .configure_mesh()
        .x_desc(x)
        .y_desc(y)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .label_style(FONT)
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (number, (name, points)) in all.iter().enumerate() {
        let style = colour(number).stroke_width(2);
        chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour(number).filled())))?;
        // Beside the lines, so that it hides none.
        let y = 60 + 24 * number as i32;
        names.draw(&PathElement::new([(0, y), (16, y)], style))?;
        names.draw(&Text::new(name.to_string(), (24, y - 7), FONT.into_font()))?;
    }
    whole.present()?;
    Ok(())
}

fn draw(command: &Command) -> Done {
    let (Command::Bars { data, .. } | Command::Lines { data, .. }) = command;
    let text = std::fs::read_to_string(data).map_err(|error| format!("{}: {error}", data.display()))?;
    match command {
        Command::Bars { out, title, axis, .. } => bars(&text, out, title, axis),
        Command::Lines { out, title, x, y, .. } => lines(&text, out, title, x, y),
    }
}

fn main() -> ExitCode {
    match draw(&Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plots: {error}");
            ExitCode::FAILURE
        }
    }
}
