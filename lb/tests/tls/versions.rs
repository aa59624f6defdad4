//! Which versions, ciphers and protocols are spoken, as OpenSSL and curl see it.

use crate::authority::Authority;
use crate::peers::{curl, openssl, s_client};
use crate::stage::{NAME, Stage};

#[tokio::test]
async fn the_two_good_versions_are_spoken_and_no_other() {
    let stage = Stage::new("").await;
    let ca = stage.ca.file();
    let asks = async |more: &[&str]| s_client(&ca, NAME, stage.tls(), more).await;
    for (version, told) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = asks(&[version]).await;
        assert!(said.ok && said.has("HTTP/1.1 200 OK"), "{said:?}");
        assert!(said.has(&format!("New, {told}")) || said.has(&format!("Protocol  : {told}")), "{said:?}");
        assert!(said.has("Verify return code: 0 (ok)"), "{said:?}");
    }
    // OpenSSL itself only speaks these when it is told to mind nothing.
    for version in ["-tls1", "-tls1_1"] {
        let said = asks(&[version, "-cipher", "DEFAULT@SECLEVEL=0"]).await;
        // Their hello lacks what is asked for since TLS 1.2, which is found first.
        assert!(!said.ok && said.has("alert handshake failure"), "{said:?}");
    }
    stage.counts("version", 2.0).await;
}

#[tokio::test]
async fn a_listener_can_speak_the_newest_version_only() {
    let stage = Stage::new("min_version = \"1.3\"").await;
    let ca = stage.ca.file();
    assert!(s_client(&ca, NAME, stage.tls(), &["-tls1_3"]).await.has("HTTP/1.1 200 OK"));
    let said = s_client(&ca, NAME, stage.tls(), &["-tls1_2"]).await;
    assert!(!said.ok && said.has("alert protocol version"), "{said:?}");
}

#[tokio::test]
async fn ciphers_without_forward_secrecy_or_authentication_are_not_spoken() {
    let stage = Stage::new("").await;
    let ca = stage.ca.file();
    for (option, ciphers) in [
        (
            "-ciphersuites",
            ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"],
        ),
        (
            "-cipher",
            [
                "ECDHE-ECDSA-AES128-GCM-SHA256",
                "ECDHE-ECDSA-AES256-GCM-SHA384",
                "ECDHE-ECDSA-CHACHA20-POLY1305",
            ],
        ),
    ] {
        for cipher in ciphers {
            let version = if option == "-cipher" { "-tls1_2" } else { "-tls1_3" };
            let said = s_client(&ca, NAME, stage.tls(), &[version, option, cipher]).await;
            assert!(said.ok && said.has(&format!("Cipher is {cipher}")), "{said:?}");
        }
    }
    for cipher in ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA256", "AES256-GCM-SHA384"] {
        let said = s_client(&ca, NAME, stage.tls(), &["-tls1_2", "-cipher", cipher]).await;
        assert!(!said.ok && said.has("alert handshake failure"), "{cipher}: {said:?}");
    }
    stage.counts("nothing_in_common", 4.0).await;
}

#[tokio::test]
async fn a_client_and_we_agree_on_a_protocol_or_do_not_talk() {
    let stage = Stage::new("").await;
    let ca = stage.ca.file();
    let said = s_client(&ca, NAME, stage.tls(), &["-alpn", "h2,http/1.1"]).await;
    assert!(said.has("ALPN protocol: h2"), "{said:?}");
    let said = s_client(&ca, NAME, stage.tls(), &["-alpn", "http/1.1"]).await;
    assert!(said.ok && said.has("ALPN protocol: http/1.1"), "{said:?}");
    let said = s_client(&ca, NAME, stage.tls(), &["-alpn", "spdy/3"]).await;
    assert!(!said.ok && said.has("alert no application protocol"), "{said:?}");
    stage.counts("protocol", 1.0).await;
    let said = s_client(&ca, NAME, stage.tls(), &[]).await;
    assert!(said.ok && said.has("No ALPN negotiated") && said.has("HTTP/1.1 200 OK"), "{said:?}");
    // Left to itself, curl offers HTTP/2 first.
    let said = curl(&ca, NAME, stage.tls(), "/", &[]).await;
    assert!(said.ok && said.out.starts_with("HTTP/2 200"), "{said:?}");
    assert!(said.out.contains("x-forwarded-proto: https\n"), "{said:?}");
}

#[tokio::test]
async fn of_two_kinds_of_key_a_client_is_shown_the_one_it_knows() {
    let stage = Stage::with("", rsa).await;
    let ca = stage.ca.file();
    for (signatures, kind) in [
        ("ECDSA+SHA256", "Server public key is 256 bit"),
        ("RSA-PSS+SHA256", "Server public key is 2048 bit"),
        ("RSA-PSS+SHA256:ECDSA+SHA256", "Server public key is 256 bit"),
    ] {
        let said = s_client(&ca, NAME, stage.tls(), &["-sigalgs", signatures]).await;
        assert!(said.ok && said.has(kind), "{signatures}: {said:?}");
    }
}

/// A second certificate for the same name, with a key of RSA that OpenSSL makes.
fn rsa(ca: &Authority) -> String {
    let at = |file: &str| ca.path().join(file).to_str().expect("text").to_owned();
    let (key, request, chain, extensions) = (at("rsa.key"), at("rsa.csr"), at("rsa.pem"), at("rsa.ext"));
    std::fs::write(&extensions, format!("subjectAltName=DNS:{NAME}\n")).expect("written");
    let (ca_file, ca_key) = (at("ca.pem"), at("ca.key"));
    let commands = [
        vec![
            "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &request, "-subj",
            "/CN=rsa",
        ],
        vec![
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &ca_file,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-days",
            "9",
            "-extfile",
            &extensions,
            "-out",
            &chain,
        ],
    ];
    let made = std::thread::spawn({
        let commands: Vec<Vec<String>> =
            commands.iter().map(|words| words.iter().map(|&word| word.to_owned()).collect()).collect();
        move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            for words in commands {
                let words: Vec<_> = words.iter().map(String::as_str).collect();
                runtime.block_on(openssl(&words));
            }
        }
    });
    made.join().expect("made");
    format!("[[config.certificates]]\nchain_file = {chain:?}\nkey_file = {key:?}\n")
}
