//! Naming an image, and credentials for its registry.

use super::{DecodeError, Field, text};
use crate::proto;
use model::ImageSpec;

/// The longest reference: a host and path of 255 bytes with a tag of 128 and a sha512 digest fit well.
const REFERENCE_MAX: usize = 1024;

/// An image that must be named. Annotations are informational.
pub(crate) fn image(field: &Field<'_>, message: Option<proto::ImageSpec>) -> Result<ImageSpec, DecodeError> {
    let message = message.ok_or_else(|| field.missing())?;
    let name = field.child("image");
    text::id(&name, &message.image)?;
    text::word(&name, &message.image)?;
    if message.image.len() > REFERENCE_MAX {
        return Err(name.invalid(format!("is longer than {REFERENCE_MAX} bytes")));
    }
    field.child("image_ref").refuse_if(!message.image_ref.is_empty())?;
    // Whether it is configured is the engine's to know.
    text::printable(&field.child("runtime_handler"), &message.runtime_handler)?;
    Ok(ImageSpec {
        image: message.image,
        user_specified_image: message.user_specified_image,
        runtime_handler: message.runtime_handler,
        annotations: message.annotations,
    })
}

/// The image that a filter names, if any.
pub(crate) fn filter(message: Option<proto::ImageFilter>) -> Result<Option<ImageSpec>, DecodeError> {
    let root = Field::root("filter");
    match message.and_then(|filter| filter.image) {
        Some(spec) if spec != proto::ImageSpec::default() => {
            Ok(Some(image(&root.child("image"), Some(spec))?))
        }
        _ => Ok(None),
    }
}

/// Credentials for the registry, if any.
pub(crate) fn credentials(
    field: &Field<'_>,
    message: Option<proto::AuthConfig>,
) -> Result<Option<::image::Credentials>, DecodeError> {
    let Some(auth) = message.filter(|auth| *auth != proto::AuthConfig::default()) else { return Ok(None) };
    // Tokens travel in headers, which have one line.
    for (name, token) in [
        ("auth", &auth.auth),
        ("server_address", &auth.server_address),
        ("identity_token", &auth.identity_token),
        ("registry_token", &auth.registry_token),
    ] {
        text::printable(&field.child(name), token)?;
    }
    Ok(Some(::image::Credentials {
        username: auth.username,
        password: auth.password,
        auth: auth.auth,
        server_address: auth.server_address,
        identity_token: auth.identity_token,
        registry_token: auth.registry_token,
    }))
}
