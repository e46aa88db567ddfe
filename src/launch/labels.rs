//! What the kernel's security modules make of the program: AppArmor profile and SELinux label, asked for on procfs.
//!
//! The files are opened while the host's procfs is in sight: a container's own could be anything (CVE-2019-16884).

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};

use sys::SysError;
use sys::fd::errno;
use wire::plan::ProcessPlan;

use crate::{Failure, host};

/// A file of the calling process, what is to be written to it, and as what that is reported.
struct Attribute {
    file: File,
    label: Vec<u8>,
    op: &'static str,
}

/// Open files of the calling process, and what is to be written to each.
#[derive(Default)]
pub(super) struct Labels {
    files: Vec<Attribute>,
    /// For keys that are made, and not only after exec.
    keys: Option<Attribute>,
}

impl Labels {
    /// Opens what the plan needs; nothing when it asks for no label. Only the process that opens them can use them.
    pub(super) fn open(plan: &ProcessPlan) -> Result<Self, Failure> {
        let mut labels = Self::default();
        if !plan.apparmor.is_empty() {
            let file = match host::open_proc(b"thread-self/attr/apparmor/exec", "open AppArmor attribute") {
                // Before Linux 5.8 AppArmor has no directory of its own.
                Err(error) if error.errno == errno::ENOENT => {
                    host::open_proc(b"thread-self/attr/exec", "open AppArmor attribute")?
                }
                other => other?,
            };
            let request = [b"exec ", plan.apparmor.as_slice()].concat();
            labels.files.push(Attribute { file: file.into(), label: request, op: "apply AppArmor profile" });
        }
        if !plan.selinux.is_empty() {
            let attribute = |path: &[u8]| -> Result<Attribute, Failure> {
                let file = host::open_proc(path, "open SELinux attribute")?.into();
                Ok(Attribute { file, label: plan.selinux.clone(), op: "apply SELinux label" })
            };
            labels.keys = Some(attribute(b"thread-self/attr/keycreate")?);
            labels.files.push(attribute(b"thread-self/attr/exec")?);
        }
        Ok(labels)
    }

    /// The descriptors, which must stay open until [`Labels::apply`].
    pub(super) fn kept(&self) -> impl Iterator<Item = RawFd> {
        self.files.iter().map(|attribute| attribute.file.as_raw_fd())
    }

    /// Gives the keys that this process makes their label.
    pub(super) fn apply_to_keys(&self) -> Result<(), Failure> {
        self.keys.as_ref().map_or(Ok(()), write)
    }

    /// Lets the next exec take the labels on.
    pub(super) fn apply(&self) -> Result<(), Failure> {
        self.files.iter().try_for_each(write)
    }
}

fn write(Attribute { file, label, op }: &Attribute) -> Result<(), Failure> {
    let mut file = file;
    file.write_all(label).map_err(|error| {
        let label = String::from_utf8_lossy(label);
        SysError::new(op, label.as_ref(), error.raw_os_error().unwrap_or(errno::EIO)).into()
    })
}
