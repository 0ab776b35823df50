//! What came out, as Markdown.

use std::fmt;

/// Both sides of one measurement, round by round.
#[derive(Default)]
pub(crate) struct Measured {
    floor: Vec<f64>,
    ours: Vec<f64>,
}

impl Measured {
    pub(crate) fn round(&mut self, floor: f64, ours: f64) {
        self.floor.push(floor);
        self.ours.push(ours);
    }
}

/// What a ratio of ours to the floor must keep.
#[derive(Clone, Copy)]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

impl Bar {
    fn is_kept(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(most) => ratio <= most,
            Self::AtLeast(least) => ratio >= least,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "<= {most:.2}"),
            Self::AtLeast(least) => write!(f, ">= {least:.2}"),
        }
    }
}

/// The rows, printed as they come for whoever waits, and all together at the end.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<String>,
    notes: Vec<String>,
}

impl Table {
    pub(crate) fn row(&mut self, what: &str, floor: &str, unit: &str, measured: Measured, bar: Bar) {
        let Measured { floor: bare, ours } = measured;
        let ratio = Spread::of(ours.iter().zip(&bare).map(|(our, bare)| our / bare));
        let (bare, our) = (Spread::of(bare), Spread::of(ours));
        self.push(format!(
            "| {what} | {floor} | {:.0} {unit} | {:.0} {unit} | **{:.2}** ({:.2} to {:.2}) | {bar} | {} |",
            bare.median,
            our.median,
            ratio.median,
            ratio.least,
            ratio.most,
            verdict(bar.is_kept(ratio.median))
        ));
    }

    pub(crate) fn absolute(&mut self, what: &str, unit: &str, values: &[f64], most: f64) {
        let Spread { least, median, most: largest } = Spread::of(values.iter().copied());
        let kept = verdict(median <= most);
        self.push(format!(
            "| {what} | | | **{median:.1} {unit}** | ({least:.1} to {largest:.1}) | <= {most:.0} {unit} | {kept} |"
        ));
    }

    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    fn push(&mut self, row: String) {
        eprintln!("{row}");
        self.rows.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | floor | floor's | llm-osd's | ratio (rounds) | bar | kept |")?;
        writeln!(f, "| --- | --- | ---: | ---: | ---: | ---: | --- |")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))?;
        self.notes.iter().try_for_each(|note| write!(f, "\n{note}\n"))
    }
}

fn verdict(kept: bool) -> &'static str {
    if kept { "yes" } else { "**no**" }
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        Self { least: values[0], median: values[values.len() / 2], most: values[values.len() - 1] }
    }
}
