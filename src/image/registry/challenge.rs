//! The `WWW-Authenticate` header (RFC 9110, 11.6.1).

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token of the server at `realm`.
    Bearer {
        /// The token server's address.
        realm: String,
        /// The registry's name there.
        service: Option<String>,
        /// What the token must allow.
        scope: Option<String>,
    },
    /// A user name and a password.
    Basic,
}

/// The first challenge that can be answered, Bearer before Basic, among the headers of an answer.
pub(crate) fn choose<'a>(headers: impl Iterator<Item = &'a [u8]>) -> Option<Challenge> {
    let mut basic = false;
    for header in headers.filter_map(|header| std::str::from_utf8(header).ok()).take(8) {
        for challenge in parse(header) {
            match challenge {
                Challenge::Bearer { .. } => return Some(challenge),
                Challenge::Basic => basic = true,
            }
        }
    }
    basic.then_some(Challenge::Basic)
}

/// Every challenge of a header that is understood; the rest is passed over.
fn parse(header: &str) -> Vec<Challenge> {
    let mut scanner = Scanner { rest: header };
    let mut challenges = Vec::new();
    let mut scheme: Option<String> = None;
    let mut parameters: Vec<(String, String)> = Vec::new();
    while let Some(token) = scanner.token() {
        if scanner.equals() {
            match scanner.value() {
                Some(value) => parameters.push((token.to_ascii_lowercase(), value)),
                None => break,
            }
        } else {
            challenges.extend(scheme.take().and_then(|scheme| build(&scheme, &mut parameters)));
            parameters.clear();
            scheme = Some(token.to_ascii_lowercase());
        }
    }
    challenges.extend(scheme.and_then(|scheme| build(&scheme, &mut parameters)));
    challenges
}

fn build(scheme: &str, parameters: &mut Vec<(String, String)>) -> Option<Challenge> {
    let mut take = |name: &str| {
        let at = parameters.iter().position(|(key, value)| key == name && !value.is_empty())?;
        Some(parameters.swap_remove(at).1)
    };
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => {
            Some(Challenge::Bearer { realm: take("realm")?, service: take("service"), scope: take("scope") })
        }
        _ => None,
    }
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    /// The next word, after separators.
    fn token(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start_matches([' ', '\t', ',']);
        let end = self.rest.find([' ', '\t', ',', '=', '"']).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    fn equals(&mut self) -> bool {
        match self.rest.trim_start_matches([' ', '\t']).strip_prefix('=') {
            Some(rest) => {
                self.rest = rest.trim_start_matches([' ', '\t']);
                true
            }
            None => false,
        }
    }

    /// A quoted string or a word; `None` for an open quote.
    fn value(&mut self) -> Option<String> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            let end = self.rest.find([' ', '\t', ',']).unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Some(value.to_owned());
        };
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &quoted[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(characters.next()?.1),
                _ => value.push(character),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        })
    }

    #[test]
    fn headers_of_registries_and_of_enemies() {
        let table = [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull""#,
                bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:library/busybox:pull"),
                ),
            ),
            (r#"bearer Realm = "https://a/b" , service=x"#, bearer("https://a/b", Some("x"), None)),
            (r#"Basic realm="Registry Realm""#, Some(Challenge::Basic)),
            ("Basic", Some(Challenge::Basic)),
            (r#"Basic realm="r", Bearer realm="https://t""#, bearer("https://t", None, None)),
            (r#"Negotiate abc==, Bearer realm="https://t""#, bearer("https://t", None, None)),
            (r#"Bearer realm="a\"b\\c""#, bearer("a\"b\\c", None, None)),
            ("Digest realm=\"x\", nonce=\"y\"", None),
            ("Bearer", None),
            ("Bearer realm=", None),
            ("Bearer realm=\"open", None),
            ("Bearer realm=\"open\\", None),
            ("Bearer service=\"only\"", None),
            ("", None),
            (",,,,=\"\"", None),
            ("=", None),
            ("\"\"\"", None),
            ("Bearer realm=é,", bearer("é", None, None)),
        ];
        for (header, expected) in table {
            assert_eq!(choose(std::iter::once(header.as_bytes())), expected, "{header}");
        }
        assert_eq!(choose([&b"\xff\xfe"[..], b"Basic"].into_iter()), Some(Challenge::Basic));
    }

    #[test]
    fn any_mixture_ends() {
        let pieces = ["Bearer ", "realm", "=", "\"", "\\", ",", " ", "é", "basic", "\t"];
        let mut texts = vec![String::new()];
        for _ in 0..5 {
            texts = texts
                .iter()
                .flat_map(|text| pieces.iter().map(move |piece| format!("{text}{piece}")))
                .collect();
            for text in &texts {
                let _ = choose(std::iter::once(text.as_bytes()));
            }
        }
    }
}
