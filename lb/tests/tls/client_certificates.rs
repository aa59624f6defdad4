//! Who has to show a certificate, what upstreams are told of it, and that nobody can say so of himself.

use crate::authority::{Authority, Issued};
use crate::peers::{Said, curl, s_client};
use crate::stage::{NAME, PORT, Stage};

/// A balancer that asks for certificates of the CA of the second part, on a second listener too that asks for none.
async fn asking(how: &str) -> (Stage, Authority) {
    let clients = Authority::new("clients' CA");
    let tls = format!("client_certificates = \"{how}\"\nclient_ca_file = {:?}", clients.file());
    let stage =
        Stage::with(&tls, |_| format!("[[listener]]\naddress = \"ADDRESS:{}\"\n[listener.tls]\n", PORT + 1))
            .await;
    (stage, clients)
}

async fn with(stage: &Stage, certificate: Option<&Issued>, more: &[&str]) -> Said {
    let mut arguments = more.to_vec();
    if let Some(Issued { chain_file, key_file, .. }) = certificate {
        let [chain, key] = [chain_file, key_file].map(|file| file.to_str().expect("text"));
        arguments.extend(["--cert", chain, "--key", key]);
    }
    curl(&stage.ca.file(), NAME, stage.tls(), "/", &arguments).await
}

#[tokio::test]
async fn a_certificate_is_asked_for_looked_at_and_passed_on() {
    let (stage, clients) = asking("required").await;
    let good = clients.client("alice");
    let said = with(&stage, Some(&good), &[]).await;
    assert!(said.ok && said.out.starts_with("HTTP/2 200"), "{said:?}");
    assert!(said.out.contains("x-client-cert-subject: CN=alice\n"), "{said:?}");
    let told = said.out.lines().find_map(|line| line.strip_prefix("client-cert: ")).expect("RFC 9440");
    let lines: String = good.chain.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    assert_eq!(told, format!(":{lines}:"));
    for version in ["--tlsv1.3", "--tls-max"] {
        let more: &[&str] = if version == "--tls-max" { &["--tls-max", "1.2"] } else { &[version] };
        let none = with(&stage, None, more).await;
        assert!(!none.ok && none.has("alert"), "{none:?}");
        let stranger = stage.ca.client("mallory");
        let refused = with(&stage, Some(&stranger), more).await;
        assert!(!refused.ok && refused.has("alert unknown ca"), "{refused:?}");
        // One for servers is none for clients.
        let server = with(&stage, Some(&clients.server(&[NAME])), more).await;
        assert!(!server.ok && server.has("alert"), "{server:?}");
        assert!(with(&stage, Some(&good), more).await.ok);
    }
    stage.counts("no_client_certificate", 2.0).await;
    stage.counts("client_certificate", 4.0).await;
}

#[tokio::test]
async fn where_it_is_optional_the_upstream_is_told_the_truth_whatever_the_client_says() {
    let (stage, clients) = asking("optional").await;
    let forged = [
        "-HClient-Cert: :AAAA:",
        "-HX-Client-Cert-Subject: CN=root",
        "-HX_Client_Cert_Subject: CN=root",
        "-HClient-Cert-Chain: :AAAA:",
    ];
    let said = with(&stage, None, &forged).await;
    assert!(said.ok && !said.out.to_lowercase().contains("client"), "{said:?}");
    let alice = clients.client("alice");
    let said = with(&stage, Some(&alice), &forged).await;
    assert!(said.ok && said.out.contains("x-client-cert-subject: CN=alice\n"), "{said:?}");
    assert!(!said.out.contains("root") && !said.out.contains(":AAAA:"), "{said:?}");
    // A client can also ask that something is dropped on the way.
    let said = with(&stage, Some(&alice), &["-HConnection: client-cert, x-client-cert-subject"]).await;
    assert!(said.ok && said.out.contains("x-client-cert-subject: CN=alice\n"), "{said:?}");
    // What is too large to be kept goes another way through the proxy.
    let upload = stage.ca.path().join("upload");
    std::fs::write(&upload, vec![b'x'; 1_000_000]).expect("written");
    let data = format!("@{}", upload.display());
    let large = ["--data-binary", &data, "-HConnection: client-cert, x-client-cert-subject"];
    for shown in [None, Some(&alice)] {
        let said = with(&stage, shown, &[&forged[..], &large].concat()).await;
        assert!(said.ok && said.out.contains("\r\n\r\n1000000\n"), "{said:?}");
        assert!(!said.out.contains("root") && !said.out.contains(":AAAA:"), "{said:?}");
        assert!(said.out.contains("x-forwarded-proto: https\n"), "{said:?}");
        let told =
            said.out.contains("x-client-cert-subject: CN=alice\n") && said.out.contains("\nclient-cert: :");
        assert_eq!(told, shown.is_some(), "{said:?}");
    }
    let plain = crate::client::get(stage.balancer.clients(), "/").await.text();
    assert!(plain.contains("x-forwarded-proto: http\n"), "{plain}");
}

#[tokio::test]
async fn a_session_that_resumes_is_whose_it_was_and_opens_no_other_door() {
    let (stage, clients) = asking("required").await;
    let alice = clients.client("alice");
    let session = stage.ca.path().join("session");
    let session = session.to_str().expect("text");
    let [chain, key] = [&alice.chain_file, &alice.key_file].map(|file| file.to_str().expect("text"));
    let ca = stage.ca.file();
    for version in ["-tls1_2", "-tls1_3"] {
        let first =
            s_client(&ca, NAME, stage.tls(), &[version, "-cert", chain, "-key", key, "-sess_out", session])
                .await;
        assert!(first.ok && first.has("x-client-cert-subject: CN=alice"), "{first:?}");
        let again = s_client(&ca, NAME, stage.tls(), &[version, "-sess_in", session]).await;
        assert!(again.ok && again.has("Reused, "), "{version}: {again:?}");
        assert!(again.has("x-client-cert-subject: CN=alice"), "{version}: {again:?}");
        // A session of the listener that asks for nothing is none here.
        let other = std::net::SocketAddr::new(stage.balancer.address, PORT + 1);
        let first = s_client(&ca, NAME, other, &[version, "-sess_out", session]).await;
        assert!(first.ok, "{first:?}");
        let refused = s_client(&ca, NAME, stage.tls(), &[version, "-sess_in", session]).await;
        assert!(!refused.has("Reused, ") && !refused.has("HTTP/1.1 200"), "{version}: {refused:?}");
        let there = s_client(&ca, NAME, other, &[version, "-sess_in", session]).await;
        assert!(there.has("Reused, "), "{version}: {there:?}");
    }
}
