//! Images and their filesystem.

use crate::proto;
use image::Image;
use model::FsUsage;
use std::collections::BTreeMap;

/// An image, in a list or alone.
pub(crate) fn image(image: &Image) -> proto::Image {
    let (uid, username) = user(&image.config.user);
    proto::Image {
        id: image.id.clone(),
        repo_tags: image.repo_tags.clone(),
        repo_digests: image.repo_digests.clone(),
        // The kubelet takes 0 for an error, and an image of no layers has its configuration still.
        size: image.size.max(1),
        uid,
        username,
        spec: Some(proto::ImageSpec { image: image.id.clone(), ..proto::ImageSpec::default() }),
        pinned: image.pinned,
    }
}

/// Verbose details: the image's own configuration, under the keys that crictl's users know.
pub(crate) fn info(image: &Image) -> BTreeMap<String, String> {
    let spec: serde_json::Value = serde_json::from_str(&image.config_json).unwrap_or_default();
    let info = serde_json::json!({ "imageSpec": spec });
    BTreeMap::from([("info".to_owned(), info.to_string())])
}

/// The user of an image's configuration, `user[:group]`: a number or a name, never both.
fn user(text: &str) -> (Option<proto::Int64Value>, String) {
    let user = text.split_once(':').map_or(text, |(user, _)| user);
    match user.parse::<u32>() {
        Ok(uid) => (Some(proto::Int64Value { value: uid.into() }), String::new()),
        Err(_) => (None, user.to_owned()),
    }
}

/// What a filesystem holds, with the time when it was counted.
pub(crate) fn filesystem(usage: &FsUsage) -> proto::FilesystemUsage {
    proto::FilesystemUsage {
        timestamp: usage.timestamp,
        fs_id: Some(proto::FilesystemIdentifier { mountpoint: usage.mountpoint.display().to_string() }),
        used_bytes: Some(proto::UInt64Value { value: usage.bytes }),
        inodes_used: Some(proto::UInt64Value { value: usage.inodes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_number_or_a_name() {
        let uid = |value| Some(proto::Int64Value { value });
        let table = [
            ("", None, ""),
            ("0", uid(0), ""),
            ("1000:100", uid(1000), ""),
            ("nobody", None, "nobody"),
            ("nobody:nogroup", None, "nobody"),
        ];
        for (text, id, name) in table {
            assert_eq!(user(text), (id, name.to_owned()), "{text:?}");
        }
    }
}
