#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use engine::{OpenExec, Streams};

fn exec() -> Ticket {
    let command = model::Argv::new(vec!["sh".to_owned()]).unwrap();
    let exec = OpenExec { command, tty: false, streams: Streams::default(), size: None };
    Ticket::Exec { container: model::ContainerId::new("c"), exec }
}

fn forward() -> Ticket {
    Ticket::PortForward { pod: model::SandboxId::new("p"), ports: Vec::new() }
}

fn ask(ticket: &Ticket, method: &Method, pairs: &[(&str, &str)]) -> Result<Agreement, Refusal> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    negotiate(method, &headers, ticket)
}

fn over_spdy(ticket: &Ticket, versions: &[&str]) -> Result<(Protocol, String), Refusal> {
    let mut pairs = vec![("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")];
    pairs.extend(versions.iter().map(|version| ("X-Stream-Protocol-Version", *version)));
    let agreed = ask(ticket, &Method::POST, &pairs)?;
    Ok((agreed.protocol, agreed.headers[&VERSION].to_str().unwrap().to_owned()))
}

fn over_websocket(ticket: &Ticket, protocols: Option<&str>) -> Result<(Protocol, HeaderMap), Refusal> {
    let mut pairs = vec![
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    pairs.extend(protocols.map(|names| ("sec-websocket-protocol", names)));
    ask(ticket, &Method::GET, &pairs).map(|agreed| (agreed.protocol, agreed.headers))
}

#[test]
fn the_client_s_first_known_version_is_taken() {
    let spdy = |form, resizes| Protocol::Spdy { form, resizes };
    let table = [
        (&["v5.channel.k8s.io", "v4.channel.k8s.io"][..], spdy(Form::Json, true), "v5.channel.k8s.io"),
        (&["v9.channel.k8s.io, v4.channel.k8s.io"], spdy(Form::Json, true), "v4.channel.k8s.io"),
        (&["v3.channel.k8s.io"], spdy(Form::Text, true), "v3.channel.k8s.io"),
        (&["v2.channel.k8s.io"], spdy(Form::Text, false), "v2.channel.k8s.io"),
        (&["channel.k8s.io"], spdy(Form::Text, false), "channel.k8s.io"),
    ];
    for (offered, protocol, name) in table {
        assert_eq!(over_spdy(&exec(), offered), Ok((protocol, name.to_owned())));
    }
    assert!(over_spdy(&forward(), &["portforward.k8s.io"]).is_ok());
    let refused = over_spdy(&forward(), &["v4.channel.k8s.io"]).unwrap_err();
    assert_eq!((refused.status, refused.headers.len()), (StatusCode::FORBIDDEN, 1));
    assert_eq!(over_spdy(&exec(), &[]).unwrap_err().status, StatusCode::BAD_REQUEST);
}

#[test]
fn every_channel_protocol_is_known() {
    let channels = |codec, closes, form| Protocol::Channels { mode: Mode { codec, closes }, form };
    let table = [
        ("v5.channel.k8s.io", channels(Codec::Binary, true, Form::Json)),
        ("v4.channel.k8s.io", channels(Codec::Binary, false, Form::Json)),
        ("v4.base64.channel.k8s.io", channels(Codec::Base64, false, Form::Json)),
        ("channel.k8s.io", channels(Codec::Binary, false, Form::Text)),
        ("base64.channel.k8s.io", channels(Codec::Base64, false, Form::Text)),
    ];
    for (name, protocol) in table {
        let (agreed, headers) = over_websocket(&exec(), Some(name)).unwrap();
        assert_eq!((agreed, headers[SEC_WEBSOCKET_PROTOCOL].to_str().unwrap()), (protocol, name));
        assert_eq!(headers[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
    let (agreed, headers) = over_websocket(&exec(), None).unwrap();
    assert_eq!(agreed, channels(Codec::Binary, false, Form::Text));
    assert!(!headers.contains_key(SEC_WEBSOCKET_PROTOCOL));
    assert_eq!(over_websocket(&exec(), Some("chat")).unwrap_err().status, StatusCode::FORBIDDEN);
    assert_eq!(over_websocket(&forward(), Some(TUNNEL)).unwrap().0, Protocol::Tunnel);
    assert!(over_websocket(&exec(), Some(TUNNEL)).is_err());
    assert!(over_websocket(&forward(), Some("v5.channel.k8s.io")).is_err());
}

#[test]
fn what_is_no_upgrade_is_refused() {
    let status = |method: &Method, pairs: &[(&str, &str)]| ask(&exec(), method, pairs).unwrap_err().status;
    assert_eq!(status(&Method::GET, &[]), StatusCode::BAD_REQUEST);
    let upgrade = ("connection", "upgrade");
    assert_eq!(status(&Method::GET, &[upgrade, ("upgrade", "h2c")]), StatusCode::BAD_REQUEST);
    let websocket = ("upgrade", "websocket");
    assert_eq!(status(&Method::POST, &[upgrade, websocket]), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(status(&Method::GET, &[upgrade, websocket]), StatusCode::UPGRADE_REQUIRED);
    let version = ("sec-websocket-version", "13");
    assert_eq!(status(&Method::GET, &[upgrade, websocket, version]), StatusCode::BAD_REQUEST);
}
