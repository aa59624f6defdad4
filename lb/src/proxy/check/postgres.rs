//! A check of PostgreSQL: its answer to one who wants to log in, and after a login whether it takes writes.

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{ErrorFields, Message};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use wire::database_checks::PostgresAsk;

use super::{Complaint, Fault, MAX_ANSWER, Outcome, Role};

/// What one is called who does not want to log in. The server has not got to know it.
const NOBODY: &str = "holdfast";

/// The server starts, stops or recovers (`cannot_connect_now`) …
const NOT_NOW: [u8; 5] = *b"57P03";

/// … has no room for one more (`too_many_connections`) …
const TOO_MANY: [u8; 5] = *b"53300";

/// … or refuses a login: the codes that begin with this.
const LOGIN_REFUSED: &[u8] = b"28";

/// The name of the field with a complaint's code.
const CODE: u8 = b'C';

/// Asks over `stream`.
pub(super) async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin, ask: &PostgresAsk) -> Outcome {
    let PostgresAsk { user, password, database } = ask;
    let name = user.as_deref().unwrap_or(NOBODY);
    let mut channel = Channel { stream, read: BytesMut::new(), left: MAX_ANSWER };
    let database = database.as_deref().unwrap_or(name);
    let parameters = [("user", name), ("database", database), ("application_name", super::USER_AGENT)];
    channel.say(|bytes| frontend::startup_message(parameters, bytes)).await?;
    if user.is_none() {
        // As `pg_isready`: whoever asks for a password or refuses one is there.
        return match channel.hear().await {
            Ok(_) => Ok(Role::Any),
            Err(Fault::Complaint(Complaint::Postgres(code))) if code != NOT_NOW && code != TOO_MANY => {
                Ok(Role::Any)
            }
            Err(fault) => Err(fault),
        };
    }
    let password = password.as_ref().map(|password| password.0.as_bytes()).unwrap_or_default();
    match login(&mut channel, name, password).await {
        Err(Fault::Complaint(Complaint::Postgres(code))) if code.starts_with(LOGIN_REFUSED) => {
            return Err(Fault::Login);
        }
        outcome => outcome?,
    }
    channel.say(|bytes| frontend::query("SELECT pg_is_in_recovery()", bytes)).await?;
    let mut role = Role::Any;
    loop {
        match channel.hear().await? {
            Message::DataRow(row) => {
                role = if row.buffer().ends_with(b"t") { Role::Standby } else { Role::Writer };
            }
            Message::ReadyForQuery(_) => break,
            _ => {}
        }
    }
    let _ = channel
        .say(|bytes| {
            frontend::terminate(bytes);
            Ok(())
        })
        .await;
    Ok(role)
}

/// Logs in, until queries may be asked.
async fn login<S: AsyncRead + AsyncWrite + Unpin>(
    channel: &mut Channel<S>,
    user: &str,
    password: &[u8],
) -> Result<(), Fault> {
    let mut scram = None;
    loop {
        match channel.hear().await? {
            Message::AuthenticationMd5Password(asked) => {
                let hash = md5_hash(user.as_bytes(), password, asked.salt());
                channel.say(|bytes| frontend::password_message(hash.as_bytes(), bytes)).await?;
            }
            Message::AuthenticationSasl(_) => {
                let begun = ScramSha256::new(password, ChannelBinding::unsupported());
                channel
                    .say(|bytes| frontend::sasl_initial_response(SCRAM_SHA_256, begun.message(), bytes))
                    .await?;
                scram = Some(begun);
            }
            Message::AuthenticationSaslContinue(asked) => {
                let scram = scram.as_mut().ok_or(Fault::Broken)?;
                scram.update(asked.data()).map_err(|_error| Fault::Broken)?;
                channel.say(|bytes| frontend::sasl_response(scram.message(), bytes)).await?;
            }
            // It has to know the password too.
            Message::AuthenticationSaslFinal(proof) => {
                let scram = scram.as_mut().ok_or(Fault::Broken)?;
                scram.finish(proof.data()).map_err(|_error| Fault::Login)?;
            }
            // The password itself is not sent over a connection that anybody can read.
            Message::AuthenticationCleartextPassword
            | Message::AuthenticationGss
            | Message::AuthenticationSspi
            | Message::AuthenticationKerberosV5
            | Message::AuthenticationScmCredential => return Err(Fault::LoginMethod),
            Message::ReadyForQuery(_) => return Ok(()),
            _ => {}
        }
    }
}

