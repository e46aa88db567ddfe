//! Where the cgroups of one pod lie, by driver.

use super::CgroupPath;
use super::slice;
use crate::error::{OciError, OciResult};

/// Who owns the tree of cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Nobody: cgroups are directories that the runtime makes.
    Cgroupfs,
    /// systemd: a pod gets a scope of it, and everything below the scope is the runtime's.
    Systemd,
}

/// The supervisor's cgroup in a scope: processes live in leaves only.
const SUPERVISOR: &str = "supervisor";

/// Where the cgroups of one pod lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodCgroup {
    parent: CgroupPath,
    supervisor: String,
    scope: Option<Scope>,
}

/// A pod's unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Its name, `corten-<pod>.scope`.
    pub unit: String,
    /// The name of the slice in which it lies.
    pub slice: String,
    path: CgroupPath,
}

impl Driver {
    /// The parent of a pod that asks for none: a cgroup or a slice of its own, below the one that a setting names.
    ///
    /// # Errors
    /// [`OciError::Invalid`] naming the setting.
    pub fn own_parent(self, field: &str, default: &str, id: &str) -> OciResult<String> {
        self.check(field, default)?;
        match self {
            Self::Cgroupfs => Ok(CgroupPath::parse(field, default)?.join(id).to_string()),
            Self::Systemd => Ok(slice::below(slice::name(default), id)),
        }
    }

    /// The setting for [`Driver::own_parent`] where the operator leaves it open.
    pub fn default_parent(self) -> &'static str {
        match self {
            Self::Cgroupfs => "/corten",
            Self::Systemd => "corten.slice",
        }
    }

    /// Refuses a `cgroup_parent` of the other driver.
    ///
    /// # Errors
    /// [`OciError::Invalid`] naming `field`.
    pub fn check(self, field: &str, parent: &str) -> OciResult<()> {
        match (self, slice::is_slice(parent)) {
            (Self::Cgroupfs, true) => Err(OciError::invalid(
                field,
                format!(
                    "{parent:?} is a systemd slice, but the cgroup driver is cgroupfs: set the kubelet's cgroupDriver to \
                     cgroupfs, or runtime.cgroup_driver to systemd"
                ),
            )),
            (Self::Systemd, false) => Err(OciError::invalid(
                field,
                format!(
                    "{parent:?} is no systemd slice (NAME.slice), but the cgroup driver is systemd: set the kubelet's \
                     cgroupDriver to systemd, or runtime.cgroup_driver to cgroupfs"
                ),
            )),
            (Self::Cgroupfs, false) | (Self::Systemd, true) => self::parent(field, parent).map(drop),
        }
    }
}

impl PodCgroup {
    /// From a `cgroup_parent`, whose form tells the driver.
    ///
    /// # Errors
    /// [`OciError::Invalid`] naming `field`.
    pub fn new(field: &str, parent: &str, id: &str) -> OciResult<Self> {
        let path = self::parent(field, parent)?;
        if !slice::is_slice(parent) {
            return Ok(Self { parent: path, supervisor: id.to_owned(), scope: None });
        }
        let unit = format!("corten-{id}.scope");
        let scope = Scope { path: path.join(&unit), unit, slice: slice::name(parent).to_owned() };
        Ok(Self { parent: path, supervisor: SUPERVISOR.to_owned(), scope: Some(scope) })
    }

    /// What limits the pod as a whole; the kubelet's, or ours where it asks for none.
    pub fn parent(&self) -> &CgroupPath {
        &self.parent
    }

    /// The unit, where systemd owns the tree.
    pub fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }

    /// What holds everything that is made for the pod.
    pub fn top(&self) -> &CgroupPath {
        self.scope.as_ref().map_or(&self.parent, |scope| &scope.path)
    }

    /// The name of the supervisor's cgroup below [`PodCgroup::top`].
    pub fn supervisor(&self) -> &str {
        &self.supervisor
    }

    /// A cgroup in the pod that is called by its id; `None` where what holds the pod is.
    pub fn nameplate(&self) -> Option<CgroupPath> {
        let is_named = self.scope.is_some() || self.parent.name() == self.supervisor;
        (!is_named).then(|| self.parent.join(&self.supervisor))
    }

    /// A container's.
    #[must_use]
    pub fn container(&self, id: &str) -> CgroupPath {
        self.top().join(id)
    }
}

fn parent(field: &str, text: &str) -> OciResult<CgroupPath> {
    if slice::is_slice(text) { slice::path(field, text) } else { CgroupPath::parse(field, text) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Driver, PodCgroup};

    #[test]
    fn a_pod_lies_below_its_parent() {
        let pod = PodCgroup::new("f", "/kubepods/pod1", "ab12").unwrap();
        assert_eq!(pod.parent().to_string(), "/kubepods/pod1");
        assert_eq!(pod.top(), pod.parent());
        assert_eq!(pod.container("c").to_string(), "/kubepods/pod1/c");
        assert_eq!((pod.supervisor(), pod.scope()), ("ab12", None));
        assert_eq!(pod.nameplate().unwrap().to_string(), "/kubepods/pod1/ab12");
        let own = PodCgroup::new("f", "/corten/ab12", "ab12").unwrap();
        assert_eq!(own.nameplate(), None, "it has the name itself");
    }

    #[test]
    fn a_pod_in_a_slice_has_a_scope() {
        let pod = PodCgroup::new("f", "/kubepods.slice/kubepods-pod1.slice", "ab12").unwrap();
        assert_eq!(pod.parent().to_string(), "/kubepods.slice/kubepods-pod1.slice");
        assert_eq!(pod.top().to_string(), "/kubepods.slice/kubepods-pod1.slice/corten-ab12.scope");
        assert_eq!(pod.container("c").to_string(), "/kubepods.slice/kubepods-pod1.slice/corten-ab12.scope/c");
        assert_eq!(pod.nameplate(), None, "the scope has the name");
        let scope = pod.scope().unwrap();
        assert_eq!((scope.unit.as_str(), scope.slice.as_str()), ("corten-ab12.scope", "kubepods-pod1.slice"));
    }

    #[test]
    fn a_parent_of_the_other_driver_is_refused() {
        assert!(Driver::Cgroupfs.check("f", "/a").is_ok());
        assert!(Driver::Systemd.check("f", "a.slice").is_ok());
        for (driver, parent, words) in [
            (
                Driver::Cgroupfs,
                "a.slice",
                "is a systemd slice, but the cgroup driver is cgroupfs: set the kubelet's",
            ),
            (Driver::Cgroupfs, "a.slice", "or runtime.cgroup_driver to systemd"),
            (Driver::Systemd, "/a", "is no systemd slice"),
            (Driver::Systemd, "/a", "cgroupDriver to systemd, or runtime.cgroup_driver to cgroupfs"),
            (Driver::Systemd, "", "is no systemd slice"),
            (Driver::Systemd, "a-.slice", "is no name of a slice"),
        ] {
            let error = driver.check("f", parent).unwrap_err().to_string();
            assert!(error.starts_with("f: ") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_pod_that_asks_for_none_gets_a_parent_of_its_own() {
        let own = |driver: Driver| driver.own_parent("f", driver.default_parent(), "ab").unwrap();
        assert_eq!(own(Driver::Cgroupfs), "/corten/ab");
        assert_eq!(own(Driver::Systemd), "corten-ab.slice");
        assert_eq!(Driver::Systemd.own_parent("f", "-.slice", "ab").unwrap(), "ab.slice");
        assert!(Driver::Systemd.own_parent("f", "/corten", "ab").is_err());
    }
}
