//! The report as a page, opened in a real browser: what it shows is what the JSON says.
//!
//! Chromium opens the file without a network and without help, runs what runs in it, and gives out the document as it
//! is then.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod browser;
mod document;
#[path = "../run/process.rs"]
#[allow(dead_code)]
mod process;
#[path = "../run/truth.rs"]
#[allow(dead_code)]
mod truth;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use browser::{Scheme, document_of, picture_of};
use document::{embedded, numbers, rows};
use process::{run, scratch};
use truth::{Act, Truth};

/// What must stay text wherever it is shown.
const HOSTILE: &str =
    "</script><script>document.title='hacked'</script><img src=x onerror=alert(1)> & \\\"quoted\\\"";

/// A real run in which some fail and something was broken: its page and its JSON.
fn page() -> (PathBuf, Value) {
    let truth = Truth::start(|number, _| match number {
        5 | 6 => Act::status(503),
        9 => Act::Close(String::new()),
        12 => Act::Reset,
        _ => Act::ok(),
    });
    let html = scratch("html");
    let fault = format!(
        "exec:echo '{{\"fault\": \"{}\", \"machine\": \"m-1\"}}' @300ms",
        HOSTILE.replace('\'', "'\\''")
    );
    let options = [
        "--rate",
        "40",
        "--duration",
        "1s",
        "--timeout",
        "2s",
        "--html",
        html.to_str().unwrap(),
        "--require",
        "p50<1h",
        "--fault",
        &fault,
    ];
    let ended = run(&truth.url, &options);
    // A machine that is busy with other things may have sent late; that is not what is looked at here.
    assert!(matches!(ended.code, Some(0 | 3)), "{}{}", ended.stdout, ended.stderr);
    (html, ended.json)
}

#[test]
fn every_number_on_the_page_is_the_reports() {
    let (html, report) = page();
    let shown = document_of(&html);

    let numbers = numbers(&shown);
    for number in &numbers {
        let expected = report.pointer(&number.pointer).and_then(Value::as_f64);
        let expected = expected.unwrap_or_else(|| panic!("{number:?} is not in the report"));
        assert!((number.shown - expected).abs() <= number.exact_to, "{number:?}, the report has {expected}");
    }
    let shows = |pointer: &str| numbers.iter().any(|number| number.pointer == pointer);
    for pointer in [
        "/availability_percent",
        "/succeeded",
        "/intended",
        "/sent",
        "/failed",
        "/longest_outage_ms",
        "/longest_unanswered_ms",
        "/latency_ms/p50",
        "/latency_ms/p999",
        "/latency_ms/max",
        "/failed_by_kind/http-503",
        "/failed_by_kind/reset",
        "/connections/fresh/succeeded",
        "/connections/kept/latency_ms/p99",
        "/faults/0/at_ms",
        "/faults/0/outage_ms",
        "/faults/0/failed",
        "/faults/0/recovered_after_ms",
        "/faults/0/impact/degraded_ms",
        "/faults/0/impact/p99_ms",
        "/faults/0/impact/p99_before_ms",
        "/lateness_ms/p99",
        "/uncorrected_ms/p99",
        "/samples/0/average_ms",
        "/samples/1/received_kb_per_s",
        "/thresholds/0/figure",
    ] {
        assert!(shows(pointer), "{pointer} is not on the page");
    }

    // The table behind the charts has every request once.
    let rows = rows(&shown);
    let buckets = report["timeline"]["buckets"].as_array().unwrap();
    let mut next = 0;
    for row in &rows {
        assert_eq!(row.from, next, "no bucket is left out or shown twice");
        next = row.to;
        let part = &buckets[row.from..row.to.min(buckets.len())];
        let succeeded: u64 = part.iter().map(|bucket| bucket["succeeded"].as_u64().unwrap()).sum();
        let failed: u64 = part
            .iter()
            .flat_map(|bucket| bucket["failed"].as_object().unwrap().values())
            .map(|count| count.as_u64().unwrap())
            .sum();
        assert_eq!((row.succeeded, row.failed), (succeeded, failed), "{row:?}");
    }
    assert!(next >= buckets.len());
    assert_eq!(rows.iter().map(|row| row.succeeded).sum::<u64>(), report["succeeded"]);
    assert_eq!(rows.iter().map(|row| row.failed).sum::<u64>(), report["failed"]);

    assert_eq!(embedded(&shown), report, "the JSON within the page is the report");
    fs::remove_file(html).unwrap();
}

#[test]
fn the_page_is_whole_in_itself_and_nothing_in_it_is_more_than_text() {
    let (html, report) = page();
    let text = fs::read_to_string(&html).unwrap();
    for outside in ["src=\"", "@import", "url(", "href=\"http", "<link", "<iframe", "<object"] {
        assert!(!text.contains(outside), "{outside}");
    }
    assert!(text.contains("default-src 'none'"), "the browser itself would refuse");
    let fault = report["faults"][0]["fault"].as_str().unwrap();
    assert!(fault.contains("</script>"), "{fault}");
    let shown = document_of(&html);
    let title = format!("<title>loadtest: {}", report["url"].as_str().unwrap());
    assert!(shown.contains(&title), "the title is its own");
    assert!(
        !shown.contains("<img") && shown.contains("&lt;img src=x onerror=alert(1)&gt;"),
        "what was named is shown as it is"
    );
    assert_eq!(shown.matches("<script").count(), 2, "the data and the page's own");
    // The script ran: it puts a way to save the JSON, and a cursor over each chart.
    assert!(
        shown.contains("Save the report as JSON") && shown.contains("use the arrow keys"),
        "the script ran"
    );
    assert_eq!(shown.matches("class=\"cursor\"").count(), 3, "one for each time line");
    // Whoever hears the page is told what each chart shows.
    assert_eq!(shown.matches("<svg").count(), shown.matches("role=\"img\" aria-label=\"").count());
    fs::remove_file(html).unwrap();
}

#[test]
fn it_fits_a_phone_a_desk_and_the_dark() {
    let (html, _) = page();
    // Measures itself once it is laid out; wide tables scroll inside of their own boxes.
    let measuring = scratch("html");
    let text = fs::read_to_string(&html).unwrap();
    let script =
        "<script>document.body.dataset.wider = document.documentElement.scrollWidth - innerWidth</script>";
    fs::write(&measuring, text.replace("</body>", &format!("{script}</body>"))).unwrap();
    let wider = document::between(&document_of(&measuring), "data-wider=\"", "\"").parse::<i64>().unwrap();
    assert!(wider <= 0, "{wider} pixels are beside the window");
    fs::remove_file(measuring).unwrap();

    let light = picture_of(&html, (1280, 1700), Scheme::Light);
    let dark = picture_of(&html, (1280, 1700), Scheme::Dark);
    assert_ne!(light, dark, "there are two schemes");
    fs::remove_file(html).unwrap();
}
