//! Values that are text of a certain form.

/// A type around text, made by a function that refuses other text or brings it into its one form. Records hold the text,
/// which is checked again where they are read.
macro_rules! text_value {
    ($(#[$doc:meta])* $name:ident, $parse:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes text.
            ///
            /// # Errors
            /// [`crate::ValueError`] where it is something else.
            pub fn new(text: impl Into<String>) -> crate::ValueResult<Self> {
                $parse(text.into()).map(Self)
            }

            /// As text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::ValueError;

            fn from_str(text: &str) -> crate::ValueResult<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = crate::ValueError;

            fn try_from(text: String) -> crate::ValueResult<Self> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
