//! Where a value stands in a request. A path is put together only when an error needs it.

use super::DecodeError;
use model::ValueError;
use std::fmt;

/// A field, and through its parents the path to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    parent: Option<&'a Field<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Name(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Field<'a> {
    /// A field of the request itself.
    pub(crate) fn root(name: &'a str) -> Self {
        Self { parent: None, step: Step::Name(name) }
    }

    /// A field of this message.
    pub(crate) fn child(&'a self, name: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Name(name) }
    }

    /// An element of this list.
    pub(crate) fn item(&'a self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }

    /// An entry of this map.
    pub(crate) fn key(&'a self, key: &'a str) -> Self {
        Self { parent: Some(self), step: Step::Key(key) }
    }

    /// The error that the field is absent.
    pub(crate) fn missing(&self) -> DecodeError {
        DecodeError::Missing { field: self.to_string() }
    }

    /// The error that the value is wrong.
    pub(crate) fn invalid(&self, problem: impl Into<String>) -> DecodeError {
        DecodeError::Invalid { field: self.to_string(), problem: problem.into() }
    }

    /// For `map_err`: the error that the value is not what the field holds.
    pub(crate) fn value(&self) -> impl FnOnce(ValueError) -> DecodeError {
        |error| self.invalid(error.to_string())
    }

    /// Refuses a field that is set and not acted on.
    pub(crate) fn refuse_if(&self, set: bool) -> Result<(), DecodeError> {
        if set { Err(DecodeError::Unsupported { field: self.to_string() }) } else { Ok(()) }
    }

    /// The value of an enumeration.
    pub(crate) fn enumeration<E: TryFrom<i32>>(&self, value: i32) -> Result<E, DecodeError> {
        E::try_from(value).map_err(|_| self.invalid(format!("{value} is no value of the enumeration")))
    }
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Name(name) if self.parent.is_some() => write!(f, ".{name}"),
            Step::Name(name) => f.write_str(name),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key:?}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_in_the_request() {
        let root = Field::root("config");
        let mounts = root.child("mounts");
        let mount = mounts.item(2);
        assert_eq!(mount.child("host_path").to_string(), "config.mounts[2].host_path");
        assert_eq!(root.child("labels").key("a").to_string(), r#"config.labels["a"]"#);
    }
}
