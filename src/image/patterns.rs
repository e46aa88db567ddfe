//! Patterns of images in the settings. One that no image can have is a mistake of whoever wrote it, and would say nothing
//! for ever: it is refused, with what was meant.

use crate::config::ImageConfig;

/// A setting of images that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSettingProblem {
    /// The key with its section.
    pub key: &'static str,
    /// What is wrong, and what to write.
    pub problem: String,
}

/// What a pattern is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// `registry/repository`.
    Name,
    /// `registry/repository:tag`.
    Tagged,
    /// The same, or with `@` and a digest in the place of the tag.
    Shown,
}

impl Subject {
    fn form(self) -> &'static str {
        match self {
            Self::Name => "registry/repository",
            Self::Tagged => "registry/repository:tag",
            Self::Shown => "registry/repository:tag or registry/repository@digest",
        }
    }
}

impl ImageConfig {
    /// The patterns that fit no image.
    pub fn check(&self) -> Vec<ImageSettingProblem> {
        let lists = [
            ("images.pinned", &self.pinned, Subject::Shown),
            ("images.require_digest", &self.require_digest, Subject::Name),
            ("images.refuse_tags", &self.refuse_tags, Subject::Tagged),
        ];
        let problems = lists.into_iter().flat_map(|(key, patterns, subject)| {
            let found = patterns.iter().filter_map(move |pattern| problem(pattern, subject));
            found.map(move |problem| ImageSettingProblem { key, problem })
        });
        problems.collect()
    }
}

fn problem(pattern: &str, subject: Subject) -> Option<String> {
    if pattern.is_empty() {
        return Some("an empty pattern fits no image, leave it out".to_owned());
    }
    if pattern.contains(char::is_whitespace) {
        return Some(format!("{pattern:?} contains a space, which no name of an image has"));
    }
    if is_ambiguous(pattern) {
        let image = mended(&format!("docker.io/library/{}", lower_case(pattern)), subject);
        let registry = pattern.replacen('*', "*/*", 1);
        return Some(format!(
            "{pattern:?} is compared with {}, and so fits no image of Docker Hub: write {image:?}, or for registries of \
             such names {registry:?}",
            subject.form()
        ));
    }
    let mended = mended(pattern, subject);
    (mended != pattern).then(|| {
        format!("{pattern:?} fits no image, it is compared with {}: write {mended:?}", subject.form())
    })
}

/// Whether a pattern begins as the short name of an image does, and so would fit only registries that begin likewise.
fn is_ambiguous(pattern: &str) -> bool {
    let is_host = pattern.starts_with("localhost") || pattern.contains(['.', '[', '/', '@']);
    !is_host && pattern.contains('*') && !pattern.starts_with(['*', '?', ':'])
}

/// The pattern as it has to be written to fit what was most likely meant; itself where it can fit something.
fn mended(pattern: &str, subject: Subject) -> String {
    let (name, tag) = split(pattern);
    let tagged = subject != Subject::Name;
    if subject == Subject::Tagged && tag.is_empty() && !name.contains('/') && !is_open(name) {
        // Whoever writes a tag alone means that of every repository.
        return format!("*:{name}");
    }
    let last = name.rsplit('/').next().unwrap_or(name);
    let tag = match tag {
        _ if !tagged => "",
        "" if !is_open(last) => ":*",
        // What a digest names is never refused for its tag.
        tag if subject == Subject::Tagged && tag.starts_with('@') => ":*",
        tag => tag,
    };
    format!("{}{tag}", whole(name))
}

/// The name, and the tag with its `:` or the digest with its `@`, where the pattern surely has one.
fn split(pattern: &str) -> (&str, &str) {
    if let Some(at) = pattern.find('@') {
        return pattern.split_at(at);
    }
    let begins_a_tag = |at: &usize| {
        let (before, after) = (&pattern[..*at], &pattern[at + 1..]);
        let word = after.split(['/', '*', '?']).next().unwrap_or_default();
        let is_port_or_address = word.bytes().all(|byte| byte.is_ascii_digit()) || word.contains(']');
        before.contains('/') || !after.contains(['/', '*', '?']) || !is_port_or_address
    };
    match pattern.rfind(':').filter(begins_a_tag) {
        Some(at) => pattern.split_at(at),
        None => (pattern, ""),
    }
}

/// The name with what references have and people leave away: the registry, `library/`, and lower case.
fn whole(name: &str) -> String {
    let Some((host, repository)) = name.split_once('/') else {
        return match name {
            "" => "*".to_owned(),
            open if is_open(open) => open.to_owned(),
            short => format!("docker.io/library/{}", lower_case(short)),
        };
    };
    let is_host = host.contains(['.', ':', '[']) || host == "localhost" || is_open(host);
    let is_host = is_host || host.bytes().any(|byte| byte.is_ascii_uppercase());
    if !is_host {
        return format!("docker.io/{}", lower_case(name));
    }
    let repository = lower_case(repository);
    let host = if host == "index.docker.io" { "docker.io" } else { host };
    if host == "docker.io" && !repository.contains('/') && !is_open(&repository) {
        return format!("docker.io/library/{repository}");
    }
    format!("{host}/{repository}")
}

/// A repository in the case that all have; behind a star may be a tag, which has its own.
fn lower_case(pattern: &str) -> String {
    let (sure, rest) = pattern.split_at(pattern.find(['*', '?']).unwrap_or(pattern.len()));
    sure.to_lowercase() + rest
}

