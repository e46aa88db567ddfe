//! SELinux labels. As with containerd, what a request says about them is void on a host without SELinux.

use crate::error::{OciError, OciResult};
use model::{Mount, Selinux};
use std::path::Path;

/// selinuxfs, mounted wherever the kernel enforces or watches by SELinux.
const ENFORCE: &str = "/sys/fs/selinux/enforce";

/// Refuses a label where it would mean something: this runtime labels neither processes nor files.
///
/// # Errors
/// [`OciError::Invalid`] naming the field, on a host with SELinux.
pub fn check(request: Option<&Selinux>) -> OciResult<()> {
    decide(request, Path::new(ENFORCE).exists())
}

/// As [`check`], for the mounts whose files are to be relabelled.
///
/// # Errors
/// [`OciError::Invalid`] naming the field, on a host with SELinux.
pub fn check_mounts(mounts: &[Mount]) -> OciResult<()> {
    match mounts.iter().position(|mount| mount.selinux_relabel) {
        Some(index) => decide_mount(index, Path::new(ENFORCE).exists()),
        None => Ok(()),
    }
}

fn decide_mount(index: usize, is_enabled: bool) -> OciResult<()> {
    if is_enabled {
        let field = format!("mounts[{index}].selinux_relabel");
        return Err(OciError::invalid(field, "files cannot be relabelled on this host, which has SELinux"));
    }
    Ok(())
}

fn decide(request: Option<&Selinux>, is_enabled: bool) -> OciResult<()> {
    if request.is_some() && is_enabled {
        let field = "linux.security_context.selinux_options";
        return Err(OciError::invalid(field, "labels cannot be applied on this host, which has SELinux"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_label_is_void_without_selinux_and_refused_with_it() {
        let label = Selinux { kind: "container_t".to_owned(), ..Selinux::default() };
        assert!(decide(Some(&label), false).is_ok());
        assert!(decide(None, true).is_ok());
        assert!(decide(Some(&label), true).is_err());
        assert!(decide_mount(2, false).is_ok());
        assert!(decide_mount(2, true).unwrap_err().to_string().contains("mounts[2].selinux_relabel"));
    }
}
