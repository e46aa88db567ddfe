//! Numbers with the units of Kubernetes: `50M`, `10k`, `1Gi`, `1e3`.

/// The whole number that a quantity stands for, rounded up; `None` when it is none.
pub(super) fn parse(text: &str) -> Option<i64> {
    const UNITS: [(&str, i128); 12] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("Ei", 1 << 60),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("E", 1_000_000_000_000_000_000),
    ];
    let text = text.trim();
    let unit = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor, divisor) = match unit {
        Some((number, factor)) => (number, factor, 1),
        None => match (text.strip_suffix('m'), text.split_once(['e', 'E'])) {
            (Some(number), _) => (number, 1, 1_000),
            (None, Some((number, power))) => (number, 10_i128.checked_pow(power.parse().ok()?)?, 1),
            (None, None) => (text, 1, 1),
        },
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let digits = whole.strip_prefix(['+', '-']).unwrap_or(whole);
    if !is_digits(digits) || !is_digits(part) || (digits.is_empty() && part.is_empty()) {
        return None;
    }
    let places = 10_i128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let value: i128 = format!("{digits}{part}").parse().ok()?;
    let (value, divisor) = (value.checked_mul(factor)?, places.checked_mul(divisor)?);
    let up = value.checked_add(divisor - 1)? / divisor;
    i64::try_from(if whole.starts_with('-') { -(value / divisor) } else { up }).ok()
}
