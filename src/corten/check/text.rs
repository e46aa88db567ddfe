//! What was found, for people.

use super::Report;
use super::finding::{Finding, Level};
use crate::error::Error;
use engine::counted;

/// A line for each finding, and two more for what is not as it should be.
pub(super) fn table(report: &Report, quiet: bool, colours: bool) -> String {
    let width = report.findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in &report.findings {
        line(&mut text, finding, width, colours);
    }
    if !quiet || report.errors + report.warnings > 0 {
        let (errors, warnings) = (counted(report.errors, "error"), counted(report.warnings, "warning"));
        text += &format!("{errors}, {warnings}\n");
    }
    text
}

fn line(text: &mut String, finding: &Finding, width: usize, colours: bool) {
    let (word, colour) = match finding.level {
        Level::Ok => ("ok", "32"),
        Level::Warning => ("warning", "33"),
        Level::Error => ("error", "31"),
    };
    let (begin, end) = if colours { (format!("\x1b[{colour}m"), "\x1b[0m") } else { (String::new(), "") };
    let plain = |text: &str| engine::printable(text).replace('\n', " ");
    *text += &format!("{begin}{word:<7}{end}  {:<width$}  {}\n", finding.check, plain(&finding.found));
    for (what, said) in [("costs", &finding.costs), ("mend", &finding.mend)] {
        if !said.is_empty() {
            *text += &format!("{:<7}  {what:<width$}  {}\n", "", plain(said));
        }
    }
}

/// What comes of others is plain already; colours are not.
pub(super) fn print(text: &str) -> Result<(), Error> {
    Ok(client::print_styled(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_has_a_line_and_bad_ones_say_what_to_do() {
        let findings = vec![
            Finding::ok("clock", "fine"),
            Finding::warning("bridge-nf", "not\u{1b}[31m loaded").costs("Services").mend("modprobe"),
        ];
        let mut report = Report { version: "1", errors: 0, warnings: 1, findings };
        let said = table(&report, false, false);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "ok       clock      fine");
        assert!(lines[1].starts_with("warning  bridge-nf  not") && !said.contains('\u{1b}'), "{said}");
        assert_eq!(
            lines[2..],
            ["         costs      Services", "         mend       modprobe", "0 errors, 1 warning"]
        );
        report.findings.clear();
        report.warnings = 0;
        assert_eq!(table(&report, true, false), "", "nothing to say");
    }

    #[test]
    fn a_level_has_its_colour_where_colours_are_wanted() {
        let mut text = String::new();
        line(&mut text, &Finding::error("x", "y"), 1, true);
        assert_eq!(text, "\x1b[31merror  \x1b[0m  x  y\n");
    }
}
