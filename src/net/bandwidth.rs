//! The bandwidth annotations of pods, which hold Kubernetes quantities of bits a second.

use crate::{NetError, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
const EGRESS: &str = "kubernetes.io/egress-bandwidth";

/// The limits that Kubernetes sets on these annotations.
const RANGE: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000_000;

/// Bits; as large as possible, so that only the rate limits (as containerd and CRI-O do).
const BURST: u32 = u32::MAX;

/// The value of the capability `bandwidth`; `None` without either annotation.
///
/// # Errors
/// When a value is not a quantity within the range.
pub(crate) fn from_annotations(annotations: &BTreeMap<String, String>) -> Result<Option<Value>> {
    let mut limits = Map::new();
    for (annotation, direction) in [(INGRESS, "ingress"), (EGRESS, "egress")] {
        let Some(value) = annotations.get(annotation) else { continue };
        let rate = quantity(value)
            .filter(|rate| RANGE.contains(rate))
            .ok_or_else(|| NetError::Bandwidth { annotation, value: value.clone() })?;
        limits.insert(format!("{direction}Rate"), json!(rate));
        limits.insert(format!("{direction}Burst"), json!(BURST));
    }
    Ok((!limits.is_empty()).then_some(Value::Object(limits)))
}

/// A quantity, rounded up to a whole number; `None` when it is not one or does not fit.
fn quantity(text: &str) -> Option<u64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || number.len() > 19 {
        return None;
    }
    let mantissa: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (factor, exponent) = scale(suffix)?;
    let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let scaled = mantissa.checked_mul(factor)?;
    let power = 10u128.checked_pow(exponent.unsigned_abs())?;
    let value = if exponent >= 0 { scaled.checked_mul(power)? } else { scaled.div_ceil(power) };
    u64::try_from(value).ok()
}

/// A suffix as a factor and a power of ten.
fn scale(suffix: &str) -> Option<(u128, i32)> {
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [(&str, i32); 10] = [
        ("n", -9),
        ("u", -6),
        ("m", -3),
        ("", 0),
        ("k", 3),
        ("M", 6),
        ("G", 9),
        ("T", 12),
        ("P", 15),
        ("E", 18),
    ];
    if let Some(index) = BINARY.iter().position(|name| *name == suffix) {
        return Some((1 << (10 * (index + 1)), 0));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((1, *exponent));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    (-30..=30).contains(&exponent).then_some((1, exponent))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        let table = [
            ("10M", Some(10_000_000)),
            ("1Gi", Some(1 << 30)),
            ("1.5k", Some(1500)),
            ("1e6", Some(1_000_000)),
            ("1E3", Some(1000)),
            ("2E", Some(2_000_000_000_000_000_000)),
            ("1500m", Some(2)),
            ("+5k", Some(5000)),
            (".5M", Some(500_000)),
            ("100", Some(100)),
            ("", None),
            (".", None),
            ("-1M", None),
            ("1.2.3", None),
            ("10Q", None),
            ("10 M", None),
            ("99999999999999999999", None),
            ("20E", None),
            ("1e99", None),
        ];
        for (text, expected) in table {
            assert_eq!(quantity(text), expected, "{text:?}");
        }
    }

    #[test]
    fn annotations_become_the_capability() {
        let of = |pairs: &[(&str, &str)]| {
            from_annotations(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
        };
        assert_eq!(of(&[("other", "1")]).unwrap(), None);
        assert_eq!(
            of(&[(INGRESS, "1M"), (EGRESS, "2M")]).unwrap(),
            Some(json!({"ingressRate": 1_000_000, "ingressBurst": u32::MAX,
                        "egressRate": 2_000_000, "egressBurst": u32::MAX}))
        );
        for bad in ["x", "999", "2P", "0"] {
            let error = of(&[(INGRESS, bad)]).unwrap_err();
            assert_eq!(error.kind(), model::ErrorKind::InvalidArgument, "{bad}");
        }
    }
}
