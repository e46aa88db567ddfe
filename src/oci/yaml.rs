//! YAML that people write.

use serde::de::DeserializeOwned;

/// So much is quoted of the line that is wrong.
const QUOTED: usize = 80;

/// Reads a document. The text is what is wrong with it, with its place, in one line: it goes into logs and answers.
///
/// # Errors
/// It is no YAML, or not of the form.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_saphyr::from_str(text).map_err(|error| {
        // In place of the lines around it, which the parser would show.
        let said = error.without_snippet().to_string();
        let said = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(": ");
        let number = error.location().and_then(|at| usize::try_from(at.line()).ok()?.checked_sub(1));
        match number.and_then(|number| text.lines().nth(number)) {
            Some(line) => format!("{said}: {:?}", line.trim().chars().take(QUOTED).collect::<String>()),
            None => said,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    #[test]
    fn what_is_wrong_is_one_line_with_its_place() {
        for (text, place) in [
            ("a: 1\nb: {\nc: 3\n", "line "),
            ("a: 1\nb: x\n", "line 2, column 4: \"b: x\""),
            ("a: 1\na: 2\n", "line 2"),
            ("a: \"\\q\"\n", "line 1"),
        ] {
            let error = super::parse::<BTreeMap<String, u8>>(text).err().unwrap_or_default();
            assert!(error.contains(place) && !error.contains('\n'), "{text:?}: {error:?}");
        }
    }
}
