//! A registry whose every answer a test decides, down to connections that end in the middle.

use super::mock::Pushed;
use crate::Digest;
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a client sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    pub method: String,
    pub path: String,
    pub query: String,
    pub authorization: String,
    pub range: String,
    pub body: String,
    /// How often this path was asked for before.
    pub before: usize,
}

/// What it gets.
pub(super) enum Reply {
    /// Status, headers and body.
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// As many bytes of a body as are here, of one that is announced as longer.
    Cut(Vec<u8>, usize),
    /// What would come without a script, but no more of its body than so many bytes.
    Short(usize),
    /// Nothing: the connection ends.
    Nothing,
}

pub(super) fn status(code: u16) -> Reply {
    Reply::Whole(code, Vec::new(), Vec::new())
}

pub(super) fn page(text: &str) -> Reply {
    Reply::Whole(200, vec![("content-type", "text/html".to_owned())], text.as_bytes().to_vec())
}

type Script = dyn Fn(&Request) -> Option<Reply> + Send + Sync;

/// The server; its thread ends with the process.
pub(super) struct Scripted {
    address: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Scripted {
    /// Serves what was pushed as `app:v1`; the script is asked first.
    pub(super) fn start(
        pushed: &Pushed,
        script: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (documents, script): (_, Arc<Script>) = (Arc::new(documents(pushed)), Arc::new(script));
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (documents, script, seen) =
                    (Arc::clone(&documents), Arc::clone(&script), Arc::clone(&kept));
                std::thread::spawn(move || serve(stream, &documents, &*script, &seen));
            }
        });
        Self { address, seen }
    }

    pub(super) fn address(&self) -> String {
        self.address.clone()
    }

    pub(super) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// How often a path with this in it was asked for.
    pub(super) fn asked(&self, part: &str) -> usize {
        self.seen().iter().filter(|request| request.path.contains(part)).count()
    }
}

fn serve(
    mut stream: TcpStream,
    documents: &HashMap<String, (String, Vec<u8>)>,
    script: &Script,
    seen: &Mutex<Vec<Request>>,
) {
    let Some(mut request) = read(&stream) else { return };
    {
        let mut seen = seen.lock().unwrap();
        request.before = seen.iter().filter(|known| known.path == request.path).count();
        seen.push(request.clone());
    }
    let unscripted = || match documents.get(&request.path) {
        Some((kind, bytes)) => whole(kind, bytes, &request.range),
        None => status(404),
    };
    let (reply, most) = match script(&request) {
        None => (unscripted(), usize::MAX),
        Some(Reply::Short(most)) => (unscripted(), most),
        Some(reply) => (reply, usize::MAX),
    };
    let head = |status: u16, length: usize| {
        format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n")
    };
    // A client that has gone away does not matter.
    let _ = match reply {
        Reply::Nothing | Reply::Short(_) => Ok(()),
        Reply::Cut(bytes, length) => {
            stream.write_all((head(200, length) + "\r\n").as_bytes()).and_then(|()| stream.write_all(&bytes))
        }
        Reply::Whole(status, headers, bytes) => {
            let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let head = head(status, bytes.len()) + &more + "\r\n";
            let sent = &bytes[..bytes.len().min(most)];
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(sent))
        }
    };
}

/// A document, or the part of it that a range names.
fn whole(kind: &str, bytes: &[u8], range: &str) -> Reply {
    let mut headers = vec![("content-type", kind.to_owned())];
    let Some((start, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Reply::Whole(200, headers, bytes.to_vec());
    };
    let start: usize = start.parse().unwrap();
    let end = last.parse::<usize>().map_or(bytes.len(), |last| bytes.len().min(last + 1));
    headers.push(("content-range", format!("bytes {start}-{}/{}", end - 1, bytes.len())));
    Reply::Whole(206, headers, bytes[start..end].to_vec())
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let method = words.next()?.to_owned();
    let target = words.next()?.to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut request =
        Request { method, path: path.to_owned(), query: query.to_owned(), ..Request::default() };
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => value.clone_into(&mut request.authorization),
            "range" => value.clone_into(&mut request.range),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).ok()?;
    Some(request)
}

/// The documents of an image by their paths.
fn documents(pushed: &Pushed) -> HashMap<String, (String, Vec<u8>)> {
    let mut documents = HashMap::new();
    let blob = |bytes: &[u8]| format!("/v2/app/blobs/{}", Digest::of(bytes));
    let mut layers = Vec::new();
    for (compressed, _, kind) in &pushed.layers {
        documents.insert(blob(compressed), ("application/octet-stream".to_owned(), compressed.clone()));
        layers.push(serde_json::json!({
            "mediaType": format!("application/vnd.oci.image.layer.v1.{kind}"),
            "digest": Digest::of(compressed), "size": compressed.len(),
        }));
    }
    let diff_ids: Vec<_> = pushed.layers.iter().map(|(_, content, _)| Digest::of(content)).collect();
    let config = serde_json::json!({
        "architecture": crate::manifest::Platform::host().architecture, "os": "linux", "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = serde_json::to_vec(&config).unwrap();
    documents.insert(blob(&config), ("application/octet-stream".to_owned(), config.clone()));
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": kind, "layers": layers,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                   "digest": Digest::of(&config), "size": config.len()},
    });
    let manifest = serde_json::to_vec(&manifest).unwrap();
    for target in ["v1".to_owned(), Digest::of(&manifest).to_string()] {
        documents.insert(format!("/v2/app/manifests/{target}"), (kind.to_owned(), manifest.clone()));
    }
    documents
}
