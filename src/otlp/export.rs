//! The queue of ended spans, and the task that sends them away.

use crate::error::OtlpError;
use crate::layer::Spans;
use crate::message::{
    ExportTraceServiceRequest, InstrumentationScope, KeyValue, Resource, ResourceSpans, ScopeSpans, Span,
};
use crate::send::Sender;
use crate::settings::Settings;
use model::chain;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Spans that wait at most: some hundred bytes each.
const WAITING: usize = 4096;
/// Spans of one request to the collector.
const BATCH: usize = 512;
/// How long a span waits for others to go with.
const INTERVAL: Duration = Duration::from_millis(500);
/// Times that a batch is tried.
const TRIES: u32 = 3;
/// How long the last spans may take to go away when the daemon ends.
const LAST: Duration = Duration::from_secs(2);

/// Where ended spans are put.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: mpsc::Sender<Span>,
    counts: Counts,
}

impl Queue {
    /// Never waits: what finds no place is lost, and counted.
    pub(crate) fn put(&self, span: Span) {
        if self.waiting.try_send(span).is_err() {
            self.counts.overflowed.inc();
        }
    }
}

#[derive(Debug, Clone)]
struct Counts {
    all: IntCounterVec,
    sent: IntCounter,
    failed: IntCounter,
    overflowed: IntCounter,
}

impl Counts {
    fn new() -> Result<Self, prometheus::Error> {
        let help = "Spans of traces, by what became of them: sent, failed (the collector did not take them), overflowed.";
        let all = IntCounterVec::new(Opts::new("corten_spans_total", help), &["outcome"])?;
        let [sent, failed, overflowed] =
            ["sent", "failed", "overflowed"].map(|outcome| all.with_label_values(&[outcome]));
        Ok(Self { all, sent, failed, overflowed })
    }
}

pub(crate) fn queue() -> Result<(Queue, mpsc::Receiver<Span>), OtlpError> {
    let (waiting, out) = mpsc::channel(WAITING);
    Ok((Queue { waiting, counts: Counts::new()? }, out))
}

/// Sends spans to the collector, once it runs.
#[derive(Debug)]
pub struct Export {
    sender: Sender,
    out: mpsc::Receiver<Span>,
    counts: Counts,
    resource: Resource,
}

/// Begins to collect spans where an endpoint is set.
///
/// # Errors
/// The settings are no collector's, or its certificates cannot be read.
pub fn open(settings: &Settings) -> Result<Option<(Spans, Export)>, OtlpError> {
    if settings.endpoint.is_empty() {
        return Ok(None);
    }
    let sender = Sender::new(settings)?;
    let (queue, out) = queue()?;
    let counts = queue.counts.clone();
    let spans = Spans::new(queue, settings.samples_per_million);
    Ok(Some((spans, Export { sender, out, counts, resource: resource() })))
}

/// Who sends them.
fn resource() -> Resource {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let attributes = vec![
        KeyValue::text("service.name", "corten"),
        KeyValue::text("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::text("host.name", host.trim()),
        KeyValue::number("process.pid", i64::from(std::process::id())),
    ];
    Resource { attributes }
}

impl Export {
    /// Counts in a registry.
    ///
    /// # Errors
    /// The name is taken.
    pub fn register(&self, registry: &Registry) -> Result<(), OtlpError> {
        Ok(registry.register(Box::new(self.counts.all.clone()))?)
    }

    /// Sends what ends, until it is stopped; then what is left, for a moment.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut down = false;
        while let Some(first) =
            tokio::select! { first = self.out.recv() => first, () = stop.cancelled() => None }
        {
            tokio::select! { () = tokio::time::sleep(INTERVAL) => {}, () = stop.cancelled() => {} }
            self.send(first, &stop, &mut down).await;
            // All that came meanwhile, however much: the queue has to hold no more than an interval's.
            while let Ok(next) = self.out.try_recv() {
                self.send(next, &stop, &mut down).await;
            }
        }
        let rest = async {
            while let Ok(first) = self.out.try_recv() {
                self.send(first, &stop, &mut down).await;
            }
        };
        // A collector that is slow now is slow for nobody.
        let _ = tokio::time::timeout(LAST, rest).await;
    }

    async fn send(&mut self, first: Span, stop: &CancellationToken, down: &mut bool) {
        let mut spans = vec![first];
        while let (true, Ok(span)) = (spans.len() < BATCH, self.out.try_recv()) {
            spans.push(span);
        }
        let count = spans.len() as u64;
        let request = request(self.resource.clone(), spans);
        match self.try_often(&request, stop).await {
            Ok(rejected) => {
                self.counts.sent.inc_by(count.saturating_sub(rejected));
                self.counts.failed.inc_by(rejected);
                if std::mem::take(down) {
                    tracing::info!(endpoint = self.sender.endpoint(), "the collector takes spans again");
                }
            }
            Err(error) => {
                self.counts.failed.inc_by(count);
                // Once, however long it lasts.
                if !std::mem::replace(down, true) {
                    let (error, endpoint) = (chain(&error), self.sender.endpoint());
                    tracing::warn!(error, endpoint, "the collector takes no spans, and they are lost");
                }
            }
        }
    }

    async fn try_often(
        &self,
        request: &ExportTraceServiceRequest,
        stop: &CancellationToken,
    ) -> Result<u64, OtlpError> {
        let mut tries = 1;
        loop {
            match self.sender.send(request).await {
                Err(OtlpError::Unreachable(_) | OtlpError::Refused { again: true, .. })
                    if tries < TRIES && !stop.is_cancelled() =>
                {
                    tokio::time::sleep(Duration::from_millis(500 << tries)).await;
                    tries += 1;
                }
                ended => return ended,
            }
        }
    }
}

fn request(resource: Resource, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope =
        InstrumentationScope { name: "corten".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans }],
    }
}
