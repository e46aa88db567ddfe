//! PortForward: connections to the ports of a pod.

use crate::Pods;
use crate::error::EngineError;
use model::{SandboxId, SandboxState};
use tokio::net::TcpStream;

impl Pods {
    /// The whole id of a ready pod, for verbs that come later.
    ///
    /// # Errors
    /// When there is none, or it is not ready.
    pub fn ready_pod(&self, id: &str, operation: &'static str) -> Result<SandboxId, EngineError> {
        let pod = self.core.registry.pod(id)?;
        match pod.state() {
            SandboxState::Ready => Ok(pod.id.clone()),
            SandboxState::Creating => Err(EngineError::NoSuchPod(id.to_owned())),
            SandboxState::NotReady => Err(EngineError::WrongState {
                operation,
                id: format!("pod sandbox {}", pod.id),
                state: "not ready".to_owned(),
            }),
        }
    }

    /// Returns when a pod is not ready any more, or is removed.
    pub async fn pod_left(&self, id: &str) {
        // One that is not there has left.
        if let Ok(pod) = self.core.registry.pod(id) {
            pod.left().await;
        }
    }

    /// Connects to a port of a ready pod from within its network namespace: to 127.0.0.1, else to ::1.
    ///
    /// # Errors
    /// When nobody listens at either.
    pub async fn dial(&self, id: &str, port: u16) -> Result<TcpStream, EngineError> {
        let id = self.ready_pod(id, "forward a port of")?;
        let pod = self.core.registry.pod(&id)?;
        let supervisor = pod.live_supervisor("forward a port of", &id)?;
        supervisor.dial(pod.netns(), port).await
    }
}
