//! The environment of a container.

use super::inputs::ContainerInputs;
use crate::error::{OciError, OciResult};
use std::collections::HashMap;

/// As most distributions' login gives it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The image's environment, then what a process may expect, then the request's, each name once: PATH, TERM (on a
/// terminal), HOSTNAME and HOME are set unless the image does it, and the request replaces all of them. A HOME that is
/// empty then is the user's.
pub(super) fn environment(inputs: &ContainerInputs<'_>) -> OciResult<Vec<String>> {
    let mut env = Environment::default();
    for entry in &inputs.image.env {
        // An entry without a value, or without a name, sets nothing.
        if let Some((name, value)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) {
            refuse_nul("image config Env", entry)?;
            env.set(name, value);
        }
    }
    env.set_default("PATH", PATH);
    if inputs.container.tty {
        env.set_default("TERM", "xterm");
    }
    if !inputs.hostname.is_empty() {
        env.set("HOSTNAME", inputs.hostname);
    }
    for (index, pair) in inputs.container.envs.iter().enumerate() {
        let field = || format!("envs[{index}].key");
        if pair.key.is_empty() || pair.key.contains('=') {
            return Err(OciError::invalid(field(), format!("{:?} is not a variable's name", pair.key)));
        }
        refuse_nul("envs", &pair.key)?;
        refuse_nul("envs", &pair.value)?;
        env.set(&pair.key, &pair.value);
    }
    let home = inputs.user.home.as_deref().unwrap_or("/");
    if env.get("HOME").is_none_or(|entry| entry == "HOME=") {
        // An empty one is none, as with runc.
        env.set("HOME", home);
    }
    Ok(env.entries)
}

pub(super) fn refuse_nul(field: &str, text: &str) -> OciResult<()> {
    if text.contains('\0') { Err(OciError::invalid(field, "contains a NUL byte")) } else { Ok(()) }
}

/// Entries in their order, and where each name has its own: a request may have tens of thousands.
#[derive(Default)]
struct Environment {
    entries: Vec<String>,
    places: HashMap<String, usize>,
}

impl Environment {
    fn get(&self, name: &str) -> Option<&String> {
        self.entries.get(*self.places.get(name)?)
    }

    fn set(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        match self.places.get(name).and_then(|place| self.entries.get_mut(*place)) {
            Some(known) => *known = entry,
            None => {
                self.places.insert(name.to_owned(), self.entries.len());
                self.entries.push(entry);
            }
        }
    }

    fn set_default(&mut self, name: &str, value: &str) {
        if self.get(name).is_none() {
            self.set(name, value);
        }
    }
}
