//! Logs in to MySQL or MariaDB without sending a password: `mysql_native_password`, and `caching_sha2_password` where
//! the server remembers the account.

use ring::digest::{Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::Fault;
use super::packet::{Channel, Greeting};

const NATIVE: &str = "mysql_native_password";
const CACHING_SHA2: &str = "caching_sha2_password";

/// What we can: a long password flag, protocol 4.1, transactions, proofs of our own length, plugins.
const CAPABILITIES: u32 = 0x1 | 0x200 | 0x2000 | 0x8000 | 0x8_0000;

/// The longest packet we would take.
const MAX_PACKET: u32 = 1 << 24;

/// utf8mb4.
const CHARACTERS: u8 = 45;

const OK: u8 = 0x00;
const MORE: u8 = 0x01;
const SWITCH: u8 = 0xfe;

/// What the server says when it remembers the account, and when it wants the password itself.
const REMEMBERED: u8 = 3;

/// Logs in as `user`.
///
/// # Errors
///
/// The server's complaint; [`Fault::LoginMethod`] where it wants another proof, or the password itself, which is not sent
/// over a connection that anybody can read.
pub(super) async fn login<S: AsyncRead + AsyncWrite + Unpin>(
    channel: &mut Channel<S>,
    greeting: Greeting,
    user: &str,
    password: Option<&str>,
) -> Result<(), Fault> {
    let known = [NATIVE, CACHING_SHA2].contains(&greeting.plugin.as_str());
    let plugin = if known { greeting.plugin.as_str() } else { NATIVE };
    let proof = proof(plugin, password, &greeting).ok_or(Fault::LoginMethod)?;
    let length = u8::try_from(proof.len()).map_err(|_too_long| Fault::Void)?;
    let packet = [
        &CAPABILITIES.to_le_bytes()[..],
        &MAX_PACKET.to_le_bytes(),
        &[CHARACTERS],
        &[0; 23],
        user.as_bytes(),
        &[0, length],
        &proof,
        plugin.as_bytes(),
        &[0],
    ];
    channel.send(&packet.concat()).await?;
    loop {
        let answer = channel.receive().await?;
        match &answer[..] {
            [OK, ..] | [MORE, OK, ..] => return Ok(()),
            [MORE, REMEMBERED, ..] => {}
            [SWITCH, rest @ ..] => {
                let other = Greeting::read_switch(rest)?;
                let proof = self::proof(&other.plugin, password, &other).ok_or(Fault::LoginMethod)?;
                channel.send(&proof).await?;
            }
            [MORE, ..] => return Err(Fault::LoginMethod),
            _ => return Err(Fault::Broken),
        }
    }
}

/// What proves that we know `password`; none where `plugin` is not known here.
fn proof(plugin: &str, password: Option<&str>, greeting: &Greeting) -> Option<Vec<u8>> {
    let password = password.unwrap_or_default().as_bytes();
    let salt = &greeting.salt;
    match plugin {
        NATIVE | CACHING_SHA2 if password.is_empty() => Some(Vec::new()),
        NATIVE => {
            let hash = |bytes: &[u8]| digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
            let once = hash(password);
            let twice = hash(once.as_ref());
            Some(mixed(&once, &hash(&[salt, twice.as_ref()].concat())))
        }
        CACHING_SHA2 => {
            let hash = |bytes: &[u8]| digest(&SHA256, bytes);
            let once = hash(password);
            let twice = hash(once.as_ref());
            Some(mixed(&once, &hash(&[twice.as_ref(), salt].concat())))
        }
        _ => None,
    }
}

fn mixed(one: &Digest, other: &Digest) -> Vec<u8> {
    one.as_ref().iter().zip(other.as_ref()).map(|(one, other)| one ^ other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a server checks it: it knows only the hash of the hash.
    #[test]
    fn proofs_are_those_that_a_server_can_check() {
        let salt = *b"12345678901234567890";
        let greeting = |plugin: &str| Greeting { plugin: plugin.to_owned(), salt };
        let given = proof(NATIVE, Some("secret"), &greeting(NATIVE)).expect("known");
        let hash = |bytes: &[u8]| digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
        let stored = hash(hash(b"secret").as_ref());
        let mask = hash(&[&salt[..], stored.as_ref()].concat());
        let once: Vec<u8> = given.iter().zip(mask.as_ref()).map(|(given, mask)| given ^ mask).collect();
        assert_eq!(hash(&once).as_ref(), stored.as_ref());
        let given = proof(CACHING_SHA2, Some("secret"), &greeting(CACHING_SHA2)).expect("known");
        let hash = |bytes: &[u8]| digest(&SHA256, bytes);
        let stored = hash(hash(b"secret").as_ref());
        let mask = hash(&[stored.as_ref(), &salt[..]].concat());
        let once: Vec<u8> = given.iter().zip(mask.as_ref()).map(|(given, mask)| given ^ mask).collect();
        assert_eq!(hash(&once).as_ref(), stored.as_ref());
        assert_eq!(proof(NATIVE, None, &greeting(NATIVE)), Some(Vec::new()));
        assert_eq!(proof("client_ed25519", Some("secret"), &greeting(NATIVE)), None);
    }
}
