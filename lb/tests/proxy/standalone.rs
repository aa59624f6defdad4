//! A balancer without a manager: its file says everything.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::backend::{Backend, Reply, ok};
use crate::balancer::Balancer;
use crate::client::{Reader, get};

/// Settings with `backend` as the only one of the pool `web`, under the route `name`.
pub(crate) fn settings(name: &str, backend: &Backend) -> String {
    let (address, port) = (backend.address.ip(), backend.address.port());
    format!(
        "[upstreams]\nweb = [{{ address = \"{address}\", port = {port} }}]\n\
         [config.pools.web]\nmax_tries = 2\n[[config.routes]]\nname = \"{name}\"\npool = \"web\"\n"
    )
}

async fn source(balancer: &Balancer, path: &str) -> String {
    balancer.get(path).await.headers()["lb-source"].to_str().expect("text").to_owned()
}

#[tokio::test]
async fn its_file_is_enough() {
    let backend = Backend::start(|request| Reply::Bytes(ok(request.path()))).await;
    let page = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(page.path(), "from a file: {status}").expect("written");
    let more = format!(
        "{}path = \"/api\"\nrewrite = {{ replace_prefix = \"/\" }}\n[config.error_pages]\n404 = {{ file = {:?} }}\n",
        settings("api", &backend),
        page.path()
    );
    let mut balancer = Balancer::start_also_with(&more).await;
    for _ in 0..2 {
        assert_eq!(get(balancer.clients(), "/api/x").await.text(), "/x");
        assert_eq!(get(balancer.clients(), "/other").await.text(), "from a file: 404");
        assert_eq!(balancer.get("/health/ready").await.status(), 200);
        for path in ["/config", "/upstreams"] {
            assert_eq!(source(&balancer, path).await, "file");
        }
        let config = balancer.get_json("/config").await;
        assert_eq!((&config["generation"], &config["pools"]["web"]["max_tries"]), (&json!(0), &json!(2)));
        let id = backend.address.to_string();
        assert_eq!(balancer.record_of("web", &id).await["address"], json!(id));
        balancer.kill_and_restart().await;
    }
}

#[tokio::test]
async fn what_a_manager_pushes_outranks_the_file_until_it_is_taken_back() {
    let backends = ["file", "pushed"].map(|name| Backend::start(move |_| Reply::Bytes(ok(name))));
    let [file, pushed] = backends;
    let (file, pushed) = (file.await, pushed.await);
    let mut balancer = Balancer::start_also_with(&settings("all", &file)).await;
    assert_eq!(get(balancer.clients(), "/").await.text(), "file");
    balancer.use_pools(&[("web", &[&pushed])]).await;
    assert_eq!(get(balancer.clients(), "/").await.text(), "pushed");
    balancer.kill_and_restart().await;
    let status = balancer.get_json("/status").await;
    assert_eq!((&status["upstreams_source"], &status["config_source"]), (&json!("pushed"), &json!("file")));
    assert_eq!(get(balancer.clients(), "/").await.text(), "pushed");
    balancer.reload_with(&settings("other", &file)).await;
    assert_eq!(
        get(balancer.clients(), "/").await.text(),
        "pushed",
        "a reload does not change who ranks higher"
    );
    assert_eq!(balancer.get_json("/config").await["routes"][0]["name"], "other");
    assert_eq!(balancer.put("/config", &json!({"generation": 1, "routes": []})).await.0, 200);
    assert_eq!(get(balancer.clients(), "/").await.status(), 404);

    for path in ["/upstreams", "/config"] {
        assert_eq!(balancer.delete(path).await, 200);
        assert_eq!(balancer.delete(path).await, 404, "there is nothing more to take back");
    }
    for _ in 0..2 {
        assert_eq!(get(balancer.clients(), "/").await.text(), "file");
        assert_eq!(source(&balancer, "/upstreams").await, "file");
        balancer.kill_and_restart().await;
    }
    let bare = Balancer::start().await;
    assert_eq!(source(&bare, "/config").await, "default");
}

