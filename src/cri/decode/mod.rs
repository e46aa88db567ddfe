//! From the wire to the model. Every field of a request is honoured, stored or refused by name; a field at its
//! proto default, or an empty message, is unset. Nothing here has a side effect.

pub(crate) mod capability;
pub(crate) mod container;
mod error;
mod field;
#[cfg(test)]
mod field_table;
pub(crate) mod filters;
pub(crate) mod image;
pub(crate) mod labels;
#[cfg(test)]
mod many;
pub(crate) mod mounts;
pub(crate) mod pod_fit;
pub(crate) mod requests;
pub(crate) mod resources;
pub(crate) mod sandbox;
pub(crate) mod security;
pub(crate) mod sysctls;
pub(crate) mod text;
pub(crate) mod userns;

pub use error::DecodeError;
pub(crate) use field::Field;

/// Whether a message says anything.
pub(crate) fn is_set<T: Default + PartialEq>(message: Option<&T>) -> bool {
    message.is_some_and(|message| *message != T::default())
}
