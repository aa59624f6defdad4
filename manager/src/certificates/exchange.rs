//! How two managers come to hold the same. Digests are compared often, what is behind them crosses the network only
//! where they differ.
//!
//! ```text
//!   asker                                   asked
//!     digest ──────────────────────────────▶ the same: digest
//!                                            another: digest, all that it holds
//!     merges; if it then holds more:
//!     digest, all that it holds ───────────▶ merges: digest
//! ```

use std::net::Ipv4Addr;

use http::Method;
use wire::shared_secrets::SecretsExchange;

use super::keeper::Keeper;
use crate::access::unix_ms;
use crate::ports::transport::Transport;

/// Where managers take it.
const PATH: &str = "certificates/exchange";

impl Keeper {
    /// Answers another manager of this cluster.
    pub fn answer(&self, told: &SecretsExchange) -> SecretsExchange {
        if let Some(secrets) = &told.secrets {
            self.take(secrets, unix_ms());
        }
        let (shared, digest) = self.shared();
        let secrets = (digest != told.digest).then_some(shared);
        SecretsExchange { digest, secrets }
    }

    /// Sees to it that the manager at `peer` holds what this one does, and the other way round.
    ///
    /// # Errors
    ///
    /// Why there was no answer.
    pub(super) async fn exchange(&self, transport: &Transport, peer: Ipv4Addr) -> Result<(), String> {
        let ask = async |told: &SecretsExchange| {
            let answer = transport.ask_peer(Method::POST, peer, PATH, Some(told)).await?;
            answer.accepted().map_err(|problem| problem.detail)?.json::<SecretsExchange>()
        };
        let answered = ask(&SecretsExchange { digest: self.shared().1, secrets: None }).await?;
        let Some(secrets) = answered.secrets else { return Ok(()) };
        self.take(&secrets, unix_ms());
        let (shared, digest) = self.shared();
        if digest != answered.digest {
            ask(&SecretsExchange { digest, secrets: Some(shared) }).await?;
        }
        Ok(())
    }
}
