//! What many times come to.

/// The p-th percentile of nanoseconds, in milliseconds (nearest rank).
#[allow(clippy::cast_precision_loss)]
pub(crate) fn percentile(times: &[u128], percent: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).map_or(0.0, |time| *time as f64 / 1e6)
}
