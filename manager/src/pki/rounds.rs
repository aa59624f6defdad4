//! The rounds of a running manager: takes up what `init`, `join` and `revoke` left on disk, renews what gets
//! old, and sees to it that balancer and peers know who was revoked.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use http::Method;
use kit::tls::TlsListener;
use tokio::net::TcpListener;
use wire::tls::Revocations;

use super::keeper::Pki;
use crate::access::listen::serve;
use crate::executor::Shared;
use crate::ports::transport::Transport;
use crate::tls::origin::by_tls;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);

/// How often peers are asked for their list of revocations: this manager may have been away, or they when it told
/// them.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// Where managers have their list of revocations.
const REVOCATIONS: &str = "pki/revocations";

/// What fails in the same way is said again only after so long.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// One manager's rounds.
pub struct Rounds {
    /// Where its API answers by TLS.
    pub tls: SocketAddr,
    /// That API.
    pub router: Router,
    /// The engine knows peers and balancer.
    pub shared: Arc<Shared>,
    /// How these are reached.
    pub transport: Transport,
    /// The certificates.
    pub pki: Arc<Pki>,
}

impl Rounds {
    /// Goes its rounds for ever.
    pub async fn walk(self) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut asked_at: Option<Instant> = None;
        let mut troubles = Troubles::default();
        let mut serving = false;
        loop {
            ticks.tick().await;
            let (changed, found) = self.look().await;
            for trouble in found {
                troubles.say(&trouble);
            }
            if self.pki.live().is_none() {
                continue;
            }
            if !serving {
                match self.serve().await {
                    Ok(()) => serving = true,
                    Err(error) => troubles.say(&format!("cannot answer on {}: {error}", self.tls)),
                }
            }
            if let Err(error) = self.see_to_balancer().await {
                troubles.say(&format!("the balancer cannot be given a certificate: {error}"));
            }
            if changed {
                self.tell_peers();
            }
            if asked_at.is_none_or(|at| at.elapsed() >= ASK_EVERY) {
                asked_at = Some(Instant::now());
                self.ask_peers();
            }
        }
    }

    /// What is on disk, and what the clock says. Whether peers are to be told, and what is wrong.
    async fn look(&self) -> (bool, Vec<String>) {
        let pki = Arc::clone(&self.pki);
        let Seen { members, revoked, troubles } = match tokio::task::spawn_blocking(move || look(&pki)).await
        {
            Ok(seen) => seen,
            Err(error) => Seen { troubles: vec![error.to_string()], ..Seen::default() },
        };
        let first = !members.is_empty();
        for address in members {
            self.shared.ask(|engine, _| engine.admit(address));
        }
        (first || revoked, troubles)
    }

    async fn serve(&self) -> std::io::Result<()> {
        let Some(live) = self.pki.live() else { return Ok(()) };
        let listener = TlsListener::new(TcpListener::bind(self.tls).await?, live)?;
        tracing::info!(api = %self.tls, "answering by TLS");
        tokio::spawn(serve(listener, self.router.clone(), by_tls));
        Ok(())
    }

    async fn see_to_balancer(&self) -> Result<(), String> {
        let Some(lb) = self.shared.look(|engine, _| engine.ready_lb()) else { return Ok(()) };
        if !self.pki.is_certified(lb) {
            return Err(
                "it has no certificate from this host, for it was built before the host was let into its \
                        cluster: `manager vm replace` builds it anew, with one"
                    .to_owned(),
            );
        }
        let Some(machine) = self.pki.balancer_due(lb) else { return Ok(()) };
        let made = self.pki.certify_balancer(&machine, lb).map_err(|error| error.to_string())?;
        let Some((credentials, certified)) = made else { return Ok(()) };
        self.transport.tell_balancer(lb, "certificate", &credentials).await?;
        self.pki.has_certified(certified).map_err(|error| error.to_string())?;
        tracing::info!(%machine, "the balancer's certificate is renewed");
        Ok(())
    }

    /// Each on its own: one that is away holds up nobody, and asks when it is back.
    fn tell_peers(&self) {
        let Ok(revocations) = self.pki.revocations() else { return };
        for peer in self.shared.look(|engine, _| engine.peer_addresses()) {
            let (transport, told) =
                (self.transport.clone(), Revocations { revocations: revocations.clone() });
            tokio::spawn(async move {
                // That a peer cannot be reached is said where it is told of the machines.
                let _ = transport.ask_peer(Method::PUT, peer, REVOCATIONS, Some(&told)).await;
            });
        }
    }

    fn ask_peers(&self) {
        for peer in self.shared.look(|engine, _| engine.peer_addresses()) {
            let (transport, pki) = (self.transport.clone(), Arc::clone(&self.pki));
            tokio::spawn(async move {
                let answer = transport.ask_peer(Method::GET, peer, REVOCATIONS, None::<&()>).await;
                let held = answer.ok().and_then(|answer| answer.accepted().ok()?.json::<Revocations>().ok());
                let Some(Revocations { revocations }) = held else { return };
                let taken = tokio::task::spawn_blocking(move || pki.take_revocations(&revocations)).await;
                match taken {
                    Ok(Ok(false)) | Err(_) => {}
                    Ok(Ok(true)) => tracing::warn!(%peer, "it knows a newer list of revoked hosts"),
                    Ok(Err(error)) => tracing::warn!(%peer, %error, "its list of revoked hosts is not taken"),
                }
            });
        }
    }
}

#[derive(Default)]
struct Seen {
    /// The other hosts, when the certificates were just taken up.
    members: Vec<IpAddr>,
    /// There is a newer list of revocations.
    revoked: bool,
    /// What did not work. The rest is done all the same.
    troubles: Vec<String>,
}

/// Blocks while the disk does.
fn look(pki: &Pki) -> Seen {
    let mut seen = Seen::default();
    match pki.take_up() {
        Ok(false) => {}
        Ok(true) => tracing::info!(
            "the cluster's certificates are in use: other hosts are believed by certificate only"
        ),
        Err(error) => seen.troubles.push(error.to_string()),
    }
    match pki.renew() {
        Ok(false) => {}
        Ok(true) => tracing::info!("this host's certificate is renewed"),
        Err(error) => seen.troubles.push(format!("this host's certificate cannot be renewed: {error}")),
    }
    match pki.read_revocations() {
        Ok(false) => {}
        Ok(true) => {
            seen.revoked = true;
            tracing::warn!("there is a newer list of revoked hosts");
        }
        Err(error) => seen.troubles.push(error.to_string()),
    }
    match pki.new_members() {
        Ok(members) => seen.members = members,
        Err(error) => seen.troubles.push(error.to_string()),
    }
    seen
}

/// What goes wrong each second is said once a minute.
#[derive(Default)]
struct Troubles {
    said: Vec<(String, Instant)>,
}

impl Troubles {
    fn say(&mut self, trouble: &str) {
        self.said.retain(|(_, at)| at.elapsed() < SAY_AGAIN);
        if self.said.iter().all(|(said, _)| said != trouble) {
            tracing::warn!("{trouble}");
            self.said.push((trouble.to_owned(), Instant::now()));
        }
    }
}
