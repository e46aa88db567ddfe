//! A directory that looks as a kernel's resctrl filesystem does.

use super::{Classes, Kind, OciResult, RdtReport, Resctrl, resctrl};
use std::path::{Path, PathBuf};

/// Third level of 20 bits and 4 caches, and bandwidth in percent.
pub(super) const FULL: &[(&str, &str)] = &[
    ("info/L3/cbm_mask", "fffff\n"),
    ("info/L3/min_cbm_bits", "1\n"),
    ("info/L3/num_closids", "16\n"),
    ("info/MB/min_bandwidth", "10\n"),
    ("info/MB/num_closids", "8\n"),
    ("schemata", "    MB:0=  100;1=  100\n    L3:0=fffff;1=fffff;2=fffff;3=fffff\n"),
];

/// The third level for code and data apart, at least two bits each.
pub(super) const SPLIT: &[(&str, &str)] = &[
    ("info/L3CODE/cbm_mask", "fffff"),
    ("info/L3CODE/min_cbm_bits", "2"),
    ("info/L3CODE/num_closids", "8"),
    ("info/L3DATA/cbm_mask", "fffff"),
    ("info/L3DATA/min_cbm_bits", "2"),
    ("info/L3DATA/num_closids", "8"),
    ("schemata", "L3DATA:0=fffff;1=fffff\nL3CODE:0=fffff;1=fffff\n"),
];

/// The second level alone, with room for three groups beside the root.
pub(super) const SECOND: &[(&str, &str)] = &[
    ("info/L2/cbm_mask", "ff"),
    ("info/L2/min_cbm_bits", "1"),
    ("info/L2/num_closids", "4"),
    ("schemata", "L2:0=ff;1=ff\n"),
];

/// Bandwidth alone, of two caches.
pub(super) const BANDWIDTH: &[(&str, &str)] =
    &[("info/MB/min_bandwidth", "10"), ("info/MB/num_closids", "8"), ("schemata", "MB:0=100;1=100\n")];

pub(super) struct Node {
    pub(super) dir: tempfile::TempDir,
}

impl Node {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let node = Self { dir: tempfile::tempdir().unwrap() };
        for (path, text) in files {
            node.write(path, text);
        }
        node
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("resctrl")
    }

    pub(super) fn resctrl(&self) -> Resctrl {
        resctrl(&self.root())
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(super) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path)).unwrap()
    }

    pub(super) fn file(&self) -> PathBuf {
        self.dir.path().join("rdt.yaml")
    }

    pub(super) fn record(&self) -> PathBuf {
        self.dir.path().join("rdt-groups.json")
    }

    pub(super) fn say(&self, text: &str) {
        std::fs::write(self.file(), text).unwrap();
    }

    /// The mount has this option, as in /proc/self/mounts.
    pub(super) fn mounted_with(&self, options: &str) {
        let root = self.root();
        let line = format!("resctrl {} resctrl rw,relatime,{options} 0 0\n", root.display());
        std::fs::write(root.with_extension("mounts"), line).unwrap();
    }

    pub(super) fn classes(&self) -> OciResult<Classes> {
        let classes = Classes::new(None, &self.resctrl()).with_rdt(&self.file(), &self.record());
        classes.check_file(Kind::Rdt).map(|()| classes)
    }

    /// What is made of a file.
    pub(super) fn made(&self, text: &str) -> OciResult<RdtReport> {
        self.say(text);
        self.classes()?.make_groups().map(Option::unwrap_or_default)
    }

    /// Why a file is refused, without its name.
    pub(super) fn refused(&self, text: &str) -> String {
        self.say(text);
        let error = self.classes().unwrap_err().to_string();
        let begin = format!("{}: ", self.file().display());
        error.strip_prefix(&begin).unwrap_or_else(|| panic!("{error} names no file")).to_owned()
    }

    /// What the kernel has in every group.
    pub(super) fn fill(&self, group: &str, tasks: &str) {
        self.write(&format!("{group}/tasks"), tasks);
    }

    /// The kernel removes a directory with what is in it.
    pub(super) fn empty(&self, group: &str) {
        let group = self.root().join(group);
        for file in std::fs::read_dir(&group).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
    }

    pub(super) fn has(&self, group: &str) -> bool {
        Path::new(&self.root()).join(group).exists()
    }
}
