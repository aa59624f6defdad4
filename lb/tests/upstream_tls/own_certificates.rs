//! Upstreams that want to see a certificate.

use serde_json::json;

use crate::authority::Authority;
use crate::balancer::Balancer;
use crate::client::{get, post};
use crate::front::{Front, NAME, config, figure, pem, push, serve};

#[tokio::test]
async fn whoever_asks_is_shown_ours_and_without_one_requests_go_elsewhere() {
    for versions in [[&rustls::version::TLS13], [&rustls::version::TLS12]] {
        let balancer = Balancer::start().await;
        let ca = Authority::new("test CA");
        let strict = Front::with(config(&ca.server(&[NAME]), Some(&ca), &versions)).await;
        let lenient = Front::new(&ca.server(&[NAME])).await;
        let own = ca.client("the balancer");
        let tls = json!({"ca": pem(&ca), "server_name": NAME});
        let mut shown = tls.clone();
        shown["certificate"] = own.json();
        let policy = json!({"balance": {"algorithm": "round_robin"}});
        serve(&balancer, &[&strict, &lenient], shown, policy.clone()).await;
        for n in 0..10 {
            assert_eq!(get(balancer.clients(), &format!("/{n}")).await.status(), 200);
            // Two, as both take turns.
            for twice in ["a", "b"] {
                assert_eq!(post(balancer.clients(), &format!("/{n}/{twice}"), "body").await.status(), 200);
            }
        }
        assert!(strict.had("POST") > 0 && strict.had("GET") > 0, "{versions:?}");
        let config = balancer.get("/config").await.text().await.expect("text");
        assert!(config.contains("(hidden)") && !config.contains("PRIVATE KEY"), "{config}");
        // And now without.
        let before = strict.had("POST");
        push(&balancer, 2, tls, policy).await;
        for n in 0..10 {
            assert_eq!(get(balancer.clients(), &format!("/{n}")).await.status(), 200, "{versions:?}");
            assert_eq!(
                post(balancer.clients(), &format!("/{n}"), "body").await.status(),
                200,
                "{versions:?}"
            );
        }
        assert_eq!((strict.had("POST"), lenient.had("POST") > 10), (before, true), "{versions:?}");
        let name = "lb_upstream_tls_failures_total{reason=\"tls_own_certificate\"}";
        assert!(figure(&balancer, name).await >= 1.0, "{versions:?}");
    }
}

#[tokio::test]
async fn the_settings_file_may_name_files() {
    let ca = Authority::new("test CA");
    let own = ca.client("the balancer");
    let strict = Front::with(config(&ca.server(&[NAME]), Some(&ca), rustls::DEFAULT_VERSIONS)).await;
    let settings = format!(
        "[upstreams]\np = [{{ address = \"127.0.0.1\", port = {} }}]\n\
         [config.pools.p.tls]\nca_file = {:?}\nserver_name = \"{NAME}\"\n\
         [config.pools.p.tls.certificate]\nchain_file = {:?}\nkey_file = {:?}\n",
        strict.address.port(),
        ca.file(),
        own.chain_file,
        own.key_file,
    );
    let balancer = Balancer::start_also_with(&settings).await;
    assert_eq!(get(balancer.clients(), "/").await.status(), 200);
    // Another key in the file, which is none of the certificate's: what was there stays.
    std::fs::write(&own.key_file, ca.client("somebody else").key).expect("written");
    balancer.reload_with(&settings).await;
    let file = balancer.get_json("/status").await["file"].clone();
    assert_eq!(file["refused"], 1, "{file}");
    assert!(!file.to_string().contains("PRIVATE"), "{file}");
    assert_eq!(get(balancer.clients(), "/").await.status(), 200);
}