struct Channel<S> {
    stream: S,
    read: BytesMut,
    /// So much more is read, in bytes.
    left: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Channel<S> {
    async fn say(&mut self, write: impl FnOnce(&mut BytesMut) -> std::io::Result<()>) -> Result<(), Fault> {
        let mut bytes = BytesMut::new();
        // What is configured was found to have no zero bytes when it came.
        write(&mut bytes).map_err(|_unusable| Fault::Void)?;
        self.stream.write_all(&bytes).await.map_err(|_error| Fault::Broken)
    }

    /// The next message that is no complaint.
    async fn hear(&mut self) -> Result<Message, Fault> {
        loop {
            match Message::parse(&mut self.read).map_err(|_error| Fault::Broken)? {
                Some(Message::ErrorResponse(complaint)) => return Err(complained(complaint.fields())),
                Some(message) => return Ok(message),
                None => {}
            }
            let count = self.stream.read_buf(&mut self.read).await.map_err(|_error| Fault::Broken)?;
            self.left = self.left.checked_sub(count).filter(|_| count > 0).ok_or(Fault::Broken)?;
        }
    }
}

fn complained(mut fields: ErrorFields<'_>) -> Fault {
    use fallible_iterator::FallibleIterator as _;
    while let Ok(Some(field)) = fields.next() {
        if field.type_() == CODE
            && let Ok(code) = field.value_bytes().try_into()
        {
            return Fault::Complaint(Complaint::Postgres(code));
        }
    }
    Fault::Broken
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    async fn asked<F: Future<Output = ()>>(
        of: PostgresAsk,
        server: impl FnOnce(DuplexStream) -> F,
    ) -> Outcome {
        let (near, far) = duplex(1 << 16);
        tokio::join!(ask(near, &of), server(far)).0
    }

    /// Takes the first message, which has no type.
    async fn hear_startup(far: &mut DuplexStream) -> Vec<u8> {
        let length = far.read_u32().await.expect("a length") as usize;
        let mut bytes = vec![0; length - 4];
        far.read_exact(&mut bytes).await.expect("a message");
        bytes
    }

    async fn say(far: &mut DuplexStream, kind: u8, body: &[u8]) {
        far.write_u8(kind).await.expect("said");
        far.write_u32(u32::try_from(body.len()).expect("short") + 4).await.expect("said");
        far.write_all(body).await.expect("said");
    }

    fn with_login() -> PostgresAsk {
        PostgresAsk { user: Some("check".to_owned()), ..PostgresAsk::default() }
    }

    #[tokio::test]
    async fn a_server_that_would_let_somebody_in_is_well_and_one_that_starts_is_not() {
        for (kind, body, expected) in [
            (b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0".as_slice(), Ok(Role::Any)),
            (b'E', b"SFATAL\0C28000\0Mno pg_hba.conf entry\0\0", Ok(Role::Any)),
            (b'E', b"SFATAL\0C57P03\0Mstarting up\0\0", Err(Fault::Complaint(Complaint::Postgres(NOT_NOW)))),
            (b'E', b"SFATAL\0C53300\0Mtoo many\0\0", Err(Fault::Complaint(Complaint::Postgres(TOO_MANY)))),
        ] {
            let outcome = asked(PostgresAsk::default(), async |mut far| {
                let startup = hear_startup(&mut far).await;
                assert!(startup.ends_with(b"\0\0"), "{startup:?}");
                say(&mut far, kind, body).await;
            });
            assert_eq!(outcome.await, expected, "{}", body.escape_ascii());
        }
        let outcome = asked(PostgresAsk::default(), async |mut far| {
            far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("said");
        });
        assert_eq!(outcome.await, Err(Fault::Broken));
    }

    #[tokio::test]
    async fn who_recovers_stands_by() {
        for (answer, expected) in [(b't', Role::Standby), (b'f', Role::Writer)] {
            let outcome = asked(with_login(), async |mut far| {
                hear_startup(&mut far).await;
                say(&mut far, b'R', b"\0\0\0\0").await;
                say(&mut far, b'Z', b"I").await;
                assert_eq!(far.read_u8().await.expect("a query"), b'Q');
                say(&mut far, b'D', &[0, 1, 0, 0, 0, 1, answer]).await;
                say(&mut far, b'C', b"SELECT 1\0").await;
                say(&mut far, b'Z', b"I").await;
            });
            assert_eq!(outcome.await, Ok(expected));
        }
    }

    #[tokio::test]
    async fn a_password_is_not_sent_as_it_is() {
        let outcome = asked(with_login(), async |mut far| {
            hear_startup(&mut far).await;
            say(&mut far, b'R', b"\0\0\0\x03").await;
        });
        assert_eq!(outcome.await, Err(Fault::LoginMethod));
        let outcome = asked(with_login(), async |mut far| {
            hear_startup(&mut far).await;
            say(&mut far, b'E', b"SFATAL\0C28P01\0Mpassword authentication failed\0\0").await;
        });
        assert_eq!(outcome.await, Err(Fault::Login));
    }
}
