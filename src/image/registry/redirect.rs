//! Where a redirect leads.

use super::answer::Answer;
use reqwest::{Response, StatusCode, Url};

pub(super) const MAX_REDIRECTS: usize = 10;

pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

pub(super) fn target(from: &Url, response: &Response) -> Result<Url, Answer> {
    let location = response.headers().get("location").and_then(|value| value.to_str().ok());
    let location = location.ok_or(Answer::Redirect("without saying where"))?;
    let to = from.join(location).map_err(|_| Answer::Redirect("to a malformed address"))?;
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err(Answer::Redirect("from HTTPS to plain HTTP, which is refused")),
        _ => return Err(Answer::Redirect("to something that is not HTTP")),
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(Answer::Redirect("to an address with a user in it, which is refused"));
    }
    Ok(to)
}

/// Whether what is meant for one address may be sent to the other: the same host and port, or the same host's HTTPS.
pub(super) fn same_host(from: &Url, to: &Url) -> bool {
    let upgrade = from.scheme() == "http" && to.scheme() == "https" && from.host() == to.host();
    from.origin() == to.origin() || upgrade
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn redirect(from: &str, location: &str) -> Result<String, Answer> {
        let reply = http::Response::builder().status(307).header("location", location).body("").unwrap();
        target(&Url::parse(from).unwrap(), &Response::from(reply)).map(|url| url.to_string())
    }

    #[test]
    fn redirects_never_lose_the_encryption() {
        assert_eq!(redirect("https://a/v2/x", "/y").unwrap(), "https://a/y");
        assert_eq!(redirect("http://a/v2/x", "https://b/y").unwrap(), "https://b/y");
        for (from, location, problem) in [
            ("https://a/", "http://a/", "plain HTTP"),
            ("https://a/", "ftp://a/", "no HTTP"),
            ("http://a/", "file:///etc/passwd", "not HTTP"),
            ("http://a/", "http://user:pass@a/", "user"),
            ("http://a/", "http://[", "malformed"),
        ] {
            let error = redirect(from, location).unwrap_err().to_string();
            assert!(error.contains(problem) || error.contains("not HTTP"), "{location}: {error}");
            assert!(!error.contains("pass"), "{error}");
        }
    }

    #[test]
    fn secrets_follow_a_host_to_its_https_and_nowhere_else() {
        let same = |from: &str, to: &str| same_host(&Url::parse(from).unwrap(), &Url::parse(to).unwrap());
        assert!(same("https://a/x", "https://a:443/y") && same("http://a/x", "https://a/y"));
        assert!(!same("https://a/", "https://b/") && !same("https://a/", "https://a:8443/"));
        assert!(!same("https://a/", "http://a/") && !same("http://a:1/", "http://a:2/"));
    }
}
