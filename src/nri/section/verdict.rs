//! What validators say of a container that is to be created.

use crate::api::{PodSandbox, ValidateContainerAdjustmentRequest};
use crate::error::{Error, NriResult};
use crate::plugin::{Plugin, Subject};
use crate::settings::Settings;
use crate::validator;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

const BUILT_IN: &str = "default-validator";

/// What validators say, each in its own time. Nothing of a container that cannot be taken back may be before all have agreed.
#[derive(Debug, Default)]
#[must_use = "a container that is rejected is not to be"]
pub struct Verdict(JoinSet<NriResult<()>>);

impl Verdict {
    /// There is nobody who could reject it.
    pub fn agreed() -> Self {
        Self::default()
    }

    /// Whether nobody is asked.
    pub fn is_agreed(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks them, side by side.
    pub(super) fn of(
        settings: &Settings,
        judges: Vec<Arc<Plugin>>,
        request: ValidateContainerAdjustmentRequest,
    ) -> NriResult<Self> {
        validator::check(&settings.validator, &request)
            .map_err(|reason| Error::Rejected { validator: BUILT_IN.to_owned(), reason })?;
        let (request, limit) = (Arc::new(request), settings.request_timeout);
        let mut judging = JoinSet::new();
        for plugin in judges {
            let request = Arc::clone(&request);
            judging.spawn(async move { judged(&plugin, &request, limit).await });
        }
        Ok(Self(judging))
    }

    /// Waits until all have agreed.
    ///
    /// # Errors
    /// One has not.
    pub async fn wait(mut self) -> NriResult<()> {
        while let Some(judged) = self.0.join_next().await {
            // One that panicked has not agreed.
            judged.unwrap_or_else(|error| {
                let (validator, reason) = ("NRI".to_owned(), error.to_string());
                Err(Error::Rejected { validator, reason })
            })?;
        }
        Ok(())
    }
}

/// A validator that does not answer has not agreed.
async fn judged(
    plugin: &Plugin,
    request: &ValidateContainerAdjustmentRequest,
    limit: Duration,
) -> NriResult<()> {
    // One that has gone since it was asked has no say.
    if !plugin.is_ready().await {
        return Ok(());
    }
    let validator = plugin.name.clone();
    let nobody = PodSandbox::default();
    let subject =
        Subject { pod: request.pod.as_ref().unwrap_or(&nobody), container: request.container.as_ref() };
    match plugin.judge(subject, request.encode_to_vec(), limit).await {
        Ok(verdict) if !verdict.reject => Ok(()),
        Ok(verdict) => Err(Error::Rejected { validator, reason: verdict.reason }),
        Err(reason) => Err(Error::Rejected { validator, reason }),
    }
}
