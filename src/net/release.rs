//! DEL: what a pod holds of its network is freed, now or later, and no pod has to stay for that.

use crate::chain::Removal;
use crate::left::Problem;
use crate::network::Network;
use crate::{Attachment, IFNAME, NetError, PodNetwork, Result};
use cni::types::{NetnsRef, ValidAttachment};

/// So often a client hears that a pod's DEL has failed while its namespace is there, which some plugins want to see.
const ATTEMPTS: u32 = 3;

impl Network {
    /// Detaches a pod by the configuration with which it was attached: the attachment's, else the recorded
    /// one, else the one in force; a plugin that fails is asked by the latter, too. The caller removes the network
    /// namespace afterwards, and with it the interfaces. Succeeds when nothing is attached; can be repeated.
    ///
    /// It also succeeds when plugins fail where another attempt would not help the pod: its namespace is gone, its
    /// ADD never succeeded, the configuration or the plugin's binary has to change first, or it is the third attempt.
    /// What may be left is recorded then, and deleted later.
    ///
    /// # Errors
    /// What a plugin said of a recorded attachment; the other plugins have deleted their part, and detach must be
    /// called again.
    pub async fn detach(&self, pod: &PodNetwork, attachment: Option<&Attachment>) -> Result<()> {
        self.kept.leaves(&pod.sandbox_id);
        let recorded = match attachment {
            Some(attachment) => Some(attachment.clone()),
            None => self.journal.read(&pod.sandbox_id, IFNAME),
        };
        let Some(recorded) = recorded else {
            self.detach_unrecorded(pod).await;
            return Ok(());
        };
        let netns = self.existing(&pod.netns);
        let is_there = netns.is_some();
        let Err(error) = self.delete(&recorded, netns, false).await else {
            self.left.forget_failures(&recorded.container_id);
            self.journal.remove(&recorded.container_id, &recorded.ifname)?;
            return Ok(failpoint::reach!("net.del.forgotten")?);
        };
        let may_help = is_there && recorded.is_attached() && !error.is_final();
        if may_help && self.left.count_failure(&recorded.container_id) < ATTEMPTS {
            return Err(error);
        }
        self.left.forget_failures(&recorded.container_id);
        let (id, pod, network) = (&recorded.container_id, recorded.pod(), &recorded.config.name);
        tracing::warn!(
            %error, id, pod, network,
            "not all of a pod's network is released: it is tried again without the pod"
        );
        self.leave(&recorded, &error);
        Ok(())
    }

    fn leave(&self, attachment: &Attachment, why: &NetError) {
        match self.journal.leave(attachment) {
            Ok(left) => self.left.more(Problem::new(&left, why), self.settings().status_interval()),
            Err(error) => {
                let (id, pod) = (&attachment.container_id, attachment.pod());
                tracing::warn!(%error, id, pod, "cannot record what a pod has left of its network");
            }
        }
    }

    async fn delete(&self, attachment: &Attachment, netns: Option<NetnsRef>, again: bool) -> Result<()> {
        let in_force = self.loaded();
        let removal = Removal { netns, in_force: in_force.as_deref(), again, ..Removal::of(attachment) };
        self.caller.del(&removal).await
    }

    /// Every ADD is recorded before it begins: without a record there should be nothing to delete, so a failure to
    /// do so keeps nobody from removing the pod.
    async fn detach_unrecorded(&self, pod: &PodNetwork) {
        let Ok(planned) = self.plan(pod) else { return };
        let removal = Removal { netns: self.existing(&pod.netns), ..Removal::of(&planned) };
        if let Err(error) = self.caller.del(&removal).await {
            let (id, pod) = (&pod.sandbox_id, planned.pod());
            tracing::warn!(%error, id, pod, "cni DEL of a pod that no ADD is recorded of");
        }
    }

    /// Tries again to delete what pods have left, when it is time.
    pub(crate) async fn retry_left(&self) {
        if self.left.is_due() {
            self.delete_left().await;
        }
    }

    async fn delete_left(&self) {
        let left = match self.journal.left() {
            Ok(left) => left,
            Err(error) => {
                tracing::warn!(%error, "cannot find out what pods have left of their networks");
                return;
            }
        };
        let (mut files, mut problems) = (Vec::new(), Vec::new());
        for left in left {
            files.push(left.path.clone());
            let attachment = &left.attachment;
            let deleted = match self.delete(attachment, self.existing(&attachment.netns), true).await {
                Ok(()) => self.journal.remove(&attachment.container_id, &attachment.ifname),
                Err(error) => Err(error),
            };
            match deleted {
                Ok(()) => {
                    let (id, pod) = (&attachment.container_id, attachment.pod());
                    tracing::info!(id, pod, "the network of a removed pod is released after all");
                }
                Err(error) => problems.push(Problem::new(&left, &error)),
            }
        }
        self.left.tried(&files, problems);
    }

    /// Removes what belongs to no pod: recorded attachments that are not among the valid ones (pairs of
    /// sandbox id and interface) and those that pods have left are deleted, and the plugins in force are told the valid
    /// ones (GC). To be called while no pod is being attached.
    ///
    /// # Errors
    /// The first failure, after everything else has been tried.
    pub async fn gc(&self, valid: &[(String, String)]) -> Result<()> {
        let keep = |id: &str, ifname: &str| valid.iter().any(|(known, name)| known == id && name == ifname);
        let mut first = Ok(());
        for stale in self.journal.all()? {
            if keep(&stale.container_id, &stale.ifname) {
                continue;
            }
            tracing::info!(
                id = stale.container_id,
                pod = stale.pod(),
                "deleting a network attachment without a pod"
            );
            let deleted = match self.delete(&stale, self.existing(&stale.netns), false).await {
                Ok(()) => self.journal.remove(&stale.container_id, &stale.ifname),
                Err(error) => {
                    self.leave(&stale, &error);
                    Err(error)
                }
            };
            first = first.and(deleted);
        }
        self.delete_left().await;
        let attachments: Vec<ValidAttachment> = valid
            .iter()
            .map(|(id, ifname)| ValidAttachment { container_id: id.clone(), ifname: ifname.clone() })
            .collect();
        let Some(loaded) = self.loaded() else { return first };
        if let Err(error) = self.caller.own_status(&loaded).await {
            // The bridge may be another daemon's, whose pods would seem to be nobody's.
            tracing::warn!(%error, "nothing that seems to belong to no pod is freed of a network that cannot serve");
            return first;
        }
        first.and(self.caller.gc(&loaded, &attachments).await)
    }
}
