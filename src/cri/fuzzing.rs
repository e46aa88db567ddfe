//! Entry points for the fuzz targets of `e2e/fuzz`; compiled for them only.

use crate::decode::{Field, sysctls};
use model::NamespaceOptions;
use std::collections::BTreeMap;

/// A kernel parameter, as `name NUL value`: what is accepted can neither leave `/proc/sys` nor carry a second one.
///
/// # Panics
/// When it can.
pub fn sysctl(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (name, value) = text.split_once('\0').unwrap_or((&text, ""));
    let asked = BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let taken = sysctls::sysctls(&Field::root("sysctls"), asked, &NamespaceOptions::default());
    for (name, value) in taken.into_iter().flatten() {
        let (name, value) = (name.as_str(), value.as_str());
        assert!(name.split(['.', '/']).all(|part| !part.is_empty()), "{name:?}");
        assert!(!name.contains(['+', '=', '\n', '\0', ' ']), "{name:?}");
        assert!(!value.contains(['+', '\n', '\r', '\0']), "{value:?}");
    }
}
