//! Real registries: TLS, every kind of credential, mirrors, proxies, and the command line that looks after images.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod command;
mod proxy;
mod tokens;
mod trust;

use e2e::certificates::Authority;
use e2e::image::{Entry, Image, Layer};
use e2e::proto::AuthConfig;
use e2e::registry::{PASSWORD, Registry, USER, htpasswd};
use e2e::runtime::Kind;
use e2e::world::World;
use std::fs;
use std::path::PathBuf;

/// A world whose registry has a small image `team/app:1`, and where its registry keeps it.
fn world() -> Option<(World, PathBuf)> {
    let world = World::new().unwrap()?;
    let layer = Layer::default().with("hello", 0o644, Entry::File(b"hello\n".to_vec()));
    world.registry.push("team/app", "1", &Image { layers: vec![layer], ..Image::default() }).unwrap();
    let kept = world.isolation.root().join("registry");
    Some((world, kept))
}

/// What the daemon shall know of a host.
fn hosts(world: &World, host: &str, text: &str) {
    let directory = world.daemon.place().certs.join(host);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("hosts.toml"), text).unwrap();
}

fn pull(world: &World, image: &str, auth: Option<AuthConfig>) -> Result<String, String> {
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(image, auth).await.map_err(|error| error.to_string())
    })
}

fn password(user: &str, password: &str) -> Option<AuthConfig> {
    Some(AuthConfig { username: user.into(), password: password.into(), ..AuthConfig::default() })
}

#[test]
fn tls_with_an_authority_of_its_own_client_certificates_and_a_password() {
    let Some((world, kept)) = world() else { return };
    let authority = Authority::new(&world.isolation.directory("ca").unwrap()).unwrap();
    let server = authority.issue("server", "IP:127.0.0.1").unwrap();
    let client = authority.issue("client", "DNS:client.test").unwrap();
    let directory = world.isolation.directory("secure").unwrap();
    let tls = format!(
        ", tls: {{certificate: '{}', key: '{}', clientcas: ['{}']}}",
        server.certificate.display(),
        server.key.display(),
        authority.certificate.display()
    );
    let secure = Registry::start_beside(&directory, &kept, &tls, &htpasswd(&directory).unwrap()).unwrap();
    let host = secure.address().to_string();
    let image = format!("{host}/team/app:1");
    let ca = format!("ca = \"{}\"\n", authority.certificate.display());
    let pair = format!("client = [[\"{}\", \"{}\"]]\n", client.certificate.display(), client.key.display());
    let right = || password(USER, PASSWORD);

    hosts(&world, &host, &format!("server = \"https://{host}\"\n"));
    let error = pull(&world, &image, right()).unwrap_err();
    assert!(error.contains(&host) && error.to_lowercase().contains("certificate"), "{error}");
    // The peer asks for a certificate of the client's too.
    hosts(&world, &host, &format!("server = \"https://{host}\"\n{ca}"));
    assert!(pull(&world, &image, right()).is_err());
    hosts(&world, &host, &format!("server = \"https://{host}\"\n{ca}{pair}"));
    let error = pull(&world, &image, None).unwrap_err();
    assert!(error.contains(&host) && error.contains("401"), "{error}");
    if world.daemon.kind() == Kind::Corten {
        assert!(error.contains("without credentials"), "{error}");
    }
    let error = pull(&world, &image, password(USER, "no-such-secret")).unwrap_err();
    assert!(!error.contains("no-such-secret"), "{error}");
    pull(&world, &image, right()).unwrap();
    hosts(&world, &host, &format!("server = \"https://{host}\"\nskip_verify = true\n{pair}"));
    let encoded = base64(format!("{USER}:{PASSWORD}").as_bytes());
    pull(&world, &image, Some(AuthConfig { auth: encoded, ..AuthConfig::default() })).unwrap();
    // What offers HTTP/2 is spoken to in it.
    let served = fs::read_to_string(directory.join("log")).unwrap();
    let got: Vec<&str> = served.lines().filter(|line| line.contains("\"GET /v2/team/app/")).collect();
    assert!(!got.is_empty() && got.iter().all(|line| line.contains("HTTP/2.0\"")), "{served}");
    let log = fs::read_to_string(&world.daemon.place().log).unwrap();
    assert!(!log.contains(PASSWORD) && !log.contains("no-such-secret"), "a secret in the log");
}

#[test]
fn a_token_server_takes_every_kind_of_credential() {
    let Some((world, kept)) = world() else { return };
    let directory = world.isolation.directory("tokens").unwrap();
    let authority = Authority::new(&directory).unwrap();
    let signer = authority.issue("signer", "DNS:tokens.test").unwrap();
    let tokens = tokens::Server::start(signer.clone());
    let auth = format!(
        "auth: {{token: {{realm: 'http://{}/token', service: registry.test, issuer: tokens.test, rootcertbundle: '{}'}}}}\n",
        tokens.address(),
        signer.certificate.display()
    );
    let guarded = Registry::start_beside(&directory, &kept, "", &auth).unwrap();
    let host = guarded.address().to_string();
    hosts(&world, &host, &format!("server = \"http://{host}\"\n"));
    let image = format!("{host}/team/app:1");

    let error = pull(&world, &image, None).unwrap_err();
    assert!(error.contains(&tokens.address()), "{error}");
    assert!(pull(&world, &image, password(USER, "wrong")).is_err());
    pull(&world, &image, password(USER, PASSWORD)).unwrap();
    let token = AuthConfig { identity_token: tokens::REFRESH.into(), ..AuthConfig::default() };
    pull(&world, &image, Some(token)).unwrap();
    let token = tokens.issue("repository:team/app:pull");
    pull(&world, &image, Some(AuthConfig { registry_token: token, ..AuthConfig::default() })).unwrap();
    let token = tokens.issue("repository:other/app:pull");
    let other = Some(AuthConfig { registry_token: token, ..AuthConfig::default() });
    assert!(pull(&world, &image, other).is_err());
}

#[test]
fn mirrors_are_asked_in_order_and_each_answer_is_told() {
    let Some((world, kept)) = world() else { return };
    if world.daemon.kind() != Kind::Corten {
        return;
    }
    let directory = world.isolation.directory("guarded").unwrap();
    let guarded = Registry::start_beside(&directory, &kept, "", &htpasswd(&directory).unwrap()).unwrap();
    let dead = e2e::registry::free_address().unwrap().to_string();
    let (guarded, open) = (guarded.address().to_string(), world.registry.address().to_string());
    let chain =
        format!("server = \"http://{open}\"\n[host.\"http://{dead}\"]\n[host.\"http://{guarded}\"]\n");
    hosts(&world, "upstream.test", &chain);
    // The password is upstream's: no mirror gets it, and the one that wants one is passed over.
    pull(&world, "upstream.test/team/app:1", password(USER, PASSWORD)).unwrap();
    let error = pull(&world, "upstream.test/team/nothing:1", password(USER, PASSWORD)).unwrap_err();
    for part in [&dead, &guarded, &open, "401", "404", "MANIFEST_UNKNOWN"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let refused = pull(&world, "dead.test/x:1", None);
    assert!(refused.is_err());
    hosts(&world, "dead.test", &format!("server = \"http://{dead}\"\n"));
    let error = pull(&world, "dead.test/x:1", None).unwrap_err();
    assert!(error.contains("RegistryUnavailable: "), "{error}");
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}
