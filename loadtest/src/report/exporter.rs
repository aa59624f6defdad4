//! Figures for Prometheus while a run is under way, and until they were read once more after its end.

use std::collections::HashMap;
use std::future::IntoFuture;
use std::io::{self, Write, stderr};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use kit::api::{metrics_response, process_registry, register_build_info};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Gauge, IntCounterVec, Opts, Registry};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::count::{Ledger, Tally};

/// Most often scrapes are 15 seconds apart.
const LAST_SCRAPE_WITHIN: Duration = Duration::from_secs(30);
const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Seconds; as wide as outages are.
const BOUNDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Serves the figures.
#[derive(Debug)]
pub struct Exporter {
    address: SocketAddr,
    scrapes: Arc<Scrapes>,
    serving: JoinHandle<io::Result<()>>,
}

#[derive(Debug, Default)]
struct Scrapes {
    count: AtomicU64,
    again: Notify,
    /// No more are answered than those under way.
    over: Notify,
}

/// What a scrape is answered from.
#[derive(Clone)]
struct Served {
    registry: Registry,
    scrapes: Arc<Scrapes>,
}

impl Exporter {
    /// Takes the address; nothing is served yet.
    ///
    /// # Errors
    ///
    /// When it cannot be had.
    pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
        let listener = TcpListener::bind(address).await;
        listener.with_context(|| format!("--prometheus {address}: cannot be listened on"))
    }

    /// Serves what `ledger` counts, at this rate of requests per second.
    ///
    /// # Errors
    ///
    /// Never: names and labels are constants that are valid together.
    pub fn start(listener: TcpListener, ledger: Arc<Mutex<Ledger>>, rate: f64) -> anyhow::Result<Self> {
        let registry = process_registry();
        register_build_info(&registry, "loadtest", env!("CARGO_PKG_VERSION"))?;
        registry.register(Box::new(Figures::new(ledger)?))?;
        let wanted =
            Gauge::new("loadtest_wanted_requests_per_second", "How many requests a second are wanted.")?;
        wanted.set(rate);
        registry.register(Box::new(wanted))?;
        let address = listener.local_addr()?;
        let scrapes = Arc::new(Scrapes::default());
        let served = Served { registry, scrapes: scrapes.clone() };
        let router = Router::new().route("/metrics", get(metrics)).with_state(served);
        let end = scrapes.clone();
        let serving =
            axum::serve(listener, router).with_graceful_shutdown(async move { end.over.notified().await });
        let serving = tokio::spawn(serving.into_future());
        Ok(Exporter { address, scrapes, serving })
    }

    /// Waits until the figures, which are final now, were read once more; for half a minute at most, and not after a
    /// signal.
    pub async fn last_scrape(self) {
        let before = self.scrapes.count.load(Ordering::Acquire);
        let told = format!(
            "Prometheus may read the last figures from http://{}/metrics; the end waits for {LAST_SCRAPE_WITHIN:?} at most\n",
            self.address
        );
        // Nobody may be listening.
        let _ = stderr().write_all(told.as_bytes());
        let again = async {
            // An older scrape has left a permit behind.
            while self.scrapes.count.load(Ordering::Acquire) == before {
                self.scrapes.again.notified().await;
            }
        };
        tokio::select! {
            () = again => {}
            () = tokio::time::sleep(LAST_SCRAPE_WITHIN) => {}
            _ = kit::shutdown::requested() => {}
        }
        self.scrapes.over.notify_one();
        // The last answer is still on its way.
        let _ = tokio::time::timeout(LAST_ANSWER_WITHIN, self.serving).await;
    }
}

async fn metrics(State(Served { registry, scrapes }): State<Served>) -> Response {
    let response = metrics_response(&registry);
    scrapes.count.fetch_add(1, Ordering::AcqRel);
    scrapes.again.notify_one();
    response
}

/// The ledger's sums, drawn when they are asked for: a request costs nothing more for being exported.
struct Figures {
    ledger: Arc<Mutex<Ledger>>,
    description: Desc,
}

const REQUESTS: &str = "loadtest_requests_total";
const REQUESTS_HELP: &str = "Requests that ended, by connection and by result: succeeded, or why it failed.";

const LATENESS: &str = "loadtest_lateness_p99_seconds";
const LATENESS_HELP: &str = "One request in a hundred was sent so much later than due, or more.";

impl Figures {
    fn new(ledger: Arc<Mutex<Ledger>>) -> prometheus::Result<Self> {
        let labels = ["connection", "result"].map(str::to_owned).to_vec();
        let description = Desc::new(REQUESTS.to_owned(), REQUESTS_HELP.to_owned(), labels, HashMap::new())?;
        Ok(Figures { ledger, description })
    }

    #[allow(clippy::cast_precision_loss)]
    fn families(&self) -> prometheus::Result<Vec<MetricFamily>> {
        let (fresh, kept, lateness) = {
            let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            (ledger.fresh.clone(), ledger.kept.clone(), ledger.lateness.value_at_quantile(0.99))
        };
        let requests = IntCounterVec::new(Opts::new(REQUESTS, REQUESTS_HELP), &["connection", "result"])?;
        for (name, tally) in [("fresh", &fresh), ("kept", &kept)] {
            requests.with_label_values(&[name, "succeeded"]).inc_by(tally.succeeded);
            for (kind, count) in &tally.failed {
                requests.with_label_values(&[name, kind.name()]).inc_by(*count);
            }
        }
        let late = Gauge::new(LATENESS, LATENESS_HELP)?;
        late.set(lateness as f64 / 1e6);
        let mut families = requests.collect();
        families.extend(late.collect());
        families.push(latency([("fresh", &fresh), ("kept", &kept)]));
        Ok(families)
    }
}

const LATENCY: &str = "loadtest_request_duration_seconds";
const LATENCY_HELP: &str = "From due to answered, of the requests that succeeded.";

/// What the ledger's own histograms say at the bounds; to within a thousandth.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn latency(halves: [(&str, &Tally); 2]) -> MetricFamily {
    let metrics = halves.map(|(name, tally)| {
        let latency = &tally.latency;
        let mut seen = 0;
        let mut from = 0;
        let buckets = BOUNDS.map(|bound| {
            let upto = (bound * 1e6) as u64;
            seen += latency.count_between(from, upto);
            from = upto + 1;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(seen.min(latency.len()));
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_sample_count(latency.len());
        histogram.set_sample_sum(latency.mean() * latency.len() as f64 / 1e6);
        histogram.set_bucket(buckets.to_vec());
        let mut label = LabelPair::default();
        label.set_name("connection".to_owned());
        label.set_value(name.to_owned());
        let mut metric = Metric::from_label(vec![label]);
        metric.set_histogram(histogram);
        metric
    });
    let mut family = MetricFamily::default();
    family.set_name(LATENCY.to_owned());
    family.set_help(LATENCY_HELP.to_owned());
    family.set_field_type(MetricType::HISTOGRAM);
    family.set_metric(metrics.to_vec());
    family
}

impl Collector for Figures {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Their names are constants that are valid.
        self.families().unwrap_or_default()
    }
}
