//! Who somebody is.

use super::{JoinError, PLUGINS};
use crate::api::{Empty, RegisterPluginRequest};
use crate::link::{Incoming, Link};
use crate::runtime::Core;
use crate::ttrpc::{Status, code};
use prost::Message;
use std::time::Duration;
use tokio::sync::mpsc;

/// For so long is the one of the same name before it awaited, which may be going at this moment.
const CHANGE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);

/// Index and name of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) index: String,
    pub(crate) base: String,
}

impl Name {
    /// `None`: it is none.
    pub(crate) fn new(index: &str, base: &str) -> Option<Self> {
        let is_index = index.len() == 2 && index.bytes().all(|byte| byte.is_ascii_digit());
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
        // As long as a file can be called.
        let is_base = (1..=250).contains(&base.len()) && base.bytes().all(is_part);
        (is_index && is_base).then(|| Self { index: index.to_owned(), base: base.to_owned() })
    }

    /// Of a file.
    pub(crate) fn parse(file: &str) -> Option<Self> {
        let (index, base) = file.split_once('-')?;
        Self::new(index, base)
    }

    /// As in `10-name`.
    pub(crate) fn full(&self) -> String {
        format!("{}-{}", self.index, self.base)
    }
}

/// Waits until somebody has said who he is. One that was started here is who it was started as, whatever it says. An error
/// comes with the name as far as that is known.
pub(super) async fn wait(
    core: &Core,
    link: &Link,
    incoming: &mut mpsc::Receiver<Incoming>,
    installed: Option<Name>,
) -> Result<Name, (Option<Name>, JoinError)> {
    let Some(Incoming { stream, request, .. }) = incoming.recv().await else {
        return Err((installed, JoinError::Unregistered(link.ended().await)));
    };
    if request.method != "RegisterPlugin" {
        refuse(link, stream, code::FAILED_PRECONDITION, "the plugin is not registered").await;
        let first = format!("it asks for {:?} first", request.method);
        return Err((installed, JoinError::Unregistered(first)));
    }
    let asked = match RegisterPluginRequest::decode(request.payload.as_slice()) {
        Ok(asked) => asked,
        Err(error) => {
            refuse(link, stream, code::INVALID_ARGUMENT, "no request").await;
            return Err((installed, JoinError::Unregistered(error.to_string())));
        }
    };
    let name = installed.or_else(|| Name::new(&asked.plugin_idx, &asked.plugin_name));
    match admit(core, name.as_ref(), &asked).await {
        Ok(name) => {
            link.answer(stream, Ok(Empty {}.encode_to_vec())).await;
            Ok(name)
        }
        Err(error) => {
            let code = if matches!(error, JoinError::Name(_)) {
                code::INVALID_ARGUMENT
            } else {
                code::ALREADY_EXISTS
            };
            refuse(link, stream, code, &error.to_string()).await;
            Err((name, error))
        }
    }
}

async fn admit(core: &Core, name: Option<&Name>, asked: &RegisterPluginRequest) -> Result<Name, JoinError> {
    let name = name.ok_or_else(|| {
        let said = format!("{}-{}", asked.plugin_idx, asked.plugin_name);
        JoinError::Name(said.chars().take(300).collect())
    })?;
    let full = name.full();
    if let Some(pause) = core.counters.of(&full).pause() {
        return Err(JoinError::Impatient(pause));
    }
    let is_there = || core.roster.current().plugins.iter().any(|plugin| plugin.name == full);
    let mut waited = Duration::ZERO;
    while is_there() {
        if waited >= CHANGE {
            return Err(JoinError::Duplicate(full));
        }
        tokio::time::sleep(LOOK).await;
        waited += LOOK;
    }
    if core.roster.current().plugins.len() >= PLUGINS { Err(JoinError::Full) } else { Ok(name.clone()) }
}

/// What is said is on its way before the connection ends.
async fn refuse(link: &Link, stream: u32, code: i32, message: &str) {
    link.answer(stream, Err(Status { code, message: message.to_owned() })).await;
    tokio::time::sleep(LOOK).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_two_digits_and_a_word() {
        for good in ["00-a", "99-Nri_Plugin.v1+b", "10-with-dashes"] {
            assert_eq!(Name::parse(good).map(|name| name.full()), Some(good.to_owned()));
        }
        let long = format!("10-{}", "x".repeat(251));
        for bad in
            ["", "10", "10-", "1-a", "100-a", "ab-a", "-1-a", "10-a/b", "10-ä", "10-a b", "10-a\n", &long]
        {
            assert_eq!(Name::parse(bad), None, "{bad:?}");
        }
    }
}
