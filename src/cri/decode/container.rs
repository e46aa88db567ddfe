//! `ContainerConfig`.

use super::{DecodeError, Field, image, is_set, mounts, resources, security, text};
use crate::{proto, signals};
use model::{ContainerConfig, ContainerMetadata, KeyValue};

/// A whole container configuration.
pub(crate) fn container(
    field: &Field<'_>,
    message: Option<proto::ContainerConfig>,
) -> Result<ContainerConfig, DecodeError> {
    let message = message.ok_or_else(|| field.missing())?;
    let child = |name| field.child(name);
    child("windows").refuse_if(windows_is_set(message.windows.as_ref()))?;
    let metadata = metadata(&child("metadata"), message.metadata)?;
    let image = image::image(&child("image"), message.image)?;
    for (name, words) in [("command", &message.command), ("args", &message.args)] {
        for (index, word) in words.iter().enumerate() {
            text::no_nul(&child(name).item(index), word)?;
        }
    }
    check_log_path(&child("log_path"), &message.log_path)?;
    let linux = message.linux.unwrap_or_default();
    let linux_field = child("linux");
    let signal = child("stop_signal").enumeration(message.stop_signal)?;
    Ok(ContainerConfig {
        metadata,
        image,
        command: message.command,
        args: message.args,
        working_dir: text::absolute_if_any(&child("working_dir"), message.working_dir)?,
        envs: envs(&child("envs"), message.envs)?,
        mounts: mounts::mounts(&child("mounts"), message.mounts)?,
        devices: mounts::devices(&child("devices"), message.devices)?,
        cdi_devices: mounts::cdi_devices(
            &child("CDI_devices"),
            message.cdi_devices,
            &child("annotations"),
            &message.annotations,
        )?,
        labels: message.labels,
        annotations: message.annotations,
        log_path: message.log_path,
        stdin: message.stdin,
        stdin_once: message.stdin_once,
        tty: message.tty,
        resources: resources::resources(&linux_field.child("resources"), linux.resources)?,
        security: security::container(&linux_field.child("security_context"), linux.security_context)?,
        stop_signal: signals::number(signal),
    })
}

fn metadata(
    field: &Field<'_>,
    message: Option<proto::ContainerMetadata>,
) -> Result<ContainerMetadata, DecodeError> {
    let message = message.ok_or_else(|| field.missing())?;
    text::name(&field.child("name"), &message.name)?;
    Ok(ContainerMetadata { name: message.name, attempt: message.attempt })
}

fn envs(field: &Field<'_>, messages: Vec<proto::KeyValue>) -> Result<Vec<KeyValue>, DecodeError> {
    let decode = |(index, message): (usize, proto::KeyValue)| {
        let field = field.item(index);
        let (key, value) = (field.child("key"), field.child("value"));
        text::id(&key, &message.key)?;
        text::no_nul(&key, &message.key)?;
        if message.key.contains('=') {
            return Err(key.invalid("contains `=`"));
        }
        let text = String::from_utf8(message.value).map_err(|_| value.invalid("is not UTF-8"))?;
        text::no_nul(&value, &text)?;
        Ok(KeyValue { key: message.key, value: text })
    };
    messages.into_iter().enumerate().map(decode).collect()
}

/// The file lies below the sandbox's log directory, and nowhere else.
fn check_log_path(field: &Field<'_>, path: &str) -> Result<(), DecodeError> {
    if path.starts_with('/') {
        return Err(field.invalid("must be relative to the sandbox's log_directory"));
    }
    text::inside(field, path)
}

fn windows_is_set(message: Option<&proto::WindowsContainerConfig>) -> bool {
    message.is_some_and(|message| {
        is_set(message.resources.as_ref()) || is_set(message.security_context.as_ref())
    })
}
