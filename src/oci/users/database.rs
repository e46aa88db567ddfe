//! The rows of `/etc/passwd` and `/etc/group`. A row that is not well-formed does not exist.

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

/// The well-formed rows of a passwd file: seven fields, a name, and two plain decimal numbers.
pub(super) fn users(file: &[u8]) -> impl Iterator<Item = Passwd<'_>> {
    file.split(|byte| *byte == b'\n').filter_map(|line| {
        let [name, _, uid, gid, _, home, _] = fields(line)?;
        Some(Passwd { name: some(name)?, uid: number(uid)?, gid: number(gid)?, home })
    })
}

/// The well-formed rows of a group file: four fields, a name, and a plain decimal number.
pub(super) fn groups(file: &[u8]) -> impl Iterator<Item = Group<'_>> {
    file.split(|byte| *byte == b'\n').filter_map(|line| {
        let [name, _, gid, members] = fields(line)?;
        Some(Group { name: some(name)?, gid: number(gid)?, members })
    })
}

fn fields<const N: usize>(line: &[u8]) -> Option<[&[u8]; N]> {
    let mut found = [&line[..0]; N];
    let mut parts = line.split(|byte| *byte == b':');
    for slot in &mut found {
        *slot = parts.next()?;
    }
    parts.next().is_none().then_some(found)
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
