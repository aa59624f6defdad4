//! Prometheus during a run and just after it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::process::start;
use crate::truth::{Act, Truth};

/// A port that was free just now.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// All samples by name and labels; none if nobody answers yet.
fn scrape(address: SocketAddr) -> Option<BTreeMap<String, f64>> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let samples = text.lines().filter(|line| line.starts_with("loadtest_"));
    Some(
        samples
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
            .collect(),
    )
}

fn requests(samples: &BTreeMap<String, f64>, result: &str) -> f64 {
    let of = |connection: &str| {
        let name = format!("loadtest_requests_total{{connection=\"{connection}\",result=\"{result}\"}}");
        samples.get(&name).copied().unwrap_or(0.0)
    };
    of("fresh") + of("kept")
}

#[test]
fn the_last_scrape_has_all_of_the_run() {
    let truth = Truth::start(|number, _| if number % 10 == 3 { Act::status(502) } else { Act::ok() });
    let address = free();
    let options =
        ["--rate", "20", "--duration", "3s", "--timeout", "10s", "--prometheus", &address.to_string()];
    let begun = Instant::now();
    let mut run = start(&truth.url, &options);
    let during = loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "some requests are counted soon");
        match scrape(address) {
            Some(samples) if requests(&samples, "succeeded") > 0.0 => break samples,
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    assert_eq!(during["loadtest_wanted_requests_per_second"], 20.0);
    // The report is printed before the end waits for the scrape.
    let mut stdout = String::new();
    let mut pipe = run.child.stdout.take().unwrap();
    while !["Done.", "The run is invalid"].iter().any(|last| stdout.contains(last)) {
        let mut part = [0; 4096];
        let length = pipe.read(&mut part).unwrap();
        assert!(length > 0, "{stdout}");
        stdout.push_str(&String::from_utf8_lossy(&part[..length]));
    }
    assert!(run.child.try_wait().unwrap().is_none(), "it waits for the last scrape");
    let after = scrape(address).unwrap();
    let ended = run.wait();
    let report = &ended.json;
    assert!(ended.stderr.contains("Prometheus may read the last figures"), "{}", ended.stderr);
    assert_eq!(requests(&after, "succeeded"), report["succeeded"].as_f64().unwrap());
    assert_eq!(requests(&after, "http-502"), report["failed_by_kind"]["http-502"].as_f64().unwrap());
    let of = |sample: &str| {
        let of = |connection: &str| after[&sample.replace("LABEL", &format!("connection=\"{connection}\""))];
        of("fresh") + of("kept")
    };
    assert_eq!(of("loadtest_request_duration_seconds_count{LABEL}"), report["succeeded"].as_f64().unwrap());
    assert_eq!(
        of("loadtest_request_duration_seconds_bucket{LABEL,le=\"+Inf\"}"),
        report["succeeded"].as_f64().unwrap()
    );
    let mean =
        of("loadtest_request_duration_seconds_sum{LABEL}") / report["succeeded"].as_f64().unwrap() * 1000.0;
    let expected = report["latency_ms"]["mean"].as_f64().unwrap();
    assert!((mean - expected).abs() < expected * 0.01 + 0.01, "{mean} {expected}");
}
