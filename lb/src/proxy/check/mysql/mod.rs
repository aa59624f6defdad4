//! A check of MySQL or MariaDB: the greeting, a login where one is asked for, and then what the server says of itself:
//! whether it takes writes, and whether its Galera node is in step with the others.
//!
//! Three packets and two queries do not need a client of MySQL's whole protocol with its pools and types, so they are
//! written here (<https://mariadb.com/kb/en/clientserver-protocol/>).

mod login;
mod packet;

use tokio::io::{AsyncRead, AsyncWrite};
use wire::database_checks::MysqlAsk;

use self::packet::{Channel, Greeting};
use super::{Complaint, Fault, Outcome, Role};

/// A node of Galera that is in step with the others (`wsrep_local_state`).
const SYNCED: u8 = 4;

/// Whoever is not known to it is refused with this: the server is there.
const ACCESS_DENIED: u16 = 1045;

/// Whether it takes writes. Unlike `SELECT`, a node of Galera that is not ready answers this too.
const READ_ONLY: &str = "SHOW GLOBAL VARIABLES LIKE 'read_only'";

/// How its Galera node is.
const GALERA: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_local_state', 'wsrep_ready')";

/// Asks over `stream`.
pub(super) async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin, ask: &MysqlAsk) -> Outcome {
    let MysqlAsk { user, password, galera } = ask;
    let mut channel = Channel::new(stream);
    let greeting = Greeting::read(&channel.receive().await?)?;
    let Some(user) = user else {
        // Who says nothing after the greeting is counted as an error, and shut out after a hundred (`max_connect_errors`);
        // who is refused is not.
        return match login::login(&mut channel, greeting, "", None).await {
            Ok(()) | Err(Fault::Complaint(Complaint::Mysql(ACCESS_DENIED)) | Fault::LoginMethod) => {
                Ok(Role::Any)
            }
            Err(fault) => Err(fault),
        };
    };
    let password = password.as_ref().map(|password| password.0.as_str());
    match login::login(&mut channel, greeting, user, password).await {
        Err(Fault::Complaint(Complaint::Mysql(ACCESS_DENIED))) => return Err(Fault::Login),
        outcome => outcome?,
    }
    let mut read_only = false;
    channel
        .query(READ_ONLY, |_name, value| read_only = !value.eq_ignore_ascii_case(b"off") && value != b"0")
        .await?;
    if *galera {
        let (mut state, mut ready) = (None, false);
        let take = |name: &[u8], value: &[u8]| match name {
            b"wsrep_ready" => ready = value.eq_ignore_ascii_case(b"on"),
            // It has one digit.
            _ => state = value.first().map(|digit| digit.saturating_sub(b'0')),
        };
        channel.query(GALERA, take).await?;
        if !ready || state != Some(SYNCED) {
            return Err(Fault::Galera { state, ready });
        }
    }
    channel.quit().await;
    Ok(if read_only { Role::Standby } else { Role::Writer })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use wire::balancing::Secret;

    use super::*;

    /// As MariaDB 10.11 says it.
    fn greeting(plugin: &str) -> Vec<u8> {
        let mut bytes =
            b"\x0a5.5.5-10.11.19-MariaDB\0\x05\0\0\x0012345678\0\xfe\xf7\x2d\x02\0\xff\x81\x15".to_vec();
        bytes.extend_from_slice(b"\0\0\0\0\0\0\x1d\0\0\0901234567890\0");
        bytes.extend_from_slice(plugin.as_bytes());
        bytes.push(0);
        bytes
    }

    async fn say(stream: &mut DuplexStream, number: u8, bytes: &[u8]) {
        let length = u8::try_from(bytes.len()).expect("short");
        stream.write_all(&[length, 0, 0, number]).await.expect("said");
        stream.write_all(bytes).await.expect("said");
    }

    async fn hear(stream: &mut DuplexStream) -> Vec<u8> {
        let mut head = [0; 4];
        stream.read_exact(&mut head).await.expect("a head");
        let mut bytes = vec![0; usize::from(head[0])];
        stream.read_exact(&mut bytes).await.expect("a packet");
        bytes
    }

    async fn answer(stream: &mut DuplexStream, rows: &[(&str, &str)]) {
        assert_eq!(hear(stream).await[0], 3, "a query");
        say(stream, 1, &[2]).await;
        for number in [2, 3] {
            say(stream, number, b"\x03def").await;
        }
        say(stream, 4, b"\xfe\0\0\x02\0").await;
        for (name, value) in rows {
            let mut row = vec![u8::try_from(name.len()).expect("short")];
            row.extend_from_slice(name.as_bytes());
            row.push(u8::try_from(value.len()).expect("short"));
            row.extend_from_slice(value.as_bytes());
            say(stream, 5, &row).await;
        }
        say(stream, 6, b"\xfe\0\0\x02\0").await;
    }

    async fn asked<F: Future<Output = ()>>(of: MysqlAsk, server: impl FnOnce(DuplexStream) -> F) -> Outcome {
        let (near, far) = duplex(1 << 16);
        tokio::join!(ask(near, &of), server(far)).0
    }

    fn with_login(galera: bool) -> MysqlAsk {
        MysqlAsk { user: Some("check".to_owned()), password: Some(Secret("secret".to_owned())), galera }
    }

    #[tokio::test]
    async fn the_greeting_is_enough_where_nobody_logs_in() {
        let outcome = asked(MysqlAsk::default(), async |mut far| {
            say(&mut far, 0, &greeting("mysql_native_password")).await;
            hear(&mut far).await;
            say(&mut far, 2, b"\xff\x15\x04#28000Access denied").await;
        });
        assert_eq!(outcome.await, Ok(Role::Any));
        let outcome = asked(MysqlAsk::default(), async |mut far| {
            say(&mut far, 0, b"\xff\x10\x04#08004Too many connections").await;
        });
        assert_eq!(outcome.await, Err(Fault::Complaint(Complaint::Mysql(1040))));
        let outcome = asked(MysqlAsk::default(), async |mut far| {
            far.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.expect("said");
        });
        assert_eq!(outcome.await, Err(Fault::Broken));
    }

    #[tokio::test]
    async fn who_is_read_only_stands_by_and_a_node_out_of_step_is_not_well() {
        for (galera, read_only, status, expected) in [
            (false, "OFF", [].as_slice(), Ok(Role::Writer)),
            (false, "ON", &[], Ok(Role::Standby)),
            (true, "OFF", &[("wsrep_local_state", "4"), ("wsrep_ready", "ON")], Ok(Role::Writer)),
            (
                true,
                "OFF",
                &[("wsrep_local_state", "2"), ("wsrep_ready", "ON")],
                Err(Fault::Galera { state: Some(2), ready: true }),
            ),
            (
                true,
                "OFF",
                &[("wsrep_local_state", "4"), ("wsrep_ready", "OFF")],
                Err(Fault::Galera { state: Some(4), ready: false }),
            ),
            // No Galera at all.
            (true, "OFF", &[], Err(Fault::Galera { state: None, ready: false })),
        ] {
            let outcome = asked(with_login(galera), async |mut far| {
                say(&mut far, 0, &greeting("mysql_native_password")).await;
                hear(&mut far).await;
                say(&mut far, 2, b"\0\0\0\x02\0\0\0").await;
                answer(&mut far, &[("read_only", read_only)]).await;
                if galera {
                    answer(&mut far, status).await;
                }
                if expected.is_ok() {
                    assert_eq!(hear(&mut far).await, [1], "it takes its leave");
                }
            });
            assert_eq!(outcome.await, expected);
        }
    }

    #[tokio::test]
    async fn logins_are_refused_or_go_another_way() {
        let outcome = asked(with_login(false), async |mut far| {
            say(&mut far, 0, &greeting("mysql_native_password")).await;
            hear(&mut far).await;
            say(&mut far, 2, b"\xff\x15\x04#28000Access denied").await;
        });
        assert_eq!(outcome.await, Err(Fault::Login));
        // Another plugin, whose fast path is taken; then the one that would need the password itself.
        for (more, expected) in [(b"\x01\x03", Ok(Role::Writer)), (b"\x01\x04", Err(Fault::LoginMethod))] {
            let outcome = asked(with_login(false), async |mut far| {
                say(&mut far, 0, &greeting("mysql_native_password")).await;
                hear(&mut far).await;
                say(&mut far, 2, b"\xfecaching_sha2_password\0abcdefghijklmnopqrst\0").await;
                assert_eq!(hear(&mut far).await.len(), 32, "a scramble of SHA-256");
                say(&mut far, 4, more).await;
                if expected.is_ok() {
                    say(&mut far, 5, b"\0\0\0\x02\0\0\0").await;
                    answer(&mut far, &[("read_only", "OFF")]).await;
                    hear(&mut far).await;
                }
            });
            assert_eq!(outcome.await, expected);
        }
        let outcome = asked(with_login(false), async |mut far| {
            say(&mut far, 0, &greeting("mysql_native_password")).await;
            hear(&mut far).await;
            say(&mut far, 2, b"\xfeclient_ed25519\0abcdefghijklmnopqrst\0").await;
        });
        assert_eq!(outcome.await, Err(Fault::LoginMethod));
    }
}
