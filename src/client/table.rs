//! Text in columns.

/// Rows under a head, columns as wide as their widest cell.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    painted(head, rows, |_, _| None)
}

/// As [`table`], with cells in the colours that are given for a column and its text, where there are any.
pub fn painted(head: &[&str], rows: &[Vec<String>], color: impl Fn(&str, &str) -> Option<Color>) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| one_line(cell)).collect()).collect();
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.len()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let head_row: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let mut text = String::new();
    for (number, row) in std::iter::once(&head_row).chain(&rows).enumerate() {
        let mut line = String::new();
        for ((cell, &width), name) in row.iter().zip(&widths).zip(head) {
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()) + 2);
            match color(name, cell).filter(|_| number > 0) {
                Some(color) => line.push_str(&format!("\x1b[{}m{cell}\x1b[0m{padding}", color as u8)),
                None => line.push_str(&format!("{cell}{padding}")),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A colour, by its number among those of ECMA-48.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// Something is wrong.
    Red = 31,
    /// All is well.
    Green = 32,
    /// It is worth a look.
    Yellow = 33,
}

/// A cell that stays in its line, and does nothing to a terminal.
fn one_line(cell: &str) -> String {
    model::printable(cell).replace(['\n', '\t'], " ")
}

/// Bytes in units of 1024.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (u128::from(bytes) * 10 / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_sizes() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["longer".to_owned(), String::new()]];
        assert_eq!(table(&["NAME", "N"], &rows), "NAME    N\na       1\nlonger\n");
        let rows = [vec!["\x1b[2J\n".to_owned(), "1".to_owned()]];
        let text = painted(&["NAME", "N"], &rows, |column, _| (column == "N").then_some(Color::Red));
        assert_eq!(text, "NAME        N\n\\u001b[2J   \x1b[31m1\x1b[0m\n");
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
