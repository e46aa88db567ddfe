//! What plugins have to do with a pod that somebody asks about.

use super::view;
use crate::Engine;
use crate::in_memory::Pod;
use model::SandboxState;

impl Engine {
    /// What a request waits for that is at plugins: those that are asked something, and those that have not come yet.
    pub(crate) fn asked_and_awaited(&self) -> Vec<String> {
        let asked = self.plugins().into_iter().filter_map(|plugin| Some((plugin.name, plugin.pending?)));
        let asked = asked.map(|(name, (request, age))| {
            format!(
                "NRI plugin {name} is asked {request}, and has not answered for {:.3} s",
                age.as_secs_f64()
            )
        });
        let awaited = self.core.nri.awaited().into_iter();
        asked
            .chain(awaited.map(|name| format!("NRI plugin {name} is starting, and has not registered yet")))
            .collect()
    }

    /// Why no container of a pod can be created for want of plugins, and which of those that are installed are not there.
    pub(crate) fn absent_plugins(&self, pod: &Pod) -> Vec<String> {
        let is_ready = pod.state() == SandboxState::Ready;
        let lack = is_ready.then(|| self.core.nri.lack_of(view::pod(pod))).flatten();
        let lack = lack.map(|reason| format!("no container of it is created: {reason}"));
        let installed = self.plugins().into_iter().filter(|plugin| plugin.origin != nri::Origin::External);
        let absent = installed.filter_map(|plugin| {
            let is = if plugin.origin == nri::Origin::Unfit { "started" } else { "connected" };
            Some(format!("NRI plugin {} is not {is}: {}", plugin.name, plugin.absence?.why))
        });
        lack.into_iter().chain(absent).collect()
    }
}
