//! What is executed.

use crate::value::{ValueError, ValueResult};

/// A program and its arguments: there is a program, and no word holds a NUL, at which the kernel would cut it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argv(Vec<String>);

impl Argv {
    /// Takes words.
    ///
    /// # Errors
    /// [`ValueError::Empty`] without a program, [`ValueError::NulInWord`] with the place of the word.
    pub fn new(words: Vec<String>) -> ValueResult<Self> {
        if words.first().is_none_or(String::is_empty) {
            return Err(ValueError::Empty);
        }
        match words.iter().position(|word| word.contains('\0')) {
            None => Ok(Self(words)),
            Some(index) => Err(ValueError::NulInWord { index }),
        }
    }

    /// The program, then its arguments.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.0
    }

    /// The same, given away.
    #[must_use]
    pub fn into_words(self) -> Vec<String> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_a_program_and_no_nul() {
        let argv = |words: &[&str]| Argv::new(words.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(argv(&["ls", ""]).map(Argv::into_words), Ok(vec!["ls".to_owned(), String::new()]));
        assert_eq!(argv(&[]), Err(ValueError::Empty));
        assert_eq!(argv(&["", "a"]), Err(ValueError::Empty));
        assert_eq!(argv(&["a", "b\0"]), Err(ValueError::NulInWord { index: 1 }));
    }
}
