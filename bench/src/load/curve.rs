//! Latency by percentile, as a picture: from left to right each grid line leaves a tenth of the answers of the one
//! before, so that the rare slow ones get as much room as the many fast ones.

use anyhow::Result;
use plotters::prelude::*;

use super::report::Latency;

const SIZE: (u32, u32) = (960, 540);
const POINTS: u32 = 600;
/// Of more than so many the picture shows the rarest of so many.
const ANSWERS_MAX: u64 = 10_000_000;
const LINE: RGBColor = RGBColor(31, 87, 164);

/// An SVG document.
///
/// # Errors
/// The picture could not be drawn, which is a fault of this program.
pub(super) fn draw(title: &str, latency: &Latency) -> Result<String> {
    let mut svg = String::new();
    // One answer in 10^decades is the rarest that the number of answers can show.
    let answers = latency.0.len().clamp(10, ANSWERS_MAX);
    let decades = (answers as f64).log10();
    let (unit, unit_us) = match latency.0.max() {
        0..2_000_000 => ("us", 1.0),
        2_000_000..2_000_000_000 => ("ms", 1e3),
        _ => ("s", 1e6),
    };
    let points: Vec<(f64, f64)> = (0..=POINTS)
        .map(|number| {
            let decade = f64::from(number) / f64::from(POINTS) * decades;
            (decade, latency.percentile_us(percentile(decade)) / unit_us)
        })
        .collect();
    let highest = points.iter().map(|(_, y)| *y).fold(f64::MIN_POSITIVE, f64::max);
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 20))
            .margin(16)
            .margin_right(32)
            .x_label_area_size(48)
            .y_label_area_size(72)
            .build_cartesian_2d(0.0..decades, 0.0..highest * 1.08)?;
        // At the whole decades only, so that none is beyond the rarest.
        let x_labels = answers.ilog10() as usize + 1;
        chart
            .configure_mesh()
            .label_style(("sans-serif", 14))
            .axis_desc_style(("sans-serif", 15))
            .light_line_style(WHITE)
            .bold_line_style(BLACK.mix(0.15))
            .x_labels(x_labels)
            .x_desc("answers at least as fast")
            .x_label_formatter(&|decade| label(*decade))
            .y_labels(8)
            .y_desc(format!("latency, {unit}"))
            .draw()?;
        chart.draw_series(LineSeries::new(points, LINE.stroke_width(2)))?;
        root.present()?;
    }
    Ok(svg)
}

/// 0, 90, 99, 99.9 and so on.
fn percentile(decade: f64) -> f64 {
    100.0 * (1.0 - 10f64.powf(-decade))
}

fn label(decade: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number, at most 7")]
    let digits = (decade.round() as usize).saturating_sub(2);
    format!("{:.digits$} %", percentile(decade.round()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::Histogram;

    #[test]
    fn the_picture_names_its_percentiles_and_units() {
        for answers in [1_000, 1_500, 9_999_u64] {
            let mut histogram = Histogram::new_with_bounds(1_000, 3_600_000_000_000, 3).expect("valid bounds");
            (1..=answers).for_each(|answer| histogram.record(answer * 100).expect("in bounds"));
            let svg = draw("a title", &Latency(histogram)).expect("drawn");
            for text in ["a title", "latency, us", "\n0 %", "\n90 %", "\n99 %", "\n99.9 %"] {
                assert!(svg.contains(text), "{text} is missing for {answers} answers");
            }
            assert!(!svg.contains("99.99 %"), "{answers} answers do not show one in ten thousand");
        }
    }

    #[test]
    fn no_answers_are_a_picture_too() {
        let histogram = Histogram::new_with_bounds(1_000, 3_600_000_000_000, 3).expect("valid bounds");
        assert!(draw("nothing", &Latency(histogram)).expect("drawn").starts_with("<svg"));
    }
}
