//! Counters and their Prometheus text.
//!
//! Own code instead of a crate: the hot path is one read lock, one map look-up and four atomic
//! additions, and nothing allocates after the first request of a route. The number of series is
//! bounded, because routes come from templates and methods and statuses from fixed lists.
//!
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::process;

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "other"];

const STATUSES: [u16; 30] = [
    200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 408, 409, 412, 413, 414, 415, 416,
    422, 429, 500, 501, 503, 504, 507,
];

/// Upper bounds of the latency buckets in microseconds.
const BUCKETS_US: [u64; 12] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 10_000_000, 60_000_000];

type Gauge = Box<dyn Fn() -> f64 + Send + Sync>;

/// All counters of a server.
pub struct Metrics {
    version: &'static str,
    started_at_s: u64,
    in_flight: AtomicI64,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
    /// Per method, in the order of [`METHODS`].
    series: [RwLock<HashMap<Box<str>, Arc<Series>>>; METHODS.len()],
    gauges: RwLock<Vec<(String, String, Gauge)>>,
}

/// Counters of one method and route.
#[derive(Default)]
struct Series {
    /// In the order of [`STATUSES`], then any other.
    statuses: [AtomicU64; STATUSES.len() + 1],
    /// In the order of [`BUCKETS_US`], not cumulated, then longer.
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Metrics {
    /// Counters at zero.
    ///
    /// # Shapes and units
    /// - `version`: of the program, for `weighthouse_build_info`
    /// - `started_at_s`: when the process started, in Unix seconds
    #[must_use]
    pub fn new(version: &'static str, started_at_s: u64) -> Self {
        Self {
            version,
            started_at_s,
            in_flight: AtomicI64::new(0),
            request_bytes: AtomicU64::new(0),
            response_bytes: AtomicU64::new(0),
            series: Default::default(),
            gauges: RwLock::default(),
        }
    }

    /// Adds a value that is asked for at each scrape; `name` without the `weighthouse_` prefix.
    pub fn add_gauge<F>(&self, name: &str, help: &str, value: F)
    where
        F: Fn() -> f64 + Send + Sync + 'static,
    {
        let gauge = (name.to_owned(), help.to_owned(), Box::new(value) as Gauge);
        self.gauges.write().unwrap_or_else(PoisonError::into_inner).push(gauge);
    }

    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn add_request_bytes(&self, count: u64) {
        self.request_bytes.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn add_response_bytes(&self, count: u64) {
        self.response_bytes.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a request whose response head is ready after `took`.
    pub(super) fn count(&self, method: &str, route: &str, status: u16, took: Duration) {
        let series = self.series_of(method, route);
        let status = STATUSES.iter().position(|&s| s == status).unwrap_or(STATUSES.len());
        if let Some(counter) = series.statuses.get(status) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|&bound| bound < took_us);
        if let Some(counter) = series.buckets.get(bucket) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        series.sum_us.fetch_add(took_us, Ordering::Relaxed);
    }

    fn series_of(&self, method: &str, route: &str) -> Arc<Series> {
        let index = METHODS.iter().position(|&m| m == method).unwrap_or(METHODS.len() - 1);
        let Some(routes) = self.series.get(index) else {
            return Arc::default();
        };
        if let Some(series) = routes.read().unwrap_or_else(PoisonError::into_inner).get(route) {
            return Arc::clone(series);
        }
        let mut routes = routes.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(routes.entry(route.into()).or_default())
    }

    /// The Prometheus text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(8 << 10);
        self.render_requests(&mut out);
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let in_flight = self.in_flight.load(Ordering::Relaxed).max(0);
        head(&mut out, "weighthouse_http_in_flight", "gauge", "Requests being answered.");
        line(&mut out, format_args!("weighthouse_http_in_flight {in_flight}"));
        let name = "weighthouse_http_request_bytes_total";
        head(&mut out, name, "counter", "Bytes of request bodies received.");
        line(&mut out, format_args!("{name} {}", load(&self.request_bytes)));
        let name = "weighthouse_http_response_bytes_total";
        head(&mut out, name, "counter", "Bytes of response bodies sent.");
        line(&mut out, format_args!("{name} {}", load(&self.response_bytes)));
        for (name, help, value) in self.gauges.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let name = format!("weighthouse_{name}");
            head(&mut out, &name, "gauge", help);
            line(&mut out, format_args!("{name} {}", value()));
        }
        head(&mut out, "weighthouse_build_info", "gauge", "Version of the program.");
        line(&mut out, format_args!("weighthouse_build_info{{version=\"{}\"}} 1", self.version));
        let name = "process_start_time_seconds";
        head(&mut out, name, "gauge", "Start of the process in Unix seconds.");
        line(&mut out, format_args!("{name} {}", self.started_at_s));
        if let Some(bytes) = process::resident_bytes() {
            let name = "process_resident_memory_bytes";
            head(&mut out, name, "gauge", "Memory the process occupies.");
            line(&mut out, format_args!("{name} {bytes}"));
        }
        out
    }