#[tokio::test]
async fn secrets_in_request_headers_are_not_shown() {
    let backend = Backend::start(|request| Reply::Bytes(ok(&request.headers["authorization"]))).await;
    let more = format!(
        "{}request_headers = {{ set = {{ \"Authorization\" = \"Bearer secret\" }} }}\n",
        settings("all", &backend)
    );
    let balancer = Balancer::start_also_with(&more).await;
    assert_eq!(get(balancer.clients(), "/").await.text(), "Bearer secret");
    let shown = balancer.get("/config").await.text().await.expect("text");
    assert!(shown.contains("Authorization") && !shown.contains("secret"), "{shown}");
}

#[test]
fn a_check_says_all_that_is_wrong_and_a_wrong_file_starts_nothing() {
    let directory = tempfile::tempdir().expect("directory");
    let file = directory.path().join("lb.toml");
    let begin = "machine = \"m\"\naddress = \"127.81.3.1\"\n";
    let route = "[[config.routes]]\nname = \"r\"\npool = \"web\"\n";
    for (more, check, expected) in [
        (route, true, None),
        ("[[config.routes]]\nname = \"r\"\npol = \"web\"\n", true, Some(":5:1: unknown field `pol`")),
        ("[config.error_pages]\n404 = { file = \"404.html\" }\n", true, Some(":4:16: ")),
        ("[[config.routes]]\nname = \"r\"\npol = \"web\"\n", false, Some(":5:1: unknown field `pol`")),
    ] {
        std::fs::write(&file, format!("{begin}{more}")).expect("written");
        for command in ["run", "proxy"] {
            let mut program = Command::new(env!("CARGO_BIN_EXE_lb"));
            program
                .arg(command)
                .arg("--config")
                .arg(&file)
                .args(check.then_some("--check"))
                .stdin(Stdio::null());
            let output = program.output().expect("lb starts");
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(if expected.is_some() { 2 } else { 0 }), "{errors}");
            let expected = expected.map(|expected| format!("lb: {}{expected}", file.display()));
            assert!(errors.starts_with(&expected.unwrap_or_default()), "{errors}");
        }
    }
    // Beside the settings, as it says.
    std::fs::write(&file, format!("{begin}[config.error_pages]\n404 = {{ file = \"404.html\" }}\n"))
        .expect("written");
    let checks = || {
        let mut program = Command::new(env!("CARGO_BIN_EXE_lb"));
        let output = program.args(["proxy", "--check", "--config"]).arg(&file).output().expect("lb starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let page = directory.path().join("404.html");
    for (size, code) in [(64 << 10, 0), ((64 << 10) + 1, 2)] {
        std::fs::write(&page, "x".repeat(size)).expect("written");
        assert_eq!(checks().0, Some(code), "{size}: {}", checks().1);
    }
    assert!(checks().1.contains("it has more than 65536 bytes"), "{}", checks().1);
    std::fs::write(&page, [0xff]).expect("written");
    assert!(checks().1.contains("it is no text in UTF-8"), "{}", checks().1);
}

#[tokio::test]
async fn routes_answer_the_same_from_a_file_as_when_they_are_pushed() {
    let more = "[[config.routes]]\nname = \"r\"\nredirect = { scheme = \"https\", status = 308 }\n";
    let balancer = Balancer::start_also_with(more).await;
    let ask = async || {
        let answer = Reader::connect(balancer.clients())
            .await
            .ask("GET /a?b HTTP/1.1\r\nHost: t.example\r\n\r\n")
            .await;
        (answer.status(), answer.headers["location"].clone())
    };
    let from_file = ask().await;
    assert_eq!(from_file, (308, "https://t.example/a?b".to_owned()));
    balancer.use_routes(json!([{"name": "r", "redirect": {"scheme": "https", "status": 308}}])).await;
    assert_eq!(ask().await, from_file);
}
