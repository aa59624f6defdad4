//! A response of the issuer's, made by OpenSSL's own responder, is shown along with the certificate.

use serde_json::json;

use crate::authority::{Authority, Issued};
use crate::peers::{openssl, s_client};
use crate::stage::{NAME, Stage};

/// What the CA says of `certificate`: that it is good, or revoked. The file that OpenSSL writes.
async fn response(ca: &Authority, certificate: &Issued, is_good: bool) -> std::path::PathBuf {
    let at = |file: &str| ca.path().join(file).to_str().expect("text").to_owned();
    let chain = certificate.chain_file.to_str().expect("text");
    let said = openssl(&["x509", "-noout", "-serial", "-in", chain]).await;
    let serial = said.out.trim().trim_start_matches("serial=").to_owned();
    let state = if is_good { "V\t401231235959Z\t" } else { "R\t401231235959Z\t200101000000Z" };
    std::fs::write(at("index.txt"), format!("{state}\t{serial}\tunknown\t/CN=server\n")).expect("written");
    let (ca_file, key, request, index) = (at("ca.pem"), at("ca.key"), at("request.der"), at("index.txt"));
    let out = at(if is_good { "good.der" } else { "revoked.der" });
    openssl(&["ocsp", "-issuer", &ca_file, "-cert", chain, "-no_nonce", "-reqout", &request]).await;
    openssl(&[
        "ocsp", "-index", &index, "-CA", &ca_file, "-rsigner", &ca_file, "-rkey", &key, "-ndays", "7",
        "-reqin", &request, "-respout", &out,
    ])
    .await;
    out.into()
}

#[tokio::test]
async fn it_is_shown_to_those_who_ask_for_it() {
    let stage = Stage::new("").await;
    let ca = stage.ca.file();
    let asks = async || s_client(&ca, NAME, stage.tls(), &["-status"]).await;
    assert!(asks().await.has("OCSP response: no response sent"));
    let certificate = stage.ca.server(&[NAME]);
    let mut pushed = certificate.json();
    let der = std::fs::read(response(&stage.ca, &certificate, true).await).expect("written");
    pushed["ocsp"] = json!(base64(&der));
    let (status, problem) = stage.push(1, &[], json!({"certificates": [pushed]})).await;
    assert_eq!(status, 200, "{problem}");
    let said = asks().await;
    assert!(
        said.ok && said.has("OCSP Response Status: successful") && said.has("Cert Status: good"),
        "{said:?}"
    );

    // Of another certificate, or a bad one: it would only keep clients away.
    let other = stage.ca.server(&[NAME]);
    let mut wrong = other.json();
    wrong["ocsp"] = pushed["ocsp"].clone();
    let (status, problem) = stage.push(2, &[], json!({"certificates": [wrong]})).await;
    assert!(status == 400 && problem.to_string().contains("found one for another"), "{problem}");
    let der = std::fs::read(response(&stage.ca, &certificate, false).await).expect("written");
    pushed["ocsp"] = json!(base64(&der));
    let (status, problem) = stage.push(2, &[], json!({"certificates": [pushed]})).await;
    assert!(status == 400 && problem.to_string().contains("the certificate is revoked"), "{problem}");
    assert!(asks().await.has("Cert Status: good"), "as before");
}

#[tokio::test]
async fn the_file_takes_it_as_openssl_writes_it() {
    let ca = Authority::new("test CA");
    let certificate = ca.server(&["file.example"]);
    let file = response(&ca, &certificate, true).await;
    let stage = Stage::with("", |_| format!("{}ocsp_file = {file:?}\n", certificate.toml())).await;
    let said = s_client(&ca.file(), "file.example", stage.tls(), &["-status"]).await;
    assert!(said.ok && said.has("Cert Status: good"), "{said:?}");
}

fn base64(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    use std::io::Write as _;
    // By OpenSSL's own hand, with lines as people have them.
    let mut child = std::process::Command::new("openssl")
        .args(["base64"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("openssl");
    child.stdin.take().expect("piped").write_all(bytes).expect("written");
    let output = child.wait_with_output().expect("it ends");
    let mut text = "-----BEGIN OCSP RESPONSE-----\n".to_owned();
    let _ = write!(text, "{}", String::from_utf8_lossy(&output.stdout));
    text + "-----END OCSP RESPONSE-----\n"
}
