//! What the error stream says at the end: an object of Kubernetes' API (`metav1.Status`) from version 4 of the protocol
//! on, plain text before.

use serde_json::{Value, json};

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Well.
    Success,
    /// A command ended with this code, which is not 0.
    ExitCode(i32),
    /// Something went wrong on the way.
    Failure(String),
}

/// How it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// From version 4 on.
    Json,
    /// Before.
    Text,
}

impl Outcome {
    /// The bytes for the error stream; none where silence is success.
    pub(crate) fn encode(&self, form: Form) -> Vec<u8> {
        match form {
            Form::Json => self.json().to_string().into_bytes(),
            Form::Text => self.text().into_bytes(),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Success => String::new(),
            Self::ExitCode(code) => {
                format!("command terminated with non-zero exit code: exit status {code}")
            }
            Self::Failure(reason) => reason.clone(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Success => json!({"metadata": {}, "status": "Success"}),
            Self::ExitCode(code) => json!({
                "metadata": {},
                "status": "Failure",
                "message": self.text(),
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Self::Failure(reason) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("Internal error occurred: {reason}"),
                "reason": "InternalError",
                "details": {"causes": [{"message": reason}]},
                "code": 500,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_find_the_exit_code_where_they_look_for_it() {
        assert_eq!(Outcome::Success.encode(Form::Json), br#"{"metadata":{},"status":"Success"}"#);
        assert_eq!(Outcome::Success.encode(Form::Text), b"");
        let status = Outcome::ExitCode(42).json();
        assert_eq!(status["reason"], "NonZeroExitCode");
        let cause = &status["details"]["causes"][0];
        assert_eq!((&cause["reason"], &cause["message"]), (&json!("ExitCode"), &json!("42")));
        let failure = Outcome::Failure("no luck".to_owned());
        assert_eq!(failure.json()["message"], "Internal error occurred: no luck");
        assert_eq!(failure.encode(Form::Text), b"no luck");
    }
}
