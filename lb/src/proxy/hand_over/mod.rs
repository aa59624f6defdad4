//! Hands virtual addresses over to another balancer without failing a request.
//!
//! ```text
//!   closing     each answer is the last one on its connection; those without a request are closed
//!      ▼        until none is left from before, or their time is over
//!   holding     new connections get no answer for a moment; the last ones finish
//!      ▼
//!   releasing   the speaker offers the addresses; another balancer takes them
//!      ▼                                      │ nobody did
//!   done        what was held back is sent    ▼
//!               on to the new holder       undone: what was held back is taken here
//! ```
//!
//! Whatever happens on the way, the end is the same: nothing is held back and no connection is told to
//! close. Each step ends by its own time, whoever asked for the hand-over may be gone by then.

mod filter;
pub(crate) mod first_packet;
mod held;
mod kernel;
mod listeners;
mod running;
mod vips;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use wire::Problem;
use wire::hand_over::{HandOver, HandOverOrder, HandOverState};
use wire::vip::{RouterState, VipStatus};

pub(crate) use self::listeners::Listeners;
use self::running::Running;
use self::vips::Vip;
pub(crate) use self::vips::{OnVip, Vips};
use super::lock;
use crate::link::VipLink;
use crate::settings::Settings;

/// An address that has just come is kept for so long: neighbours that have not heard of it are helped by the balancer
/// that had it, and what they sent there in vain is sent again.
const SETTLE: Duration = Duration::from_secs(1);

/// Hands over, one hand-over at a time.
#[derive(Debug)]
pub(crate) struct HandOvers {
    pub(crate) vips: Arc<Vips>,
    pub(crate) listeners: Listeners,
    link: VipLink,
    /// Held by the one that is on its way.
    turn: Arc<tokio::sync::Mutex<()>>,
    view: Mutex<HandOver>,
}

impl HandOvers {
    pub(crate) fn new(settings: &Settings) -> Self {
        HandOvers {
            vips: Arc::new(Vips::new(settings)),
            listeners: Listeners::default(),
            link: VipLink::new(&settings.state_dir),
            turn: Arc::default(),
            view: Mutex::default(),
        }
    }

    /// The present or the last one.
    pub(crate) fn view(&self) -> HandOver {
        lock(&self.view).clone()
    }

    /// Begins one; it goes on by itself.
    ///
    /// # Errors
    ///
    /// A problem of 400 when the order cannot be meant; of 409 when another one is on its way, or this
    /// balancer does not hold the addresses; of 503 when the VIP speaker does not answer.
    pub(crate) async fn begin(self: &Arc<Self>, order: HandOverOrder) -> Result<HandOver, Problem> {
        if let Some((field, expected)) = order.wrong() {
            return Err(Problem::bad_parameter(field, expected));
        }
        let Ok(turn) = self.turn.clone().try_lock_owned() else {
            return Err(Problem::conflict("a hand-over is on its way already: GET /hand-over shows it"));
        };
        let status = self.link.status().await.map_err(|error| Problem::unavailable(error.to_string()))?;
        let is_meant = |vip: &Vip| order.addresses.is_empty() || order.addresses.contains(&vip.address);
        let is_chosen = |vip: &Vip| is_meant(vip) && is_held(&status, vip);
        let all = self.vips.all().iter().enumerate();
        let chosen: Vec<usize> = all.filter(|(_, vip)| is_chosen(vip)).map(|(at, _)| at).collect();
        if chosen.is_empty() {
            return Err(Problem::conflict(
                "this balancer holds none of the addresses that are to be handed over",
            ));
        }
        {
            let mut view = lock(&self.view);
            *view = HandOver {
                number: view.number + 1,
                state: HandOverState::Closing,
                addresses: chosen.iter().map(|at| self.vips.all()[*at].address).collect(),
                ..HandOver::default()
            };
        }
        let settled = settled(&status, chosen.iter().map(|at| &self.vips.all()[*at]));
        let running = Running::new(self.clone(), chosen, settled);
        tokio::spawn(async move {
            let _turn = turn;
            running.run(&order).await;
        });
        Ok(self.view())
    }
}

/// When the addresses will have been here for long enough.
fn settled<'a>(status: &VipStatus, vips: impl Iterator<Item = &'a Vip>) -> Instant {
    let held = vips.filter_map(|vip| status.routers.iter().find(|router| router.address == vip.address));
    let least = held.map(|router| Duration::from_millis(router.for_ms)).min().unwrap_or(SETTLE);
    Instant::now() + SETTLE.saturating_sub(least)
}

/// Whether the address is held here.
fn is_held(status: &VipStatus, vip: &Vip) -> bool {
    status.routers.iter().any(|router| router.address == vip.address && router.state == RouterState::Master)
}
