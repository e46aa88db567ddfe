//! Clients that attach, and forward ports.

use crate::container::{One, blocking};
use crate::node::Node;
use crate::weather::Part;
use e2e::client::Cri;
use e2e::error::{Context, Error};
use e2e::proto::{AttachRequest, PortForwardRequest};
use e2e::raw::{Raw, Said, Upgrade};
use std::time::{Duration, Instant};

const STREAM: &str = "stream";
const NONE: &[Part] = &[];
/// How long a port may take until somebody listens.
const LISTENS: Duration = Duration::from_secs(20);

/// Attaches to a container that numbers its lines, and hears some of them.
pub(crate) async fn attach(node: &Node, one: &One) -> Result<(), Error> {
    let listen = |cri: Cri| {
        let request =
            AttachRequest { container_id: one.id.clone(), stdout: true, ..AttachRequest::default() };
        async move {
            let attached = cri.runtime.clone().attach(request).await;
            let failed = |status| Error::Rpc { method: "Attach", status: Box::new(status) };
            let url = attached.map_err(failed)?.into_inner().url;
            blocking(move || hear_lines(&url)).await
        }
    };
    let text = node.ask("Attach", NONE, listen).await?;
    let numbers: Vec<u64> = text.lines().map(|line| line.parse().unwrap_or(u64::MAX)).collect();
    let follow = numbers.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1]));
    if follow {
        return Ok(());
    }
    Err(Error::Unexpected { what: "what an attached client hears (I5)", seen: format!("{text:?}") })
}

fn hear_lines(url: &str) -> Result<String, Error> {
    let mut client = Raw::connect(url, Upgrade::Channels).at("connect to", STREAM)?;
    let mut text = String::new();
    while text.matches('\n').count() < 4 {
        if let Said::Data(1, said, _) = client.hear().at("hear", STREAM)? {
            text += &String::from_utf8_lossy(&said);
        }
    }
    text.truncate(text.rfind('\n').unwrap_or_default());
    Ok(text)
}

/// Forwards a port to a container that says again what it hears.
pub(crate) async fn forward(node: &Node, pod: &str, one: &One) -> Result<(), Error> {
    let port = one.port;
    let talk = |cri: Cri| {
        let request = PortForwardRequest { pod_sandbox_id: pod.to_owned(), port: vec![] };
        async move {
            let forwarded = cri.runtime.clone().port_forward(request).await;
            let failed = |status| Error::Rpc { method: "PortForward", status: Box::new(status) };
            let url = forwarded.map_err(failed)?.into_inner().url;
            blocking(move || echo(&url, port)).await
        }
    };
    node.ask("PortForward", NONE, talk).await
}

fn echo(url: &str, port: u16) -> Result<(), Error> {
    let mut client = Raw::connect(url, Upgrade::SpdyPorts).at("connect to", STREAM)?;
    let wanted: Vec<u8> = (0_u32..20_000).map(|at| at.wrapping_mul(7).to_le_bytes()[0]).collect();
    let begin = Instant::now();
    while begin.elapsed() < LISTENS {
        let (data, _) = client.forward(port).at("open", STREAM)?;
        client.data(data, &wanted[..1]).at("speak on", STREAM)?;
        let mut heard = Vec::new();
        let mut is_there = false;
        loop {
            match client.hear().at("hear", STREAM)? {
                Said::Data(id, said, is_last) if id == data => {
                    heard.extend(said);
                    if !is_there && heard.len() == 1 {
                        is_there = true;
                        client.data(data, &wanted[1..]).at("speak on", STREAM)?;
                    }
                    if heard.len() >= wanted.len() || is_last {
                        break;
                    }
                }
                Said::Reset(id) if id == data => break,
                _ => {}
            }
        }
        if heard == wanted {
            return Ok(());
        }
        if is_there {
            return Err(Error::Unexpected { what: "an echo", seen: format!("{} bytes", heard.len()) });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(Error::Late { what: "somebody at a port", after: LISTENS, last: port.to_string() })
}
