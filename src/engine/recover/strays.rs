//! Pods of which nothing is known but that their supervisors live: somebody has deleted what was written of them before
//! it was durable. They are taken down as half-made ones are: without a record nobody can ask for it.

use super::load::{Loaded, is_damaged};
use crate::Recovery;
use crate::error::EngineError;
use crate::pod::run::netns_name;
use crate::record::{self, PodFiles, PodRecord};
use crate::supervisor::Stray;
use model::{SandboxConfig, SandboxId, SandboxMetadata};
use std::path::Path;
use std::sync::Arc;

impl Recovery {
    /// Gives those pods records as of half-made ones.
    pub(super) fn load_strays(&self, loaded: &mut Loaded) -> Result<(), EngineError> {
        for stray in self.pods.launcher.strays(&self.core.paths.pods()) {
            let files = PodFiles::new(&self.core.paths, &stray.pod);
            let is_no_directory = std::fs::symlink_metadata(files.dir()).is_ok_and(|found| !found.is_dir());
            // One whose record was left aside is somebody's.
            if self.core.registry.pod(&stray.pod).is_ok() || is_damaged(&files.pod()) || is_no_directory {
                continue;
            }
            tracing::error!(
                pod_id = stray.pod,
                "a supervisor lives, and there is no record of its pod: it is taken down"
            );
            let record = self.record_of(&stray)?;
            for dir in [files.containers(), files.exits()] {
                std::fs::create_dir_all(&dir).map_err(EngineError::io("make the directory", &dir))?;
            }
            record::save(&files.pod(), &record.id, &record)?;
            self.load_pod(record, &Default::default(), loaded);
        }
        Ok(())
    }

    fn record_of(&self, stray: &Stray) -> Result<PodRecord, EngineError> {
        let id = SandboxId::new(stray.pod.as_str());
        let metadata = SandboxMetadata { name: stray.pod.clone(), ..SandboxMetadata::default() };
        let config = SandboxConfig { metadata, ..SandboxConfig::default() };
        let parent = match parent(&stray.cgroups, &stray.pod) {
            Some(parent) => parent.to_owned(),
            None => self.core.tree.parent(&id, "")?,
        };
        let mut record = PodRecord::new(&id, Arc::new(config), String::new(), parent);
        let pin = self.core.live().settings.netns_dir.join(netns_name(&id));
        record.netns = Some(pin).filter(|pin| pin.exists());
        record.cgroups = self.core.tree.dirs_called(&record)?;
        Ok(record)
    }
}

/// A pod's `cgroup_parent`, by where its supervisor is.
fn parent<'a>(cgroups: &'a str, pod: &str) -> Option<&'a str> {
    let lines = cgroups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let scope = format!("/corten-{pod}.scope");
    if let Some((above, _)) = lines.clone().find_map(|(_, path)| path.split_once(&scope)) {
        return above.rsplit('/').next().filter(|slice| !slice.is_empty());
    }
    // In hierarchies with controllers it is where the containers' cgroups are, in the others in one of its own.
    let of_controllers =
        |(names, path): &(&str, &str)| !names.is_empty() && !names.starts_with("name=") && *path != "/";
    if let Some((_, path)) = lines.clone().find(of_controllers) {
        return Some(path);
    }
    let own = lines.clone().find(|(names, _)| names.is_empty()).map(|(_, path)| Path::new(path))?;
    let above = own.parent()?.to_str().filter(|above| *above != "/")?;
    Some(above)
}

#[cfg(test)]
mod tests {
    use super::parent;

    #[test]
    fn the_parent_of_a_pod_is_where_its_supervisor_is_or_above() {
        let hybrid =
            "9:name=systemd:/\n8:pids:/kubepods/podx\n7:cpu,cpuacct:/kubepods/podx\n0::/kubepods/podx/abc\n";
        assert_eq!(parent(hybrid, "abc"), Some("/kubepods/podx"));
        assert_eq!(parent("0::/corten/abc/abc\n", "abc"), Some("/corten/abc"));
        let slice = "0::/kubepods.slice/kubepods-podx.slice/corten-abc.scope/supervisor\n";
        assert_eq!(parent(slice, "abc"), Some("kubepods-podx.slice"));
        for none in ["", "0::/\n", "0::/init\n", "nonsense", "4:pids:/\n"] {
            assert_eq!(parent(none, "abc"), None, "{none:?}");
        }
    }
}