/// Whether it may stand for more than it says.
fn is_open(pattern: &str) -> bool {
    pattern.contains(['*', '?'])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::glob;
    use crate::reference::Reference;

    #[test]
    fn what_fits_no_image_is_told_with_what_does() {
        let table = [
            (Subject::Tagged, "latest", "*:latest"),
            (Subject::Tagged, ":latest", "*:latest"),
            (Subject::Tagged, "busybox:latest", "docker.io/library/busybox:latest"),
            (Subject::Tagged, "team/app:*", "docker.io/team/app:*"),
            (Subject::Tagged, "docker.io/busybox:*", "docker.io/library/busybox:*"),
            (Subject::Tagged, "index.docker.io/team/app:1", "docker.io/team/app:1"),
            (Subject::Tagged, "prod.example/app", "prod.example/app:*"),
            (Subject::Tagged, "*/app", "*/app:*"),
            (Subject::Tagged, "prod.example/App:V1", "prod.example/app:V1"),
            (Subject::Tagged, "prod.example/app@sha256:*", "prod.example/app:*"),
            (Subject::Name, "*:latest", "*"),
            (Subject::Name, "*:latest-*", "*"),
            (Subject::Name, "prod.example/app:v1", "prod.example/app"),
            (Subject::Name, "prod.example/*:*", "prod.example/*"),
            (Subject::Name, "busybox", "docker.io/library/busybox"),
            (Subject::Name, "prod.example:5000/app@sha256:00", "prod.example:5000/app"),
            (Subject::Shown, "registry.k8s.io/pause", "registry.k8s.io/pause:*"),
            (Subject::Shown, "pause:3.10", "docker.io/library/pause:3.10"),
        ];
        for (subject, pattern, wanted) in table {
            assert_eq!(mended(pattern, subject), wanted, "{pattern}");
            assert_eq!(mended(wanted, subject), wanted, "what is proposed is taken");
            let said = problem(pattern, subject).unwrap();
            assert!(said.contains(&format!("{pattern:?} fits no image")) && said.contains(wanted), "{said}");
        }
        assert!(problem("", Subject::Name).is_some() && problem("a b", Subject::Name).is_some());
    }

    #[test]
    fn what_begins_as_a_short_name_is_told_with_both_that_it_may_mean() {
        for (subject, pattern, image, registry) in [
            (Subject::Shown, "bb:*", "docker.io/library/bb:*", "bb:*/*"),
            (Subject::Tagged, "bb:*", "docker.io/library/bb:*", "bb:*/*"),
            (Subject::Name, "bb*", "docker.io/library/bb*", "bb*/*"),
            (Subject::Name, "bb:*", "docker.io/library/bb", "bb:*/*"),
            (Subject::Tagged, "B*:latest", "docker.io/library/b*:latest", "B*/*:latest"),
        ] {
            let said = problem(pattern, subject).unwrap_or_else(|| panic!("{pattern}"));
            assert!(said.contains(&format!("write {image:?}, or")), "{said}");
            assert!(said.ends_with(&format!("{registry:?}")), "{said}");
            assert_eq!(problem(image, subject), None, "what is proposed is taken");
        }
    }

    #[test]
    fn what_fits_an_image_is_never_refused() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let references = [
            "busybox",
            "busybox:1",
            "team/app:v1",
            "localhost/app",
            "localhost:5000/app:5000",
            "[::1]:5000/a/b:x",
            "[::1]/a",
            "reg.example:5000/team/app:latest-1",
            "Team/app:V1",
            "reg.example/a.b_c-d",
        ];
        let at_digest = references.iter().map(|text| format!("{text}@{digest}"));
        let texts: Vec<String> = references.iter().map(ToString::to_string).chain(at_digest).collect();
        for reference in texts.iter().map(|text| Reference::parse(text).unwrap()) {
            let (name, shown) = (reference.name(), reference.to_string());
            for (subject, text) in
                [(Subject::Name, &name), (Subject::Tagged, &shown), (Subject::Shown, &shown)]
            {
                if subject == Subject::Tagged && reference.digest().is_some() {
                    continue;
                }
                for pattern in patterns_of(text) {
                    assert!(glob::matches(&pattern, text), "{pattern} {text}");
                    if is_ambiguous(&pattern) {
                        // As registries it may be written so that nobody takes it for something else.
                        let registry = pattern.replacen('*', "*/*", 1);
                        assert!(glob::matches(&registry, text), "{registry} {text}");
                        assert_eq!(problem(&registry, subject), None, "{registry} fits {text}");
                        continue;
                    }
                    assert_eq!(problem(&pattern, subject), None, "{pattern} fits {text}");
                }
            }
        }
    }

    /// The text itself, and with each part of it open.
    fn patterns_of(text: &str) -> Vec<String> {
        let mut patterns = vec![text.to_owned(), "*".to_owned()];
        for from in 0..text.len() {
            patterns.push(format!("{}*", &text[..from]));
            patterns.push(format!("*{}", &text[from..]));
            patterns.push(format!("{}?{}", &text[..from], &text[from + 1..]));
            for to in from..text.len() {
                patterns.push(format!("{}*{}", &text[..from], &text[to..]));
            }
        }
        patterns
    }
}
