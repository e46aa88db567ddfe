//! The spellings of a user: `uid`, `uid:gid`, `name`, `name:group`, and mixtures.

use super::UserRequest;
use crate::error::{OciError, OciResult};
use model::User;

/// The largest user or group id: above it the kernel's and the tools' signed readings differ.
const MAX_ID: u32 = i32::MAX.unsigned_abs();

/// The field of the groups that a request adds.
pub(super) const GROUPS: &str = "linux.security_context.supplemental_groups";

/// A number, or a name to look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Id {
    Number(u32),
    Name(String),
}

/// What is to be looked up, and which field asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UserRef {
    pub(super) user: Id,
    pub(super) group: Option<Id>,
    pub(super) field: String,
}

/// The user that a request means: its own, else the image's, else root.
pub(super) fn wanted(request: &UserRequest) -> OciResult<UserRef> {
    const UID: &str = "linux.security_context.run_as_user";
    const NAME: &str = "linux.security_context.run_as_username";
    const GID: &str = "linux.security_context.run_as_group";
    let mut reference = match &request.user {
        Some(User::Uid(uid)) => {
            UserRef { user: Id::Number(in_range(*uid, UID)?), group: None, field: UID.to_owned() }
        }
        Some(User::Name(name)) if !name.is_empty() => parse(name, NAME)?,
        _ => parse(&request.image_user, "image config User")?,
    };
    if let Some(gid) = request.group {
        reference.group = Some(Id::Number(in_range(gid, GID)?));
    }
    for gid in &request.supplemental_groups {
        in_range(*gid, GROUPS)?;
    }
    Ok(reference)
}

/// Refuses ids that the kernel's tools read as negative.
pub(super) fn in_range(id: u32, field: &str) -> OciResult<u32> {
    if id > MAX_ID { Err(OciError::invalid(field, format!("id {id} is above {MAX_ID}"))) } else { Ok(id) }
}

fn parse(text: &str, field: &str) -> OciResult<UserRef> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let user = if user.is_empty() { Id::Number(0) } else { id(user, field)? };
    let group = match group {
        None | Some("") => None,
        Some(group) => Some(id(group, field)?),
    };
    Ok(UserRef { user, group, field: field.to_owned() })
}

/// A text that looks like a number is one or is refused: looked up as a name, a row of that name in the image's
/// own passwd would decide who it is.
fn id(text: &str, field: &str) -> OciResult<Id> {
    let refuse = |why: &str| Err(OciError::invalid(field, format!("{text:?} {why}")));
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        if digits.len() != text.len() {
            return refuse("is a number with a sign");
        }
        return match text.parse::<u32>() {
            Ok(number) if number <= MAX_ID => Ok(Id::Number(number)),
            _ => refuse("is above the largest user id, 2147483647"),
        };
    }
    if text.chars().any(|c| c.is_control() || c == ':' || c.is_whitespace()) {
        return refuse("is not a user or group name");
    }
    Ok(Id::Name(text.to_owned()))
}
