//! The loss of a run as a picture.

use std::cmp::Ordering;
use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
/// Left, right, top and bottom of the drawing within the picture.
const FRAME: (f64, f64, f64, f64) = (56.0, 704.0, 36.0, 264.0);
/// Points of a line at most: a picture has not more columns.
const POINTS: usize = 600;
/// The share of the steps over which the thick line is averaged.
const SMOOTHING: f64 = 0.05;
/// Light or dark as the page is.
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#59636e}.title{font-weight:600;fill:#1f2328}\
    .axis{stroke:#d1d9e0}.step{stroke:#0969da;opacity:.3}.mean{stroke:#0969da;stroke-width:2}path{fill:none}\
    @media(prefers-color-scheme:dark){text{fill:#9198a1}.title{fill:#f0f6fc}.axis{stroke:#3d444d}\
    .step,.mean{stroke:#4493f8}}";

/// An SVG of `losses`, those of the steps from 1 on: thin as they were, thick as a running mean.
pub fn svg(losses: &[f64]) -> String {
    let (left, right, top, bottom) = FRAME;
    let finite = losses.iter().copied().filter(|loss| loss.is_finite());
    let (low, high) = finite.fold((f64::MAX, f64::MIN), |(low, high), loss| (low.min(loss), high.max(loss)));
    let (low, high) = match low.total_cmp(&high) {
        Ordering::Less => (low, high),
        Ordering::Equal => (low - 0.5, high + 0.5),
        // there are none
        Ordering::Greater => (0.0, 1.0),
    };
    let x = |step: usize| left + (right - left) * step as f64 / losses.len().saturating_sub(1).max(1) as f64;
    let y = |loss: f64| bottom - (bottom - top) * (loss - low) / (high - low);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\
         <title>Loss over {} steps</title>\n<style>{STYLE}</style>\n\
         <text class=\"title\" x=\"{left}\" y=\"20\">Loss (nats per learned token)</text>\n",
        losses.len()
    );
    for tick in ticks(low, high) {
        let (y, digits) = (y(tick), if high - low < 0.5 { 3 } else { 2 });
        let _ = writeln!(
            svg,
            "<line class=\"axis\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{tick:.digits$}</text>",
            left - 6.0,
            y + 4.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{left}\" y=\"{0}\">step 1</text><text x=\"{right}\" y=\"{0}\" text-anchor=\"end\">{1}</text>",
        bottom + 20.0,
        losses.len()
    );
    for (class, values) in [("step", losses.to_vec()), ("mean", running_mean(losses))] {
        let mut path = String::new();
        let every = values.len().div_ceil(POINTS).max(1);
        let last = values.len().saturating_sub(1);
        let shown = |step: &usize| step.is_multiple_of(every) || *step == last;
        for step in (0..values.len()).filter(shown).filter(|step| values[*step].is_finite()) {
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", x(step), y(values[step]));
        }
        let _ = writeln!(svg, "<path class=\"{class}\" d=\"{path}\"/>");
    }
    svg.push_str("</svg>\n");
    svg
}

/// Round numbers from `low` to `high`, 3 to 8 of them.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 4.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0].map(|n| n * power).into_iter().rfind(|step| *step <= rough).unwrap_or(power);
    (0..8).map(|i| ((low / step).ceil() + f64::from(i)) * step).take_while(|tick| *tick <= high).collect()
}

/// The mean of each value and those around it.
fn running_mean(values: &[f64]) -> Vec<f64> {
    let reach = (values.len() as f64 * SMOOTHING / 2.0).round() as usize;
    let mean = |i: usize| {
        let around = &values[i.saturating_sub(reach)..(i + reach + 1).min(values.len())];
        around.iter().sum::<f64>() / around.len() as f64
    };
    (0..values.len()).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_stay_within_the_frame_whatever_the_losses_are() {
        let falling: Vec<f64> = (0..1000).map(|i| 5.0 / (1.0 + f64::from(i) / 50.0)).collect();
        for losses in [vec![], vec![2.0], vec![1.0, 1.0], vec![0.5, f64::NAN, 0.25], falling] {
            let svg = svg(&losses);
            let paths = svg.split("d=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
            for path in paths {
                let numbers: Vec<f64> = path
                    .split(['M', 'L', ' '])
                    .filter(|n| !n.is_empty())
                    .map(|n| n.parse().unwrap_or_else(|_| panic!("{n} in {svg}")))
                    .collect();
                assert!(numbers.len() <= 2 * (POINTS + 1), "{}", numbers.len());
                for point in numbers.chunks(2) {
                    assert!((FRAME.0..=FRAME.1).contains(&point[0]), "{point:?}");
                    assert!((FRAME.2..=FRAME.3).contains(&point[1]), "{point:?}");
                }
            }
        }
    }

    #[test]
    fn marks_are_round_numbers() {
        assert_eq!(ticks(0.0, 4.0), [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(ticks(0.3, 2.4), [0.5, 1.0, 1.5, 2.0]);
    }
}
