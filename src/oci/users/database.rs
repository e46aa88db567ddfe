//! The rows of `/etc/passwd` and `/etc/group`, as glibc reads them: what stands behind the numbers may be missing, and a
//! row without its numbers does not exist.

/// Where users are.
pub(super) const PASSWD: &str = "/etc/passwd";
/// Where groups are.
pub(super) const GROUP: &str = "/etc/group";

/// A row of the user database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passwd<'a> {
    pub(super) name: &'a [u8],
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: &'a [u8],
}

/// A row of the group database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group<'a> {
    pub(super) name: &'a [u8],
    pub(super) gid: u32,
    members: &'a [u8],
}

impl Group<'_> {
    /// Whether the user is listed.
    pub(super) fn has(&self, user: &[u8]) -> bool {
        self.members.split(|byte| *byte == b',').any(|member| member == user)
    }
}

/// The rows of a passwd file: a name, and two plain decimal numbers.
pub(super) fn users(file: &[u8]) -> impl Iterator<Item = Passwd<'_>> {
    lines(file).filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let home = fields.nth(1).unwrap_or_default();
        Some(Passwd { name: some(name)?, uid: number(uid)?, gid: number(gid)?, home })
    })
}

/// The rows of a group file: a name, and a plain decimal number.
pub(super) fn groups(file: &[u8]) -> impl Iterator<Item = Group<'_>> {
    lines(file).filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Group { name: some(name)?, gid: number(gid)?, members: fields.next().unwrap_or_default() })
    })
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii)
}

fn some(name: &[u8]) -> Option<&[u8]> {
    (!name.is_empty()).then_some(name)
}

fn number(text: &[u8]) -> Option<u32> {
    // `parse` takes a sign; the databases do not.
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}
