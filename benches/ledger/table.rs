//! The printed table.

use std::fmt::{Display, Formatter};

/// Which side of the goal is good.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Debug)]
struct Row {
    figure: String,
    measured: String,
    limit: String,
    ratio: String,
    goal: String,
}

/// Rows in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// A figure beside its limit. The ratio is the median of the rounds' ratios, not the ratio of the medians.
    pub(crate) fn push(&mut self, figure: &str, measured: String, limit: String, ratio: f64, goal: Goal) {
        let (reached, goal) = match goal {
            Goal::AtLeast(goal) => (ratio >= goal, format!("at least {goal}")),
            Goal::AtMost(goal) => (ratio <= goal, format!("at most {goal}")),
        };
        let verdict = if reached { "" } else { " (missed)" };
        self.add(figure, measured, limit, format!("{ratio:.2}{verdict}"), goal);
    }

    /// A figure without a goal, or one that was not measured.
    pub(crate) fn note(&mut self, figure: &str, measured: String, limit: String, ratio: &str) {
        self.add(figure, measured, limit, ratio.to_owned(), String::new());
    }

    fn add(&mut self, figure: &str, measured: String, limit: String, ratio: String, goal: String) {
        println!("{figure}: {measured}; {limit}; {ratio}");
        self.0.push(Row { figure: figure.to_owned(), measured, limit, ratio, goal });
    }
}

impl Display for Table {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(out, "| figure | measured | limit measured in the same run | ratio | to reach |")?;
        writeln!(out, "|---|---|---|---|---|")?;
        for Row { figure, measured, limit, ratio, goal } in &self.0 {
            writeln!(out, "| {figure} | {measured} | {limit} | {ratio} | {goal} |")?;
        }
        Ok(())
    }
}

/// The middle one; of an even number the lower of the two.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    percentile(&values.into_iter().collect::<Vec<_>>(), 50)
}

/// The smallest value that `part` of a hundred do not exceed.
pub(crate) fn percentile(values: &[f64], part: usize) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    values[(values.len() * part).div_ceil(100) - 1]
}
