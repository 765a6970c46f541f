//! Stands in for the crate of this name, below openraft: the first `Histogram` of the original
//! fills tables for sixteen scales, 27 MB that stay resident, of which one scale is used.
//!
//! Only what openraft names. Coarser than the original: a bucket for each number of bits. openraft
//! shows the counts only with its feature `runtime-stats`, which is off. Once the original builds
//! its tables on demand, the `[patch]` in the workspace's manifest goes, and this folder with it
//! (docs/decisions/0008).

use std::fmt;
use std::marker::PhantomData;

/// Values of no bit, of one bit, and so on to 64.
const BUCKETS: usize = 65;

/// Counts of values by the number of their bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: [u64; BUCKETS],
    of: PhantomData<T>,
}

/// Values that a share of all recorded ones do not exceed, each rounded up to its bucket's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PercentileStats { samples, p50, p90, p99, .. } = self;
        write!(f, "{samples} samples, p50 {p50}, p90 {p90}, p99 {p99}")
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Histogram<T> {
        Histogram::new()
    }
}

impl<T> Histogram<T> {
    #[must_use]
    pub fn new() -> Histogram<T> {
        Histogram { counts: [0; BUCKETS], of: PhantomData }
    }

    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Records `value` `times` times.
    pub fn record_n(&mut self, value: u64, times: u64) {
        let bits = u64::BITS - value.leading_zeros();
        let count = &mut self.counts[bits as usize];
        *count = count.saturating_add(times);
    }

    /// How many values there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// All zero as long as nothing is recorded.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.reached(1),
            p1: self.reached(10),
            p5: self.reached(50),
            p10: self.reached(100),
            p50: self.reached(500),
            p90: self.reached(900),
            p99: self.reached(990),
            p99_9: self.reached(999),
        }
    }

    /// The end of the first bucket that, with those below, holds this many thousandths of all values.
    fn reached(&self, permille: u128) -> u64 {
        let wanted = (u128::from(self.total()) * permille).div_ceil(1000);
        let mut sum = 0;
        for (bits, count) in self.counts.iter().enumerate() {
            sum += u128::from(*count);
            if sum >= wanted && sum > 0 {
                return bucket_end(bits);
            }
        }
        0
    }
}

/// The largest number of so many bits.
fn bucket_end(bits: usize) -> u64 {
    if bits == 0 { 0 } else { u64::MAX >> (BUCKETS - 1 - bits) }
}

/// Several histograms in one text.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart {
    series: Vec<(String, Histogram)>,
}

/// A line for each histogram: its name, then `END:COUNT` of every bucket that is not empty.
#[derive(Debug)]
pub struct Detailed<'a>(&'a AsciiChart);

impl AsciiChart {
    #[must_use]
    pub fn new() -> AsciiChart {
        AsciiChart::default()
    }

    #[must_use]
    pub fn add(mut self, name: &str, histogram: Histogram) -> AsciiChart {
        self.series.push((name.to_owned(), histogram));
        self
    }

    #[must_use]
    pub fn detailed(&self) -> Detailed<'_> {
        Detailed(self)
    }
}

impl fmt::Display for Detailed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, histogram) in &self.0.series {
            write!(f, "{name}")?;
            for (bits, count) in
                histogram.counts.iter().enumerate().filter(|(_, count)| **count > 0)
            {
                write!(f, " {}:{count}", bucket_end(bits))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::new();
        for value in values {
            histogram.record(*value);
        }
        histogram
    }

    #[test]
    fn percentiles_are_ends_of_buckets() {
        let check = |values: &[u64], p1: u64, p50: u64, p99_9: u64| {
            let stats = of(values).percentile_stats();
            assert_eq!((stats.p1, stats.p50, stats.p99_9), (p1, p50, p99_9), "{values:?}");
            assert_eq!(stats.samples, values.len() as u64);
        };
        check(&[], 0, 0, 0);
        check(&[0], 0, 0, 0);
        check(&[1], 1, 1, 1);
        check(&[0, 2, 3, 4], 0, 3, 7);
        check(&[u64::MAX], u64::MAX, u64::MAX, u64::MAX);
        check(&[5; 1000], 7, 7, 7);
    }

    #[test]
    fn a_chart_has_a_line_for_each() {
        let mut many = of(&[1]);
        many.record_n(2, u64::MAX);
        let chart = AsciiChart::new().add("a", of(&[0, 9, 9])).add("b", many.clone());
        assert_eq!(chart.detailed().to_string(), format!("a 0:1 15:2\nb 1:1 3:{}\n", u64::MAX));
        assert_eq!(many.total(), u64::MAX);
    }
}
