//! A check of Redis or Valkey: `PING`, after a login where one is asked for, and whether it is a primary or a replica.
//! What is said and heard is RESP2, of which five lines are all that is needed
//! (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use wire::database_checks::RedisAsk;

use super::{Complaint, Fault, MAX_ANSWER, Outcome, Role};

/// The longest line that is read, in bytes.
const MAX_LINE: u64 = 1024;

/// Asks over `stream`.
pub(super) async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin, ask: &RedisAsk) -> Outcome {
    let RedisAsk { user, password } = ask;
    let mut stream = BufReader::new(stream);
    if let Some(password) = password {
        let words = ["AUTH"].into_iter().chain(user.as_deref()).chain([password.0.as_str()]);
        match command(&mut stream, words).await? {
            Answer::Text(_) => {}
            Answer::Complaint(_) => return Err(Fault::Login),
        }
    }
    match command(&mut stream, ["PING"]).await? {
        Answer::Text(text) if text == b"PONG" => {}
        Answer::Text(_) => return Err(Fault::Body),
        Answer::Complaint(Complaint::Redis("NOAUTH")) => return Err(Fault::Login),
        Answer::Complaint(complaint) => return Err(Fault::Complaint(complaint)),
    }
    match command(&mut stream, ["INFO", "replication"]).await? {
        Answer::Text(text) if contains(&text, "role:master") => Ok(Role::Writer),
        Answer::Text(text) if contains(&text, "role:slave") => Ok(Role::Standby),
        // Whoever logged in may not ask, or it is something else that speaks this protocol.
        Answer::Text(_) | Answer::Complaint(_) => Ok(Role::Any),
    }
}

fn contains(text: &[u8], wanted: &str) -> bool {
    memchr::memmem::find(text, wanted.as_bytes()).is_some()
}

enum Answer {
    Text(Vec<u8>),
    Complaint(Complaint),
}

async fn command<'a, S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    words: impl IntoIterator<Item = &'a str>,
) -> Result<Answer, Fault> {
    let words: Vec<_> = words.into_iter().collect();
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    stream.write_all(&bytes).await.map_err(|_error| Fault::Broken)?;
    let line = line(stream).await?;
    match line.split_first() {
        Some((b'+', text)) => Ok(Answer::Text(text.to_vec())),
        Some((b'-', complaint)) => Ok(Answer::Complaint(Complaint::Redis(word(complaint)))),
        Some((b'$', length)) => {
            let length = std::str::from_utf8(length).ok().and_then(|length| length.parse().ok());
            let length = length.filter(|length| (0..=MAX_ANSWER).contains(length)).ok_or(Fault::Broken)?;
            let mut text = vec![0; length + 2];
            stream.read_exact(&mut text).await.map_err(|_error| Fault::Broken)?;
            text.truncate(length);
            Ok(Answer::Text(text))
        }
        _ => Err(Fault::Broken),
    }
}

async fn line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Result<Vec<u8>, Fault> {
    let mut line = Vec::new();
    let read = stream.take(MAX_LINE).read_until(b'\n', &mut line).await;
    match read {
        Ok(_) if line.ends_with(b"\r\n") => {
            line.truncate(line.len() - 2);
            Ok(line)
        }
        Ok(_) | Err(_) => Err(Fault::Broken),
    }
}

/// The word that a complaint begins with: of those that say why a server cannot serve, for metrics and logs must not
/// have what a stranger chose.
fn word(complaint: &[u8]) -> &'static str {
    const KNOWN: [&str; 7] = ["NOAUTH", "WRONGPASS", "NOPERM", "LOADING", "BUSY", "MASTERDOWN", "MISCONF"];
    KNOWN.into_iter().find(|known| complaint.starts_with(known.as_bytes())).unwrap_or("ERR")
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use wire::balancing::Secret;

    use super::*;

    /// What comes of a server that answers so, and what it was sent.
    async fn asked(of: &RedisAsk, answers: &str) -> (Outcome, String) {
        let (near, mut far) = duplex(1 << 16);
        far.write_all(answers.as_bytes()).await.expect("said");
        let outcome = ask(near, of).await;
        let mut heard = String::new();
        far.read_to_string(&mut heard).await.expect("text");
        (outcome, heard)
    }

    #[tokio::test]
    async fn a_primary_writes_a_replica_stands_by_and_who_loads_is_not_well() {
        for (answers, expected) in [
            ("+PONG\r\n$26\r\n# Replication\r\nrole:master\r\n", Ok(Role::Writer)),
            ("+PONG\r\n$25\r\n# Replication\r\nrole:slave\r\n", Ok(Role::Standby)),
            ("+PONG\r\n-NOPERM no\r\n", Ok(Role::Any)),
            ("-LOADING Redis is loading\r\n", Err(Fault::Complaint(Complaint::Redis("LOADING")))),
            ("-something else\r\n", Err(Fault::Complaint(Complaint::Redis("ERR")))),
            ("-NOAUTH Authentication required.\r\n", Err(Fault::Login)),
            ("+HELLO\r\n", Err(Fault::Body)),
            ("HTTP/1.1 400 Bad Request\r\n\r\n", Err(Fault::Broken)),
            ("+PONG\r\n$99999999\r\n", Err(Fault::Broken)),
        ] {
            let (outcome, _) = asked(&RedisAsk::default(), answers).await;
            assert_eq!(outcome, expected, "{answers:?}");
        }
    }

    #[tokio::test]
    async fn who_has_a_password_logs_in_first() {
        let ask = RedisAsk { user: Some("check".to_owned()), password: Some(Secret("pass word".to_owned())) };
        let (outcome, heard) = asked(&ask, "+OK\r\n+PONG\r\n-NOPERM\r\n").await;
        assert_eq!(outcome, Ok(Role::Any));
        assert!(heard.starts_with("*3\r\n$4\r\nAUTH\r\n$5\r\ncheck\r\n$9\r\npass word\r\n*1\r\n"), "{heard}");
        let (outcome, _) = asked(&ask, "-WRONGPASS invalid\r\n").await;
        assert_eq!(outcome, Err(Fault::Login));
    }
}
