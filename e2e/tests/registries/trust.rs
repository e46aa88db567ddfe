//! Which certificates of registries are trusted, and what is said of the others.

use crate::{hosts, pull, world};
use e2e::certificates::{Authority, Pair, self_signed};
use e2e::registry::Registry;
use e2e::runtime::Kind;
use e2e::world::World;
use std::path::Path;

fn serve(world: &World, kept: &Path, name: &str, pair: &Pair) -> Registry {
    let directory = world.isolation.directory(name).unwrap();
    let tls =
        format!(", tls: {{certificate: '{}', key: '{}'}}", pair.certificate.display(), pair.key.display());
    Registry::start_beside(&directory, kept, &tls, "").unwrap()
}

/// The recipe of every registry's manual is a certificate that signs itself, which openssl makes an authority's.
#[test]
fn certificates_that_ca_names_are_trusted_of_every_curve_and_hash() {
    let Some((world, kept)) = world() else { return };
    let directory = world.isolation.directory("pairs").unwrap();
    for (name, key) in [
        ("rsa", "rsa:2048 -sha256"),
        ("p256-sha512", "ec -pkeyopt ec_paramgen_curve:prime256v1 -sha512"),
        ("p384-sha512", "ec -pkeyopt ec_paramgen_curve:secp384r1 -sha512"),
        ("p521-sha256", "ec -pkeyopt ec_paramgen_curve:secp521r1 -sha256"),
        ("p521-sha512", "ec -pkeyopt ec_paramgen_curve:secp521r1 -sha512"),
    ] {
        let pair = self_signed(&directory, name, "IP:127.0.0.1", key).unwrap();
        let registry = serve(&world, &kept, name, &pair);
        let host = registry.address().to_string();
        let image = format!("{host}/team/app:1");
        let server = format!("server = \"https://{host}\"\n");
        hosts(&world, &host, &server);
        let error = pull(&world, &image, None).unwrap_err();
        if world.daemon.kind() == Kind::Corten {
            let words = format!("as `ca` in {}/hosts.toml", world.daemon.place().certs.join(&host).display());
            assert!(error.contains(&words) && error.contains("a certificate"), "{name}: {error}");
        }
        hosts(&world, &host, &format!("{server}ca = \"{}\"\n", pair.certificate.display()));
        pull(&world, &image, None).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// To be named is not all: the name in it must be the host's, and it must be that very certificate.
#[test]
fn what_is_wrong_with_a_certificate_is_told_in_words() {
    let Some((world, kept)) = world() else { return };
    if world.daemon.kind() != Kind::Corten {
        return;
    }
    let directory = world.isolation.directory("pairs").unwrap();
    let authority = Authority::new(&directory).unwrap();
    let own = self_signed(&directory, "own", "DNS:other.test", "rsa:2048").unwrap();
    let twin = self_signed(&directory, "twin", "IP:127.0.0.1", "rsa:2048").unwrap();
    let issued = authority.issue("issued", "DNS:other.test").unwrap();
    for (name, pair, ca, words) in [
        ("own", &own, &own.certificate, "for another host: other.test"),
        ("twin", &twin, &own.certificate, "an authority's own"),
        ("issued", &issued, &authority.certificate, "for another host: other.test"),
        (
            "unknown",
            &issued,
            &own.certificate,
            "an authority that this node does not know; it is none of those in ",
        ),
    ] {
        let registry = serve(&world, &kept, name, pair);
        let host = registry.address().to_string();
        hosts(&world, &host, &format!("server = \"https://{host}\"\nca = \"{}\"\n", ca.display()));
        let error = pull(&world, &format!("{host}/team/app:1"), None).unwrap_err();
        assert!(error.contains(words) && error.contains(&host), "{name}: {error}");
    }
    let plain = world.registry.address().to_string();
    hosts(&world, "registry.test", &format!("server = \"https://{plain}\"\n"));
    let error = pull(&world, "registry.test/team/app:1", None).unwrap_err();
    let file = world.daemon.place().certs.join("registry.test/hosts.toml");
    let words = "answers plain HTTP on that port; if that is meant, write http:// in";
    assert!(error.contains(&format!("{words} {}", file.display())), "{error}");
}
