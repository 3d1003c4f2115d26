//! What the server counts and measures, in Prometheus's text format.

use crate::state::Served;
use engine::Stats;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;

/// `Content-Type` of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of requests' durations in seconds: from a health check to a long answer.
const REQUEST_SECONDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Upper bounds of the time to the first token.
const FIRST_TOKEN_SECONDS: [f64; 13] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Upper bounds of the time between two tokens.
const INTER_TOKEN_SECONDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabel {
    model: String,
}

type HistogramFamily<L> = Family<L, Histogram, fn() -> Histogram>;

/// All metrics of a server.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: HistogramFamily<RouteLabel>,
    first_token_seconds: HistogramFamily<ModelLabel>,
    inter_token_seconds: HistogramFamily<ModelLabel>,
}

impl Metrics {
    /// Metrics of a server with these models.
    pub fn new(models: &[Arc<Served>]) -> Metrics {
        let mut registry = Registry::with_prefix("wen");
        let requests = Family::default();
        let request_seconds: HistogramFamily<RouteLabel> =
            Family::new_with_constructor(|| Histogram::new(REQUEST_SECONDS));
        let first_token_seconds: HistogramFamily<ModelLabel> =
            Family::new_with_constructor(|| Histogram::new(FIRST_TOKEN_SECONDS));
        let inter_token_seconds: HistogramFamily<ModelLabel> =
            Family::new_with_constructor(|| Histogram::new(INTER_TOKEN_SECONDS));
        registry.register("http_requests", "Requests by route, method and status", requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "From a request's headers to the last byte of its response",
            request_seconds.clone(),
        );
        registry.register(
            "time_to_first_token_seconds",
            "From a request's arrival to its first token",
            first_token_seconds.clone(),
        );
        registry.register(
            "inter_token_seconds",
            "Between two tokens of an answer",
            inter_token_seconds.clone(),
        );
        registry.register_collector(Box::new(Engines(models.to_vec())));
        Metrics { registry, requests, request_seconds, first_token_seconds, inter_token_seconds }
    }

    /// A request has its status. `route` and `method` come from the router's table, never from the client.
    pub fn request(&self, route: &str, method: &str, status: u16) {
        let labels = RequestLabels { route: route.to_owned(), method: method.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
    }

    /// A request's response is complete.
    pub fn request_ended(&self, route: &str, took: Duration) {
        let labels = RouteLabel { route: route.to_owned() };
        self.request_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// An answer's first token came.
    pub fn first_token(&self, model: &str, took: Duration) {
        let labels = ModelLabel { model: model.to_owned() };
        self.first_token_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A further token came.
    pub fn next_token(&self, model: &str, took: Duration) {
        let labels = ModelLabel { model: model.to_owned() };
        self.inter_token_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// The page that Prometheus reads.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

/// The engines' own counters, read when they are asked for.
struct Engines(Vec<Arc<Served>>);

impl std::fmt::Debug for Engines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|model| &model.id)).finish()
    }
}

impl Collector for Engines {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let stats: Vec<(ModelLabel, Stats)> = self
            .0
            .iter()
            .map(|model| (ModelLabel { model: model.id.clone() }, model.engine.stats()))
            .collect();
        let mut gauge = |name: &str, help: &str, value: fn(&Stats) -> usize| {
            family(&mut encoder, name, help, stats.iter().map(|(l, s)| (l, ConstGauge::new(value(s) as u64))))
        };
        gauge("engine_waiting_requests", "Requests in the queue", |s| s.waiting)?;
        gauge("engine_running_sequences", "Sequences that run", |s| s.running)?;
        gauge("engine_cache_blocks", "Cache blocks in all", |s| s.blocks_total)?;
        gauge("engine_cache_blocks_used", "Cache blocks in use", |s| s.blocks_used)?;
        gauge("engine_adapters", "Adapters that are loaded", |s| s.adapters)?;
        gauge("engine_adapter_bytes", "Memory of adapters that are loaded or still in use", |s| {
            s.adapter_bytes
        })?;
        let mut counter = |name: &str, help: &str, value: fn(&Stats) -> u64| {
            family(&mut encoder, name, help, stats.iter().map(|(l, s)| (l, ConstCounter::new(value(s)))))
        };
        counter("engine_prompt_tokens", "Prompt tokens computed", |s| s.prompt_tokens)?;
        counter("engine_cached_tokens", "Prompt tokens taken from the cache", |s| s.cached_tokens)?;
        counter("engine_proposed_tokens", "Tokens of answers that were guessed", |s| s.proposed_tokens)?;
        counter("engine_accepted_tokens", "Guessed tokens that were right", |s| s.accepted_tokens)?;
        counter("engine_generated_tokens", "Answer tokens sampled", |s| s.generated_tokens)?;
        counter("engine_steps", "Steps run", |s| s.steps)?;
        counter("engine_finished_requests", "Requests that ended", |s| s.finished_requests)?;
        counter("engine_cancelled_requests", "Requests whose client went away", |s| s.cancelled_requests)?;
        counter("engine_preemptions", "Sequences computed again because blocks ran out", |s| s.preemptions)
    }
}

/// One metric with a value for each model.
fn family<'a, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (&'a ModelLabel, M)>,
) -> Result<(), std::fmt::Error> {
    let mut values = values.peekable();
    let Some((_, first)) = values.peek() else { return Ok(()) };
    let metric_type = first.metric_type();
    let mut metric = encoder.encode_descriptor(name, help, None, metric_type)?;
    for (label, value) in values {
        value.encode(metric.encode_family(label)?)?;
    }
    Ok(())
}
