//! The frame that every chart has: marks and words are HTML, so that they stay readable on a phone; what is
//! between them is SVG that is stretched to the room there is.

use std::fmt::Write;

use maud::{Markup, PreEscaped, html};

use super::axis::Mark;

/// How wide and high the plane of a chart is, in its own units.
pub(super) const WIDTH: f64 = 1000.0;
pub(super) const HEIGHT: f64 = 100.0;

/// One chart.
pub(super) struct Plot {
    pub(super) title: Markup,
    /// What one who cannot see it is told.
    pub(super) told: String,
    pub(super) class: &'static str,
    pub(super) x: Vec<Mark>,
    pub(super) y: Vec<Mark>,
    /// What is drawn.
    pub(super) drawn: Markup,
    /// What is laid over it, in HTML.
    pub(super) over: Markup,
}

impl Plot {
    pub(super) fn markup(&self) -> Markup {
        html! {
            figure class={ "chart " (self.class) } {
                figcaption { (self.title) }
                div class="frame" {
                    div class="y" aria-hidden="true" {
                        @for (at, text) in &self.y { span style={ "bottom:" (percent(*at)) } { (text) } }
                    }
                    div class="plot" {
                        svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label=(self.told) {
                            path class="grid" d=(self.grid()) {}
                            (self.drawn)
                        }
                        (self.over)
                    }
                    div class="x" aria-hidden="true" {
                        @for (at, text) in &self.x { span style={ "left:" (percent(*at)) } { (text) } }
                    }
                }
            }
        }
    }

    fn grid(&self) -> String {
        let mut path = Path::default();
        for (at, _) in &self.y {
            path.line((0.0, height(*at)), (WIDTH, height(*at)));
        }
        path.0
    }
}

/// A share as CSS writes it.
pub(super) fn percent(share: f64) -> String {
    format!("{:.3}%", share * 100.0)
}

/// How far down a share of the height is.
pub(super) fn height(share: f64) -> f64 {
    HEIGHT * (1.0 - share)
}

/// What an SVG path goes along.
#[derive(Default)]
pub(super) struct Path(pub(super) String);

impl Path {
    /// A line from one point to another.
    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64)) {
        self.add('M', &[from.0, from.1]);
        self.add('L', &[to.0, to.1]);
    }

    /// A rectangle.
    pub(super) fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64) {
        self.add('M', &[x, y]);
        self.add('h', &[width]);
        self.add('v', &[height]);
        self.add('h', &[-width]);
        self.0.push('z');
    }

    /// Goes on to a point, or begins there.
    pub(super) fn to(&mut self, point: (f64, f64), begin: bool) {
        self.add(if begin { 'M' } else { 'L' }, &[point.0, point.1]);
    }

    fn add(&mut self, command: char, numbers: &[f64]) {
        self.0.push(command);
        for (index, number) in numbers.iter().enumerate() {
            let space = if index > 0 { " " } else { "" };
            // A string takes everything.
            let _ = write!(self.0, "{space}{}", (number * 100.0).round() / 100.0);
        }
    }

    pub(super) fn markup(&self, class: &str) -> Markup {
        if self.0.is_empty() {
            PreEscaped(String::new())
        } else {
            html! { path class=(class) d=(self.0) {} }
        }
    }
}
