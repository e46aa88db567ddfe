//! From spans of the `tracing` crate to spans of a trace.

use crate::TARGET;
use crate::context::Context;
use crate::export::Queue;
use crate::message::{ERROR, INTERNAL, KeyValue, SERVER, Span, Status};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, filter_fn};
use tracing_subscriber::layer::Context as Scope;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

/// The span of an RPC, which begins a trace here.
const CALL: &str = "call";
/// A part of what an RPC does.
const STAGE: &str = "stage";
/// The log's own span of an RPC: what handlers find out about the request is noted there.
const NOTES: &str = "rpc";
/// `SpanFlags`: whether the parent is remote is known, and it is.
const REMOTE: u32 = 0x300;

/// Collects spans, and gives them to [`crate::Export`].
#[derive(Debug)]
pub struct Spans {
    queue: Queue,
    per_million: u32,
}

impl Spans {
    pub(crate) fn new(queue: Queue, per_million: u32) -> Self {
        Self { queue, per_million }
    }

    /// What it wants to see.
    #[must_use]
    pub fn filter() -> FilterFn {
        filter_fn(|metadata| metadata.is_span() && (metadata.target() == TARGET || metadata.name() == NOTES))
    }

    /// The span of a call, where its trace is kept.
    fn call(&self, fields: &mut Fields) -> Option<Open> {
        let parent = fields.take("traceparent").and_then(|text| Context::parse(&text));
        let context = match parent {
            Some(parent) if parent.is_sampled() => parent.child()?,
            Some(_) => return None,
            None => Context::root(self.per_million)?,
        };
        let path = fields.take("method").unwrap_or_default();
        let name = path.trim_start_matches('/').to_owned();
        let (service, method) = name.split_once('/').unwrap_or(("", &name));
        let attributes = vec![
            KeyValue::text("rpc.system", "grpc"),
            KeyValue::text("rpc.service", service),
            KeyValue::text("rpc.method", method),
        ];
        let span = Span {
            parent_span_id: parent.map(|parent| parent.span.to_vec()).unwrap_or_default(),
            trace_state: fields.take("tracestate").filter(|_| parent.is_some()).unwrap_or_default(),
            flags: u32::from(context.flags) | if parent.is_some() { REMOTE } else { 0 },
            kind: SERVER,
            attributes,
            name,
            ..begun(context)
        };
        Some(Open { context, span })
    }
}

/// A span that has not ended.
struct Open {
    context: Context,
    span: Span,
}

impl Open {
    fn stage(&self, name: String) -> Option<Self> {
        let context = self.context.child()?;
        let span = Span {
            parent_span_id: self.context.span.to_vec(),
            trace_state: self.span.trace_state.clone(),
            flags: u32::from(context.flags),
            kind: INTERNAL,
            name,
            ..begun(context)
        };
        Some(Self { context, span })
    }

    /// Takes what was found out about it.
    fn note(&mut self, fields: Fields) {
        for (key, value) in fields.0 {
            match (key, value) {
                // The answer: whatever else the span waits for is nobody's time.
                ("code", Noted::Number(code)) => {
                    self.span.end_time_unix_nano = now();
                    self.span.attributes.push(KeyValue::number("rpc.grpc.status_code", code));
                }
                ("error", Noted::Text(message)) => self.span.status = Some(Status { message, code: ERROR }),
                (key, value) => self.span.attributes.push(value.named(attribute(key))),
            }
        }
    }
}

/// The name that OpenTelemetry's semantic conventions have for a field, where they have one.
fn attribute(field: &'static str) -> &'static str {
    match field {
        "pod" => "corten.pod.name",
        "pod_id" => "corten.pod.id",
        "addresses" => "corten.pod.addresses",
        "container" => "k8s.container.name",
        "container_id" => "container.id",
        "image" => "container.image.name",
        "image_id" => "container.image.id",
        other => other,
    }
}

fn begun(context: Context) -> Span {
    Span {
        trace_id: context.trace.to_vec(),
        span_id: context.span.to_vec(),
        start_time_unix_nano: now(),
        ..Span::default()
    }
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, scope: Scope<'_, S>) {
        let Some(span) = scope.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let open = match span.name() {
            CALL => self.call(&mut fields),
            STAGE => {
                let name = fields.take(STAGE).unwrap_or_default();
                within(&span, |open| open.stage(name)).flatten()
            }
            _ => return,
        };
        if let Some(open) = open {
            span.extensions_mut().insert(open);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, scope: Scope<'_, S>) {
        let Some(span) = scope.span(id) else { return };
        let mut fields = Fields::default();
        values.record(&mut fields);
        within(&span, |open| open.note(fields));
    }

    fn on_close(&self, id: Id, scope: Scope<'_, S>) {
        let Some(Open { mut span, .. }) =
            scope.span(&id).and_then(|span| span.extensions_mut().remove::<Open>())
        else {
            return;
        };
        if span.end_time_unix_nano == 0 {
            span.end_time_unix_nano = now();
        }
        self.queue.put(span);
    }
}

/// Works with the innermost span that is kept: this one, or the next around it.
fn within<'a, S: LookupSpan<'a>, T>(span: &SpanRef<'a, S>, work: impl FnOnce(&mut Open) -> T) -> Option<T> {
    let around = span.scope().find(|span| span.extensions().get::<Open>().is_some())?;
    let mut extensions = around.extensions_mut();
    extensions.get_mut::<Open>().map(work)
}

#[derive(Debug)]
enum Noted {
    Text(String),
    Number(i64),
}

impl Noted {
    fn named(self, key: &str) -> KeyValue {
        match self {
            Self::Text(text) => KeyValue::text(key, text),
            Self::Number(number) => KeyValue::number(key, number),
        }
    }
}

/// The fields of a span.
#[derive(Debug, Default)]
struct Fields(Vec<(&'static str, Noted)>);

impl Fields {
    /// Takes a text out.
    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(key, _)| *key == name)?;
        match self.0.swap_remove(at).1 {
            Noted::Text(text) => Some(text),
            Noted::Number(number) => Some(number.to_string()),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), Noted::Text(value.to_owned())));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.push((field.name(), Noted::Number(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), Noted::Text(format!("{value:?}"))));
    }
}

#[cfg(test)]
mod tests;
