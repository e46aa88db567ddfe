//! Resolver settings out of a file in the form of resolv.conf(5).

use crate::failure::file;
use crate::types::{CniError, Dns};
use std::path::Path;

/// The settings of a file; none without a file.
pub(super) fn read(path: Option<&Path>) -> Result<Dns, CniError> {
    match path {
        None => Ok(Dns::default()),
        Some(path) => Ok(parse(&std::fs::read_to_string(path).map_err(file("read", path))?)),
    }
}

fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(key), Some(first)) = (words.next(), words.next()) else { continue };
        match key.as_str() {
            "nameserver" => dns.nameservers.push(first),
            "domain" => dns.domain = first,
            "search" => dns.search.extend(std::iter::once(first).chain(words)),
            "options" => dns.options.extend(std::iter::once(first).chain(words)),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_a_file() {
        let text = "# none\nnameserver 10.0.0.1\nnameserver fd00::1\n; no\nsearch a b\ndomain c\noptions x y:1\nempty\n";
        let dns = parse(text);
        assert_eq!(dns.nameservers, ["10.0.0.1", "fd00::1"]);
        assert_eq!((dns.search, dns.domain), (vec!["a".to_owned(), "b".to_owned()], "c".to_owned()));
        assert_eq!(dns.options, ["x", "y:1"]);
    }
}
