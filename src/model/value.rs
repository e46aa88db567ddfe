//! Why text or a number is not the value that it was taken for.

/// What is wrong with a value. Where it stood in a request, a setting or a spec, the caller says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A number that is too small or too large.
    #[error("{value} is not within {least} to {most}")]
    OutOfRange {
        /// The number.
        value: i64,
        /// The smallest one.
        least: i64,
        /// The largest one.
        most: i64,
    },
    /// A limit that is neither a number nor the word for none.
    #[error("{value} is neither -1 nor {least} or more")]
    NoLimit {
        /// The number.
        value: i64,
        /// The smallest one.
        least: i64,
    },
    /// Text of another form.
    #[error("{text:?} is no {form}")]
    Form {
        /// The text.
        text: String,
        /// What it was to be, with an example.
        form: &'static str,
    },
    /// The name of a kernel parameter that may mean two.
    #[error("{text:?} mixes dots and slashes")]
    MixedSeparators {
        /// The name.
        text: String,
    },
    /// A name that would change the cgroup itself.
    #[error("would change the cgroup itself, not a limit")]
    CgroupItself,
    /// Nothing, where there must be something.
    #[error("is empty")]
    Empty,
    /// The kernel would end the text there.
    #[error("contains a NUL byte")]
    Nul,
    /// The same in one of several words.
    #[error("word {index} contains a NUL byte")]
    NulInWord {
        /// Which one.
        index: usize,
    },
    /// A path that begins at no root.
    #[error("must be an absolute path")]
    Relative,
    /// A path that leads upwards.
    #[error("must not contain `..`")]
    Climbs,
    /// More than the kernel takes.
    #[error("is longer than {most} bytes")]
    TooLong {
        /// The most bytes.
        most: usize,
    },
    /// Memory and swap together are less than memory alone.
    #[error("{both} is less than the memory limit, which it includes")]
    BelowMemory {
        /// Memory and swap.
        both: i64,
    },
    /// Memory and swap together without memory alone.
    #[error("needs a memory limit beside it")]
    WithoutMemory,
}

/// The form of a value, and what it is without one.
pub type ValueResult<T> = Result<T, ValueError>;
