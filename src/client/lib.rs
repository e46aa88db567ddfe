//! The commands that need but the socket of the CRI, and how every command prints.

mod print;
pub mod table;

pub use print::{PrintError, print};
