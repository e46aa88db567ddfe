//! Archives made by hand, also malformed ones.

/// Builds an archive entry by entry.
#[derive(Default)]
pub(crate) struct Builder {
    pub bytes: Vec<u8>,
}

/// The fields of a header that a test sets.
#[derive(Clone)]
pub(crate) struct Head<'a> {
    pub kind: u8,
    pub name: &'a [u8],
    pub link: &'a [u8],
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub size: u64,
    pub mtime: u64,
    pub device: (u64, u64),
}

impl Default for Head<'_> {
    fn default() -> Self {
        Self {
            kind: b'0',
            name: b"",
            link: b"",
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 1_000_000_000,
            device: (0, 0),
        }
    }
}

fn octal(field: &mut [u8], value: u64) {
    let text = format!("{value:0width$o}\0", width = field.len() - 1);
    field.copy_from_slice(text.as_bytes());
}

pub(crate) fn header(head: &Head<'_>) -> [u8; 512] {
    let mut block = [0u8; 512];
    block[..head.name.len()].copy_from_slice(head.name);
    octal(&mut block[100..108], u64::from(head.mode));
    octal(&mut block[108..116], head.uid);
    octal(&mut block[116..124], head.gid);
    octal(&mut block[124..136], head.size);
    octal(&mut block[136..148], head.mtime);
    block[156] = head.kind;
    block[157..157 + head.link.len()].copy_from_slice(head.link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    octal(&mut block[329..337], head.device.0);
    octal(&mut block[337..345], head.device.1);
    seal(&mut block);
    block
}

/// Sets the checksum.
pub(crate) fn seal(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

impl Builder {
    pub(crate) fn entry(&mut self, head: &Head<'_>, content: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(&header(head));
        self.content(content)
    }

    pub(crate) fn content(&mut self, content: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(content);
        let padded = self.bytes.len().div_ceil(512) * 512;
        self.bytes.resize(padded, 0);
        self
    }

    pub(crate) fn file(&mut self, name: &str, content: &[u8]) -> &mut Self {
        let head = Head { name: name.as_bytes(), size: content.len() as u64, ..Default::default() };
        self.entry(&head, content)
    }

    pub(crate) fn dir(&mut self, name: &str, mode: u32) -> &mut Self {
        self.entry(&Head { kind: b'5', name: name.as_bytes(), mode, ..Default::default() }, b"")
    }

    pub(crate) fn link(&mut self, kind: u8, name: &str, target: &str) -> &mut Self {
        let head = Head { kind, name: name.as_bytes(), link: target.as_bytes(), ..Default::default() };
        self.entry(&head, b"")
    }

    /// A PAX header for the next entry.
    pub(crate) fn pax(&mut self, records: &[(&str, &[u8])]) -> &mut Self {
        let mut content = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            content.extend_from_slice(format!("{length} {key}=").as_bytes());
            content.extend_from_slice(value);
            content.push(b'\n');
        }
        let head = Head { kind: b'x', name: b"pax", size: content.len() as u64, ..Default::default() };
        self.entry(&head, &content)
    }

    pub(crate) fn end(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }
}