    fn render_requests(&self, out: &mut String) {
        let mut all: Vec<(&str, Box<str>, Arc<Series>)> = Vec::new();
        for (method, routes) in METHODS.iter().zip(&self.series) {
            let routes = routes.read().unwrap_or_else(PoisonError::into_inner);
            all.extend(routes.iter().map(|(route, s)| (*method, route.clone(), Arc::clone(s))));
        }
        all.sort_unstable_by(|a, b| (&a.1, a.0).cmp(&(&b.1, b.0)));
        let name = "weighthouse_http_requests_total";
        head(out, name, "counter", "Requests by method, route and status.");
        for (method, route, series) in &all {
            let names = STATUSES.iter().map(u16::to_string).chain(["other".to_owned()]);
            for (status, counter) in names.zip(&series.statuses) {
                let count = counter.load(Ordering::Relaxed);
                if count > 0 {
                    line(
                        out,
                        format_args!(
                            "{name}{{method=\"{method}\",route=\"{}\",status=\"{status}\"}} {count}",
                            label(route)
                        ),
                    );
                }
            }
        }
        let name = "weighthouse_http_request_duration_seconds";
        head(out, name, "histogram", "Time to the head of the response.");
        for (method, route, series) in &all {
            let labels = format!("method=\"{method}\",route=\"{}\"", label(route));
            let bounds = BUCKETS_US
                .iter()
                .map(|&us| Duration::from_micros(us).as_secs_f64().to_string())
                .chain(["+Inf".to_owned()]);
            let mut count = 0;
            for (bound, bucket) in bounds.zip(&series.buckets) {
                count += bucket.load(Ordering::Relaxed);
                line(out, format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {count}"));
            }
            let sum = Duration::from_micros(series.sum_us.load(Ordering::Relaxed)).as_secs_f64();
            line(out, format_args!("{name}_sum{{{labels}}} {sum}"));
            line(out, format_args!("{name}_count{{{labels}}} {count}"));
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    line(out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{text}");
}

fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_appear_in_the_text_with_their_labels() {
        let metrics = Metrics::new("1.2.3", 77);
        metrics.begin();
        metrics.count("GET", "/a/{b}", 200, Duration::from_micros(700));
        metrics.count("GET", "/a/{b}", 200, Duration::from_millis(20));
        metrics.count("BREW", "/a/{b}", 418, Duration::from_secs(1000));
        metrics.add_response_bytes(5);
        metrics.add_gauge("repos", "Repositories.", || 3.0);
        let text = metrics.render();
        for line in [
            "weighthouse_http_requests_total{method=\"GET\",route=\"/a/{b}\",status=\"200\"} 2",
            "weighthouse_http_requests_total{method=\"other\",route=\"/a/{b}\",status=\"other\"} 1",
            "weighthouse_http_request_duration_seconds_bucket{method=\"GET\",route=\"/a/{b}\",le=\"0.0005\"} 0",
            "weighthouse_http_request_duration_seconds_bucket{method=\"GET\",route=\"/a/{b}\",le=\"0.001\"} 1",
            "weighthouse_http_request_duration_seconds_bucket{method=\"GET\",route=\"/a/{b}\",le=\"+Inf\"} 2",
            "weighthouse_http_request_duration_seconds_count{method=\"GET\",route=\"/a/{b}\"} 2",
            "weighthouse_http_in_flight 1",
            "weighthouse_http_response_bytes_total 5",
            "weighthouse_repos 3",
            "weighthouse_build_info{version=\"1.2.3\"} 1",
            "process_start_time_seconds 77",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(text.ends_with('\n'));
    }
}
