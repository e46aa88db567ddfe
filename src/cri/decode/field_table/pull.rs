use super::*;
use crate::decode::{Field, image, sandbox};
use crate::proto::PullImageRequest;

const TABLE: [Row; 12] = [
    ("image.image", Honoured, "", "image { image: 'other' }"),
    ("image.annotations", Stored, "", "image { annotations { key: 'a' value: 'b' } }"),
    ("image.user_specified_image", Stored, "", "image { user_specified_image: 'busybox' }"),
    ("image.runtime_handler", Stored, "", "image { runtime_handler: 'native' }"),
    ("image.image_ref", Refused, "", "image { image_ref: 'sha256:0' }"),
    ("auth.username", Honoured, "", "auth { username: 'u' }"),
    ("auth.password", Honoured, "auth { username: 'u' }", "auth { password: 'p' }"),
    ("auth.auth", Honoured, "", "auth { auth: 'dTpw' }"),
    ("auth.server_address", Honoured, "auth { username: 'u' }", "auth { server_address: 'r.example' }"),
    ("auth.identity_token", Honoured, "", "auth { identity_token: 't' }"),
    ("auth.registry_token", Honoured, "", "auth { registry_token: 't' }"),
    // A table of its own has its fields; they are checked here as there, and an image is the same for every pod.
    ("sandbox_config", Checked, "", "sandbox_config { metadata { name: 'n' uid: 'u' namespace: 'd' } }"),
];

#[test]
fn every_field_of_a_pull() {
    check("PullImageRequest", "image { image: 'busybox' }", "runtime.v1.PodSandboxConfig", &TABLE, decode);
}

fn decode(request: PullImageRequest) -> Result<(model::ImageSpec, Vec<String>), DecodeError> {
    let spec = image::image(&Field::root("image"), request.image)?;
    let auth =
        image::credentials(&Field::root("auth"), request.auth)?.map(|auth| {
            let ::image::Credentials {
                username,
                password,
                auth,
                server_address,
                identity_token,
                registry_token,
            } = auth;
            vec![username, password, auth, server_address, identity_token, registry_token]
        });
    sandbox::optional(&Field::root("sandbox_config"), request.sandbox_config)?;
    Ok((spec, auth.unwrap_or_default()))
}

#[test]
fn a_sandbox_configuration_is_held_to_the_same_rules() {
    let windows = crate::proto::WindowsPodSandboxConfig {
        security_context: Some(crate::proto::WindowsSandboxSecurityContext {
            host_process: true,
            ..Default::default()
        }),
    };
    let request = PullImageRequest {
        image: Some(crate::proto::ImageSpec { image: "busybox".into(), ..Default::default() }),
        sandbox_config: Some(crate::proto::PodSandboxConfig { windows: Some(windows), ..Default::default() }),
        ..Default::default()
    };
    let error = decode(request).unwrap_err();
    assert_eq!(error.to_string(), "sandbox_config.windows is not supported yet");
}
