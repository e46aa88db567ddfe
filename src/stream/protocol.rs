//! Which protocol a client speaks, by the headers of its request.

use crate::status::Form;
use crate::tokens::Ticket;
use crate::ws::{Codec, Mode, accept_key};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

const SPDY: &str = "SPDY/3.1";
const VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
/// The versions of exec and attach over SPDY (apimachinery `remotecommand.SupportedStreamingProtocols`, and version 5,
/// which is the same there: a SPDY stream can always be closed).
const COMMANDS: [&str; 5] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
const PORT_FORWARD: &str = "portforward.k8s.io";
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// What is spoken once the connection is upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Streams of SPDY; the end of a command is told in this form, and terminals may be resized.
    Spdy {
        /// How the end is told.
        form: Form,
        /// A stream for sizes of a terminal is opened.
        resizes: bool,
    },
    /// Channels over a WebSocket.
    Channels {
        /// How they are written.
        mode: Mode,
        /// How the end is told.
        form: Form,
    },
    /// SPDY within a WebSocket.
    Tunnel,
}

/// A protocol and the headers by which it is agreed on.
#[derive(Debug)]
pub(crate) struct Agreement {
    /// The protocol.
    pub(crate) protocol: Protocol,
    /// Of the answer.
    pub(crate) headers: HeaderMap,
}

/// Why the connection is not upgraded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Of the answer.
    pub(crate) status: StatusCode,
    /// For people.
    pub(crate) text: String,
    /// Of the answer.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

fn refuse(status: StatusCode, text: impl Into<String>) -> Refusal {
    Refusal { status, text: text.into(), headers: Vec::new() }
}

/// The words of a header that lists them, over all of its lines.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|word| !word.is_empty()).collect()
}

fn has(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    words(headers, name).iter().any(|word| word.eq_ignore_ascii_case(wanted))
}

/// Agrees with a client on how to serve its ticket.
pub(crate) fn negotiate(method: &Method, asked: &HeaderMap, ticket: &Ticket) -> Result<Agreement, Refusal> {
    if !has(asked, &CONNECTION, "upgrade") {
        return Err(refuse(StatusCode::BAD_REQUEST, "the request asks for no upgrade of the connection"));
    }
    let forwards = matches!(ticket, Ticket::PortForward { .. });
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if has(asked, &UPGRADE, SPDY) {
        headers.insert(UPGRADE, HeaderValue::from_static(SPDY));
        let protocol = spdy(asked, forwards, &mut headers)?;
        return Ok(Agreement { protocol, headers });
    }
    if has(asked, &UPGRADE, "websocket") {
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let protocol = websocket(method, asked, forwards, &mut headers)?;
        return Ok(Agreement { protocol, headers });
    }
    Err(refuse(StatusCode::BAD_REQUEST, "the connection can be upgraded to SPDY/3.1 and to websocket alone"))
}

fn spdy(asked: &HeaderMap, forwards: bool, answer: &mut HeaderMap) -> Result<Protocol, Refusal> {
    let offered = words(asked, &VERSION);
    if offered.is_empty() {
        return Err(refuse(StatusCode::BAD_REQUEST, format!("the header {VERSION} is required")));
    }
    let known: &[&'static str] = if forwards { &[PORT_FORWARD] } else { &COMMANDS };
    let chosen = offered.iter().find_map(|offer| known.iter().find(|name| *name == offer));
    let Some(chosen) = chosen else {
        let mut refusal = refuse(StatusCode::FORBIDDEN, "none of the versions of the protocol is known");
        for name in known {
            refusal.headers.push((ACCEPTED, HeaderValue::from_static(name)));
        }
        return Err(refusal);
    };
    answer.insert(VERSION, HeaderValue::from_static(chosen));
    let version = if forwards { None } else { COMMANDS.iter().position(|name| name == chosen) };
    let form = if version.is_none_or(|at| at <= 1) { Form::Json } else { Form::Text };
    Ok(Protocol::Spdy { form, resizes: version.is_some_and(|at| at <= 2) })
}

fn websocket(
    method: &Method,
    asked: &HeaderMap,
    forwards: bool,
    answer: &mut HeaderMap,
) -> Result<Protocol, Refusal> {
    if method != Method::GET {
        return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "WebSockets begin with GET"));
    }
    if !has(asked, &SEC_WEBSOCKET_VERSION, "13") {
        let mut refusal = refuse(StatusCode::UPGRADE_REQUIRED, "the version of WebSocket has to be 13");
        refusal.headers.push((SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
        return Err(refusal);
    }
    let accept = asked
        .get(SEC_WEBSOCKET_KEY)
        .and_then(|key| accept_key(key.as_bytes()))
        .and_then(|accept| HeaderValue::try_from(accept).ok())
        .ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "the header sec-websocket-key is required"))?;
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    let offered = words(asked, &SEC_WEBSOCKET_PROTOCOL);
    if offered.is_empty() {
        return Ok(channels(Codec::Binary, false, Form::Text));
    }
    let chosen = offered.iter().find_map(|offer| Some((offer, channel_protocol(offer, forwards)?)));
    let Some((name, protocol)) = chosen else {
        let text = format!("none of the protocols {offered:?} is known");
        return Err(refuse(StatusCode::FORBIDDEN, text));
    };
    // It was a header's value when it came.
    if let Ok(name) = HeaderValue::from_str(name) {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, name);
    }
    Ok(protocol)
}

fn channels(codec: Codec, closes: bool, form: Form) -> Protocol {
    Protocol::Channels { mode: Mode { codec, closes }, form }
}

fn channel_protocol(name: &str, forwards: bool) -> Option<Protocol> {
    match name {
        TUNNEL if forwards => Some(Protocol::Tunnel),
        "v4.channel.k8s.io" => Some(channels(Codec::Binary, false, Form::Json)),
        "v4.base64.channel.k8s.io" => Some(channels(Codec::Base64, false, Form::Json)),
        "v5.channel.k8s.io" if !forwards => Some(channels(Codec::Binary, true, Form::Json)),
        "channel.k8s.io" if !forwards => Some(channels(Codec::Binary, false, Form::Text)),
        "base64.channel.k8s.io" if !forwards => Some(channels(Codec::Base64, false, Form::Text)),
        _ => None,
    }
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
