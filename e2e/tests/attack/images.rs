//! Registries and documents of images that lie.

use e2e::proto::AuthConfig;
use e2e::runtime::Kind;
use e2e::world::World;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A server that keeps every head of a request and answers as it likes.
struct Hostile {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Hostile {
    fn start(answer: impl Fn(&str, &str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (heads, own, answer) = (Arc::new(Mutex::new(Vec::new())), address.clone(), Arc::new(answer));
        let kept = Arc::clone(&heads);
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, own, answer) = (Arc::clone(&kept), own.clone(), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let head = head(&stream);
                    let reply = answer(&own, &head);
                    kept.lock().unwrap().push(head);
                    // A client that has gone away does not matter.
                    let _ = { stream }.write_all(reply.as_bytes());
                });
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn head(stream: &TcpStream) -> String {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    lines.by_ref().take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

fn reply(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}", body.len())
}

fn pull(world: &World, image: &str) -> Result<String, String> {
    let auth = AuthConfig { username: "victim".into(), password: "hunter2".into(), ..AuthConfig::default() };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(image, Some(auth)).await.map_err(|error| error.to_string())
    })
}

fn hosts(world: &World, text: &str) {
    let directory = world.daemon.place().certs.join("registry.test");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("hosts.toml"), text).unwrap();
}

/// A registry that shares its token server with others has its clients ask for tokens of more than it serves, with
/// whatever the user may do there: to be handed a token that pushes to them.
#[test]
fn a_registry_that_fishes_for_tokens_of_other_repositories() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() != Kind::Corten {
        return;
    }
    let thief = Hostile::start(|own, head| {
        if head.starts_with("GET /token") {
            return reply("200 OK", "", r#"{"token":"precious"}"#);
        }
        let scope = "repository:bank/vault:pull,push,delete registry:catalog:* repository:team/app:*";
        let challenge = format!(
            "WWW-Authenticate: Bearer realm=\"http://{own}/token\",service=\"bank\",scope=\"{scope}\"\r\n"
        );
        reply("401 Unauthorized", &challenge, "")
    });
    let error = pull(&world, &format!("{}/team/app:1", thief.address)).unwrap_err();
    assert!(error.contains("401"), "{error}");
    let asked: Vec<String> =
        thief.heads().into_iter().filter(|head| head.starts_with("GET /token")).collect();
    assert!(!asked.is_empty());
    for head in asked {
        let line = head.lines().next().unwrap();
        assert!(line.contains("scope=repository%3Ateam%2Fapp%3Apull ") && !line.contains("vault"), "{line}");
    }
}

/// A mirror that sends its clients elsewhere, with a token server of its own, to be told the registry's password.
#[test]
fn a_mirror_that_fishes_for_the_registrys_password() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() != Kind::Corten {
        return;
    }
    let catcher = Hostile::start(|_, _| reply("200 OK", "", r#"{"token":"x"}"#));
    let to = catcher.address.clone();
    let mirror = Hostile::start(move |_, head| match head.contains("/manifests/") {
        true => reply(
            "401 Unauthorized",
            &format!("WWW-Authenticate: Bearer realm=\"http://{to}/token\",service=\"x\"\r\n"),
            "",
        ),
        false => reply("307 Temporary Redirect", &format!("Location: http://{to}/blob\r\n"), ""),
    });
    // No registry there: all that could be told is told to the mirror.
    hosts(&world, &format!("server = \"http://127.0.0.1:1\"\n[host.\"http://{}\"]\n", mirror.address));
    let error = pull(&world, "registry.test/team/app:1").unwrap_err();
    assert!(error.contains("was given, but not sent") && !error.contains("hunter2"), "{error}");
    let heads = [mirror.heads(), catcher.heads()].concat();
    assert!(heads.len() > 2, "{heads:?}");
    for head in heads {
        assert!(!head.to_lowercase().contains("authorization: basic"), "{head}");
    }
}

/// A registry whose refusals try to write lines of their own into logs and terminals, or never end.
#[test]
fn a_registry_whose_words_are_poison() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() != Kind::Corten {
        return;
    }
    let liar = Hostile::start(|_, _| {
        let message = "\\u001b[2J\\nlevel=error forged".to_owned() + &"A".repeat(1 << 20);
        reply("403 Forbidden", "", &format!(r#"{{"errors":[{{"code":"DENIED","message":"{message}"}}]}}"#))
    });
    let error = pull(&world, &format!("{}/team/app:1", liar.address)).unwrap_err();
    assert!(!error.contains(['\n', '\u{1b}']) && error.len() < 2000, "{} bytes: {error:.300}", error.len());
    let long = Hostile::start(|_, _| {
        let message = "\\u001b[2J\\nlevel=error forged";
        reply("403 Forbidden", "", &format!(r#"{{"errors":[{{"code":"DENIED","message":"{message}"}}]}}"#))
    });
    let error = pull(&world, &format!("{}/team/app:1", long.address)).unwrap_err();
    assert!(error.contains("DENIED: [2J level=error forged"), "{error}");
    let log = fs::read_to_string(&world.daemon.place().log).unwrap();
    assert!(!log.lines().any(|line| line.starts_with("level=error forged")) && !log.contains("hunter2"));
}
