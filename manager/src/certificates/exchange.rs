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

use std::collections::BTreeSet;
use std::net::IpAddr;

use http::Method;
use wire::shared_secrets::SecretsExchange;

use super::keeper::Keeper;
use crate::access::unix_ms;
use crate::ports::transport::Transport;

/// Where managers take it.
const PATH: &str = "certificates/exchange";

/// What the other manager said of itself.
pub(super) struct Met {
    /// Which certificates it can get.
    pub(super) orders: BTreeSet<String>,
    /// Whether its balancer shows all that both hold now.
    pub(super) is_shown: bool,
}

impl Keeper {
    /// Answers another manager of this cluster. `is_behind` says whether the balancer here shows less than is held.
    pub fn answer(&self, told: &SecretsExchange, is_behind: impl FnOnce() -> bool) -> SecretsExchange {
        if let Some(secrets) = &told.secrets {
            self.take(secrets, unix_ms());
        }
        let is_behind = is_behind();
        let (shared, digest) = self.shared();
        let secrets = (digest != told.digest).then_some(shared);
        SecretsExchange { digest, secrets, orders: self.ids().into_iter().collect(), is_behind }
    }

    /// Sees to it that the manager at `peer` holds what this one does, and the other way round.
    ///
    /// # Errors
    ///
    /// Why there was no answer.
    pub(super) async fn exchange(&self, transport: &Transport, peer: IpAddr) -> Result<Met, String> {
        let ask = async |told: SecretsExchange| {
            let answer = transport.ask_peer(Method::POST, peer, PATH, Some(&told)).await?;
            answer.accepted().map_err(|problem| problem.detail)?.json::<SecretsExchange>()
        };
        let mut answered =
            ask(SecretsExchange { digest: self.shared().1, ..SecretsExchange::default() }).await?;
        if let Some(secrets) = answered.secrets.take() {
            self.take(&secrets, unix_ms());
            let (shared, digest) = self.shared();
            if digest != answered.digest {
                let secrets = Some(shared);
                answered = ask(SecretsExchange { digest, secrets, ..SecretsExchange::default() }).await?;
            }
        }
        let is_shown = !answered.is_behind && answered.digest == self.shared().1;
        Ok(Met { orders: answered.orders, is_shown })
    }
}
