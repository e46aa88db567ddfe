//! Who a process is: the user and groups that an image or a request names, resolved in the image's own
//! `/etc/passwd` and `/etc/group`.

mod database;
mod reference;
#[cfg(test)]
mod tests;

use crate::error::{OciError, OciResult};
use crate::rootfs::RootView;
use database::{Group, Passwd};
use model::{SecurityContext, User};
use reference::{Id, UserRef};
use std::collections::HashSet;

/// The kernel's `NGROUPS_MAX`.
const MOST_GROUPS: usize = 65_536;

/// What the request and the image say about the user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserRequest {
    /// The user of the request; it replaces the image's.
    pub user: Option<User>,
    /// The primary group of the request; it replaces the image's and the user's own.
    pub group: Option<u32>,
    /// The image's `User`: `uid`, `uid:gid`, `name`, `name:group` or empty.
    pub image_user: String,
    /// Groups that the request adds.
    pub supplemental_groups: Vec<u32>,
    /// CRI `SupplementalGroupsPolicy`: `Strict` ignores the memberships in the image's `/etc/group`.
    pub strict_groups: bool,
}

impl UserRequest {
    /// From a container's security context and its image's `User`.
    pub fn new(security: &SecurityContext, image_user: &str) -> Self {
        Self {
            user: security.user.clone(),
            group: security.group,
            image_user: image_user.to_owned(),
            supplemental_groups: security.supplemental_groups.clone(),
            strict_groups: security.strict_groups,
        }
    }
}

/// A user, as the kernel takes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// All groups, the primary one first, none twice.
    pub groups: Vec<u32>,
    /// The home directory of the user's row, when it has one that is fit for an environment.
    pub home: Option<String>,
    /// The name of the user's row.
    pub name: Option<String>,
}

/// Resolves a user in an image.
///
/// A number takes its passwd row's group, home and memberships when it has one, and group 0 otherwise. A name
/// must be there. Numbers that do not fit the kernel's range are refused and never taken for names.
///
/// # Errors
/// [`OciError::Invalid`] for malformed or overflowing users and for more groups than a process can have, [`OciError::UnknownName`] for absent ones,
/// [`OciError::ImageFile`] when the image's files may not be read.
pub fn resolve(view: &RootView, request: &UserRequest) -> OciResult<ResolvedUser> {
    let wanted = reference::wanted(request)?;
    let passwd = view.read(database::PASSWD)?.unwrap_or_default();
    let row = find_user(&passwd, &wanted.user)?;
    let uid = match (&wanted.user, &row) {
        (Id::Number(uid), _) => *uid,
        (Id::Name(_), Some(row)) => reference::in_range(row.uid, &wanted.field)?,
        (Id::Name(name), None) => return Err(unknown("user", name, database::PASSWD)),
    };
    let needs_groups = matches!(wanted.group, Some(Id::Name(_))) || (!request.strict_groups && row.is_some());
    let group_file = if needs_groups { view.read(database::GROUP)?.unwrap_or_default() } else { Vec::new() };
    let gid = match &wanted.group {
        Some(Id::Number(gid)) => *gid,
        Some(Id::Name(name)) => find_group(&group_file, name, &wanted)?,
        None => row.as_ref().map_or(Ok(0), |row| reference::in_range(row.gid, &wanted.field))?,
    };
    let mut groups = vec![gid];
    if let (Some(row), false) = (&row, request.strict_groups) {
        groups
            .extend(database::groups(&group_file).filter(|group| group.has(row.name)).map(|group| group.gid));
    }
    groups.extend(&request.supplemental_groups);
    let groups = each_once(groups)?;
    Ok(ResolvedUser {
        uid,
        gid,
        groups,
        home: row.as_ref().and_then(|row| fit_for_env(row.home)),
        name: row.as_ref().and_then(|row| fit_for_env(row.name)),
    })
}

fn find_user<'a>(passwd: &'a [u8], user: &Id) -> OciResult<Option<Passwd<'a>>> {
    Ok(match user {
        Id::Number(uid) => database::users(passwd).find(|row| row.uid == *uid),
        Id::Name(name) => database::users(passwd).find(|row| row.name == name.as_bytes()),
    })
}

fn find_group(groups: &[u8], name: &str, wanted: &UserRef) -> OciResult<u32> {
    let row: Option<Group<'_>> = database::groups(groups).find(|row| row.name == name.as_bytes());
    let row = row.ok_or_else(|| unknown("group", name, database::GROUP))?;
    reference::in_range(row.gid, &wanted.field)
}

fn unknown(what: &'static str, name: &str, file: &'static str) -> OciError {
    OciError::UnknownName { what, name: name.to_owned(), file }
}

/// Groups without repeats, and no more than a process can have.
pub(crate) fn each_once(mut groups: Vec<u32>) -> OciResult<Vec<u32>> {
    let mut known = HashSet::with_capacity(groups.len());
    groups.retain(|group| known.insert(*group));
    check_count(reference::GROUPS, &groups)?;
    Ok(groups)
}

/// Refuses more groups than a process can have.
pub(crate) fn check_count(field: &str, groups: &[u32]) -> OciResult<()> {
    if groups.len() <= MOST_GROUPS {
        return Ok(());
    }
    let reason =
        format!("{} groups with those of the user: a process has {MOST_GROUPS} at most", groups.len());
    Err(OciError::invalid(field, reason))
}

/// A field of the image's passwd may hold anything but a line feed and a colon; what ends up in an environment
/// or a status must be plain text.
fn fit_for_env(field: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(field).ok()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}
