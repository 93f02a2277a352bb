//! Memory, threads and open files of the server over time, and the line through them.

use std::fmt;
use std::path::Path;
use std::time::Instant;

use crate::Error;
use crate::procfs::{Processes, threads_and_files};

/// Files that may be open after a load and were not before: a connection to the upstream that is kept, the
/// store's readers.
pub const SPARE_FILES: u64 = 24;

/// What was seen at one moment.
pub struct Sample {
    pub seconds: f64,
    /// Pss, MiB.
    pub memory: f64,
    pub threads: u64,
    pub files: u64,
    /// What the store's connections may hold of it in their caches, MiB.
    pub cache: f64,
}

/// Connections of the store, and what each holds of the database at most, MiB (SQLite's `cache_size`, as shipped).
const STORE: (f64, f64) = (3.0, 2.0);

/// Open files now.
pub fn files(pid: u32) -> Result<u64, Error> {
    Ok(threads_and_files(pid).ok_or("the server is gone")?.1)
}

impl Sample {
    pub fn of(pid: u32, process: &Processes, data: &Path, begun: Instant) -> Result<Self, Error> {
        let (threads, files) = threads_and_files(pid).ok_or("the server is gone")?;
        let store = std::fs::metadata(data.join("store/ward.db"))?.len() as f64 / 1024.0 / 1024.0;
        let seconds = begun.elapsed().as_secs_f64();
        let cache = STORE.0 * store.min(STORE.1);
        Ok(Self { seconds, memory: process.rss(), threads, files, cache })
    }

    pub fn row(&self) -> String {
        let Self { seconds, memory, threads, files, cache } = self;
        format!("| {:.1} | {memory:.1} | {cache:.1} | {threads} | {files} |", seconds / 60.0)
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} s: {:.1} MiB, {} threads, {} files",
            self.seconds, self.memory, self.threads, self.files
        )
    }
}

/// A quantity by least squares.
pub struct Trend {
    /// MiB.
    pub mean: f64,
    /// MiB from the first sample to the last, by the line.
    pub growth: f64,
}

impl Trend {
    pub fn of(samples: &[Sample], quantity: impl Fn(&Sample) -> f64) -> Self {
        let n = samples.len().max(1) as f64;
        let mean = samples.iter().map(&quantity).sum::<f64>() / n;
        let middle = samples.iter().map(|one| one.seconds).sum::<f64>() / n;
        let (mut above, mut below) = (0.0, 0.0);
        for one in samples {
            above += (one.seconds - middle) * (quantity(one) - mean);
            below += (one.seconds - middle).powi(2);
        }
        let span = samples.last().map_or(0.0, |one| one.seconds)
            - samples.first().map_or(0.0, |one| one.seconds);
        Self { mean, growth: if below > 0.0 { above / below * span } else { 0.0 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(memory: impl Fn(f64) -> f64) -> Trend {
        let at = |n: u32| {
            let seconds = f64::from(n) * 10.0;
            Sample { seconds, memory: memory(seconds), threads: 4, files: 9, cache: 0.0 }
        };
        Trend::of(&(0..=60).map(at).collect::<Vec<_>>(), |one| one.memory)
    }

    #[test]
    fn a_leak_shows_through_noise_and_a_flat_line_is_flat() {
        let noise = |seconds: f64| if (seconds as u64 / 10).is_multiple_of(2) { 0.7 } else { -0.7 };
        let leaking = line(|seconds| 20.0 + seconds / 100.0 + noise(seconds));
        assert!((leaking.growth - 6.0).abs() < 0.2, "{}", leaking.growth);
        let flat = line(|seconds| 20.0 + noise(seconds));
        assert!(flat.growth.abs() < 0.2 && (flat.mean - 20.0).abs() < 0.1, "{}", flat.growth);
    }
}
