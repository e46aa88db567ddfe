//! What a refusal's body says.

/// The most characters of a host's own message.
const LONGEST: usize = 240;

/// A host's own words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

/// The code and the message of a registry's answer (the distribution specification's JSON), of a storage's (XML), or a
/// line of plain text. A message that holds one of the secrets is left out: it may echo what was sent.
pub(super) fn words(body: &[u8], content_type: &str, secrets: &[&str]) -> Words {
    let text = String::from_utf8_lossy(body);
    let found = if let Some(found) = of_json(body) {
        found
    } else if text.trim_start().starts_with("<?xml") || content_type.contains("xml") {
        Words { code: element(&text, "Code"), message: element(&text, "Message") }
    } else if content_type.starts_with("text/plain") {
        Words { code: None, message: text.lines().next().map(str::to_owned) }
    } else {
        Words::default()
    };
    let code = found.code.filter(|code| is_code(code));
    let message = found.message.map(|message| clean(&message)).filter(|message| {
        !message.is_empty() && !secrets.iter().any(|secret| !secret.is_empty() && message.contains(secret))
    });
    Words { code, message }
}

fn of_json(body: &[u8]) -> Option<Words> {
    #[derive(serde::Deserialize)]
    struct Body {
        #[serde(default)]
        errors: Vec<Entry>,
        /// What token servers write.
        #[serde(default)]
        details: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: Option<String>,
        #[serde(default)]
        message: Option<String>,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    Some(match body.errors.into_iter().next() {
        Some(entry) => Words { code: entry.code, message: entry.message },
        None => Words { code: None, message: body.details },
    })
}

/// The text of the first element of this name.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once("</").map(|(text, _)| text.to_owned())
}

fn is_code(code: &str) -> bool {
    (1..=40).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// One line without anything that a terminal or a log would act on.
fn clean(message: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let words: String = message.chars().map(plain).take(LONGEST).collect();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(body: &str, kind: &str) -> (String, String) {
        let Words { code, message } = words(body.as_bytes(), kind, &["hunter2", ""]);
        (code.unwrap_or_default(), message.unwrap_or_default())
    }

    #[test]
    fn registries_and_storages_say_why() {
        for (body, kind, code, message) in [
            (
                r#"{"errors":[{"code":"DENIED","message":"no\u001b[31m such\nplan"}]}"#,
                "application/json",
                "DENIED",
                "no [31m such plan",
            ),
            (r#"{"errors":[{"code":"DENIED","message":"is it hunter2?"}]}"#, "", "DENIED", ""),
            (r#"{"errors":[{"code":"<b>","message":""}]}"#, "", "", ""),
            (r#"{"details":"incorrect username or password"}"#, "", "", "incorrect username or password"),
            (
                "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
                "application/xml",
                "AccessDenied",
                "Request has expired",
            ),
            (
                "Client sent an HTTP request\nmore",
                "text/plain; charset=utf-8",
                "",
                "Client sent an HTTP request",
            ),
            ("<html>hello</html>", "text/html", "", ""),
            ("", "", "", ""),
        ] {
            assert_eq!(told(body, kind), (code.to_owned(), message.to_owned()), "{body}");
        }
        let long = format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "é".repeat(1000));
        assert_eq!(told(&long, "").1.chars().count(), LONGEST);
    }
}
