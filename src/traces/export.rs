//! The queue of spans, and the task that sends them to the collector.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry::KeyValue;
use opentelemetry_otlp::{RetryPolicy, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanExporter},
};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep},
};

use super::{TracesError, client::CollectorClient, settings::Settings};

/// Spans that wait at the most.
const QUEUE: usize = 4096;

/// Spans of one request at the most.
const BATCH: usize = 512;

/// How long the first span of a request waits for others.
const GATHER: Duration = Duration::from_secs(1);

/// Between two looks whether all is sent.
const GLANCE: Duration = Duration::from_millis(5);

/// Characters of an error in a log line.
const ERROR: usize = 256;

/// Takes spans without waiting.
pub(super) struct SpanQueue {
    spans: mpsc::Sender<SpanData>,
    counts: Arc<SpanCounts>,
}

#[derive(Default)]
struct SpanCounts {
    /// In the queue, or being sent.
    pending: AtomicUsize,
    dropped: AtomicU64,
    /// Whether it was logged that there is no room, since the last request that succeeded.
    is_logged: AtomicBool,
    hurry: Notify,
}

/// The exporter of OTLP over HTTP.
pub(super) fn exporter(
    settings: &Settings,
) -> Result<opentelemetry_otlp::SpanExporter, TracesError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(CollectorClient::new(settings)?)
        // Its waits would block a thread of the runtime.
        .with_retry_policy(RetryPolicy::disabled())
        .build();
    let mut exporter = exporter.map_err(|error| TracesError::Exporter(error.to_string()))?;
    let resource = Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    let resource = if settings.is_named { resource } else { resource.with_service_name("as2hook") };
    exporter.set_resource(&resource.build());
    Ok(exporter)
}

// === impl SpanQueue ===

impl SpanQueue {
    pub(super) fn start(exporter: impl SpanExporter + 'static) -> Self {
        let (spans, queued) = mpsc::channel(QUEUE);
        let counts = Arc::new(SpanCounts::default());
        tokio::spawn(run(queued, exporter, counts.clone()));
        Self { spans, counts }
    }

    pub(super) fn push(&self, span: SpanData) {
        self.counts.pending.fetch_add(1, Ordering::Relaxed);
        if self.spans.try_send(span).is_err() {
            self.counts.pending.fetch_sub(1, Ordering::Relaxed);
            self.counts.add_dropped(1);
            if !self.counts.is_logged.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    queue = QUEUE,
                    "Spans are dropped, since the queue of the OTLP exporter is full."
                );
            }
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all is sent, for so long at the most.
    pub(super) async fn flush(&self, within: Duration) {
        let deadline = Instant::now() + within;
        while self.counts.pending.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
            self.counts.hurry.notify_one();
            sleep(GLANCE).await;
        }
    }
}

// === impl SpanCounts ===

impl SpanCounts {
    fn add_dropped(&self, spans: usize) {
        let spans = u64::try_from(spans).unwrap_or(u64::MAX);
        self.dropped.fetch_add(spans, Ordering::Relaxed);
    }
}

async fn run(
    mut queued: mpsc::Receiver<SpanData>,
    exporter: impl SpanExporter,
    counts: Arc<SpanCounts>,
) {
    let mut is_failing = false;
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        if queued.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        tokio::select! {
            () = async {
                while batch.len() < BATCH {
                    let room = BATCH - batch.len();
                    if queued.recv_many(&mut batch, room).await == 0 {
                        return;
                    }
                }
            } => {}
            () = sleep(GATHER) => {}
            () = counts.hurry.notified() => {}
        }
        let spans = batch.len();
        match exporter.export(batch).await {
            Ok(()) => {
                if std::mem::take(&mut is_failing) {
                    tracing::info!("Spans are exported again.");
                }
                counts.is_logged.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                counts.add_dropped(spans);
                if !std::mem::replace(&mut is_failing, true) {
                    let error: String = error.to_string().chars().take(ERROR).collect();
                    tracing::warn!(
                        error,
                        spans,
                        "Spans cannot be exported, and are dropped until the OTLP collector takes them."
                    );
                }
            }
        }
        counts.pending.fetch_sub(spans, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::{Mutex, PoisonError},
    };

    use opentelemetry::{
        InstrumentationScope,
        trace::{SpanContext, SpanId, SpanKind, Status},
    };
    use opentelemetry_sdk::{
        error::{OTelSdkError, OTelSdkResult},
        trace::{SpanEvents, SpanLinks},
    };

    use super::*;

    /// A collector that takes, refuses or hangs.
    #[derive(Clone, Debug)]
    enum Collector {
        Takes(Arc<Mutex<Vec<usize>>>),
        Refuses,
        Hangs,
    }

    impl SpanExporter for Collector {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            match self {
                Self::Takes(batches) => {
                    let mut batches = batches.lock().unwrap_or_else(PoisonError::into_inner);
                    batches.push(batch.len());
                    Ok(())
                }
                Self::Refuses => Err(OTelSdkError::InternalFailure("no".to_owned())),
                Self::Hangs => pending().await,
            }
        }
    }

    fn span() -> SpanData {
        let now = std::time::SystemTime::now();
        SpanData {
            span_context: SpanContext::empty_context(),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "span".into(),
            start_time: now,
            end_time: now,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn spans_are_sent_together_and_at_once_when_flushed() {
        let batches = Arc::new(Mutex::new(Vec::new()));
        let queue = SpanQueue::start(Collector::Takes(batches.clone()));
        for _ in 0..3 {
            queue.push(span());
        }
        let begun = Instant::now();
        queue.flush(Duration::from_secs(60)).await;
        assert!(begun.elapsed() < GATHER);
        assert_eq!(*batches.lock().unwrap(), [3]);
        assert_eq!(queue.dropped(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn collector_that_hangs_costs_spans_and_no_time() {
        let queue = SpanQueue::start(Collector::Hangs);
        let begun = Instant::now();
        for _ in 0..BATCH + QUEUE + 7 {
            queue.push(span());
            // As far as the task takes any.
            tokio::task::yield_now().await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(queue.dropped(), 7);
        queue.flush(Duration::from_secs(1)).await;
        assert!(begun.elapsed() < Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn spans_that_are_refused_are_counted() {
        let queue = SpanQueue::start(Collector::Refuses);
        queue.push(span());
        queue.push(span());
        queue.flush(Duration::from_secs(60)).await;
        assert_eq!(queue.dropped(), 2);
    }
}
