//! What people and peers ask of the engine, with an answer at once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use kit::guess;
use wire::snapshot::{HostChanges, HostSnapshot, SnapshotAck};
use wire::{EndpointId, MachineId, PoolName, Problem};

use super::addresses::is_taken;
use super::desired::Others;
use super::{Engine, Life, Machine, Peer, Severity, Slot, Time, lb_id, limits, millis};

impl Engine {
    /// 404: this host has no machine `id`; perhaps another one is meant.
    pub fn no_machine(&self, id: &MachineId) -> Problem {
        let guess = guess::question(id.as_str(), self.machines.iter().map(|(id, _)| id.as_str()));
        let remedy = if guess.is_empty() { "; `manager vm list` shows those that there are" } else { &guess };
        let detail = format!("there is no machine `{id}` on this host{remedy}");
        Problem { parameter: Some("id".to_owned()), ..Problem::not_found(detail) }
    }

    /// One more machine of `service` on this host.
    ///
    /// # Errors
    ///
    /// 404 for an unknown service, 409 for one with a `total`, when the address pool is used up, and in maintenance.
    pub fn create_machine(&mut self, now: Time, service: &PoolName) -> Result<Slot, Problem> {
        self.refuse_in_maintenance()?;
        let Some(known) = self.service(service) else {
            let known: Vec<&str> = self.config.services.iter().map(|known| known.name.as_str()).collect();
            let detail =
                format!("there is no service `{service}` on this host; there is: {}", known.join(", "));
            return Err(Problem { parameter: Some("service".to_owned()), ..Problem::not_found(detail) });
        };
        if known.is_external() {
            return Err(Problem::conflict(format!(
                "the servers of `{service}` are not ours to make: see its endpoints"
            )));
        }
        self.refuse_placed(service)?;
        let Some(slot) = self.add_machine(now, service) else {
            let strangers = match self.foreign.len() {
                0 => String::new(),
                some => format!(" ({some} of them by somebody else, see GET /addresses)"),
            };
            return Err(Problem::conflict(format!(
                "all {} addresses of this host's pool are used{strangers}: delete a machine or enlarge address_pool",
                self.config.pool.addresses().len()
            )));
        };
        self.rollout_counts(service, 1);
        let message = format!("asked for; it gets {}", slot.address);
        self.note(Severity::Info, "machine.requested", slot.id.to_string(), message);
        Ok(slot)
    }

    /// One more machine of `service`, to be created; none when the address pool is used up.
    pub(super) fn add_machine(&mut self, now: Time, service: &PoolName) -> Option<Slot> {
        self.machines.settle(now);
        let others = Others {
            has_id: &|id| self.machines.get(id).is_some(),
            has_address: &|address| is_taken(&self.foreign, &self.machines, address),
        };
        let slot = self.desired.add(&self.config.name, &self.config, service, &others)?;
        self.machines.insert(slot.id.clone(), Machine::waiting(slot.clone(), now));
        Some(slot)
    }

    /// One machine less on this host: it is drained, stopped and taken away.
    ///
    /// # Errors
    ///
    /// 404 for an unknown machine, 409 for the host's balancer, for one that is on its way out, for one of a service with
    /// a `total`, and in maintenance.
    pub fn delete_machine(&mut self, now: Time, id: &MachineId) -> Result<(), Problem> {
        self.refuse_in_maintenance()?;
        let host = self.config.name.clone();
        if *id == lb_id(&host) {
            return Err(Problem::conflict("a host always has its balancer; it cannot be deleted"));
        }
        let Some(machine) = self.machines.get_mut(id) else {
            return Err(self.no_machine(id));
        };
        if !machine.wanted {
            return Err(Problem::conflict(format!("`{id}` is being taken away already")));
        }
        let service = machine.slot.service.clone();
        self.refuse_placed(&service)?;
        self.desired.remove(&host, id);
        self.rollout_counts(&service, -1);
        self.dismiss(now, id, "deleted");
        Ok(())
    }

    /// Machine `id`, which has no slot any more, is drained, stopped and taken away.
    pub(super) fn dismiss(&mut self, now: Time, id: &MachineId, reason: &str) {
        let Some(machine) = self.machines.get_mut(id) else { return };
        machine.wanted = false;
        match machine.life {
            Life::Booting { .. } | Life::Ready { .. } | Life::Suspect { .. } => machine.drain(now, reason),
            Life::Waiting { .. } | Life::Dead { .. } | Life::Draining { .. } => {}
        }
        let message = format!("{reason}: draining it first");
        self.note(Severity::Info, "machine.draining", id.to_string(), message);
    }

    /// Balancers are to send machine `id` nothing new from now on, or again what is due to it. It lives on, is rebuilt
    /// if it dies, and stays drained until that is taken back, also by a manager that is started anew.
    ///
    /// # Errors
    ///
    /// 404 for an unknown machine, 409 for the host's balancer and for one that is on its way out.
    pub fn drain_machine(&mut self, id: &MachineId, on: bool) -> Result<(), Problem> {
        if *id == lb_id(&self.config.name) {
            return Err(Problem::conflict("a balancer is relieved by a switchover: manager switchover"));
        }
        let Some(machine) = self.machines.get_mut(id) else {
            return Err(self.no_machine(id));
        };
        if !machine.wanted {
            return Err(Problem::conflict(format!("`{id}` is being taken away already")));
        }
        if machine.drained == on {
            return Ok(());
        }
        machine.drained = on;
        self.desired.set_drained(id, on);
        let (kind, message) = match on {
            true => ("machine.drained", "drained by order: balancers send it nothing new"),
            false => ("machine.undrained", "no longer drained: balancers send it requests again"),
        };
        self.note(Severity::Info, kind, id.to_string(), message.to_owned());
        Ok(())
    }

    /// A machine is to be built anew at its address: it is drained and stopped in an orderly way first. A
    /// balancer hands its VIPs over as it stops.
    ///
    /// # Errors
    ///
    /// 404 for an unknown machine, 409 for one that is on its way out, being replaced, or being rebuilt
    /// anyway, and in maintenance.
    pub fn replace_machine(&mut self, now: Time, id: &MachineId) -> Result<(), Problem> {
        self.refuse_in_maintenance()?;
        let Some(machine) = self.machines.get_mut(id) else {
            return Err(self.no_machine(id));
        };
        if !machine.wanted {
            return Err(Problem::conflict(format!("`{id}` is being taken away already")));
        }
        if machine.rests() {
            return Err(Problem::conflict(format!(
                "`{id}` stands by and does not run: it is built when it is needed"
            )));
        }
        match machine.life {
            Life::Booting { .. } | Life::Ready { .. } | Life::Suspect { .. } => {}
            Life::Draining { .. } => {
                return Err(Problem::conflict(format!("`{id}` is being replaced already")));
            }
            Life::Waiting { .. } | Life::Dead { .. } => {
                return Err(Problem::conflict(format!("`{id}` does not run; it is being built anyway")));
            }
        }
        machine.forgive(now);
        machine.drain(now, "replaced");
        let message = "to be replaced: draining it first".to_owned();
        self.note(Severity::Info, "machine.draining", id.to_string(), message);
        Ok(())
    }

    /// A peer at `from` tells everything about its host.
    ///
    /// # Errors
    ///
    /// 403 when `from` is no configured peer; 400 when the snapshot is larger than may be kept, or says
    /// what cannot be; 409 with the epoch held when it is of an older one, and when two hosts have the
    /// same name or an endpoint of the same id.
    pub fn receive(
        &mut self,
        now: Time,
        from: IpAddr,
        snapshot: HostSnapshot,
    ) -> Result<SnapshotAck, Problem> {
        let address = self.peer_at(from)?;
        limits::check(&snapshot)?;
        self.check_name(now, address, &snapshot.host)?;
        self.refuse_doubles(now, address, &snapshot)?;
        let Some(peer) = self.peers.get_mut(&address) else { return Ok(SnapshotAck::default()) };
        let first = peer.heard.is_none();
        peer.heard = Some(now);
        let newer = match &peer.held {
            Some(held) if snapshot.epoch < held.epoch => {
                let detail = format!("this host holds epoch {} of {}", held.epoch, held.host);
                return Err(Problem::stale(held.epoch, detail));
            }
            Some(held) => (snapshot.epoch, snapshot.version) >= (held.epoch, held.version),
            None => true,
        };
        peer.told = Some(now);
        peer.confirmed = now;
        if newer {
            let epoch_changed = peer.held.as_ref().is_none_or(|held| held.epoch != snapshot.epoch);
            if epoch_changed {
                peer.using = 0;
            }
            let named = snapshot.peers.clone();
            peer.ids = first_and_last(&snapshot);
            self.retired.extend(peer.held.replace(Arc::new(snapshot)));
            peer.held_since = now;
            self.learn_peers(&named);
        }
        let ack = self.holds_of(address);
        let Some(peer) = self.peers.get(&address) else { return Ok(ack) };
        if first {
            let name = peer.held.as_ref().map_or_else(String::new, |held| held.host.to_string());
            self.note(
                Severity::Info,
                "peer.heard",
                address.to_string(),
                format!("heard for the first time: {name}"),
            );
        }
        self.check_pool_overlap(address);
        Ok(ack)
    }

    /// A peer at `from` tells what has changed on its host. The answer says what is held afterwards: where that is not what
    /// the changes lead to, they were of something else, and all of it is to be told.
    ///
    /// # Errors
    ///
    /// Those of [`Engine::receive`], of the snapshot that the changes lead to.
    pub fn receive_changes(
        &mut self,
        now: Time,
        from: IpAddr,
        changes: HostChanges,
    ) -> Result<SnapshotAck, Problem> {
        let address = self.peer_at(from)?;
        let known = self.peers.get(&address).and_then(|peer| Some((peer.held.clone()?, peer.held_since)));
        let Some((held, since)) = known.filter(|(held, _)| held.host == changes.host) else {
            return Ok(self.holds_nothing());
        };
        if changes.epoch < held.epoch {
            let detail = format!("this host holds epoch {} of {}", held.epoch, held.host);
            return Err(Problem::stale(held.epoch, detail));
        }
        if (changes.epoch, changes.base) != (held.epoch, held.version) {
            return Ok(self.holds_of(address));
        }
        if !changes.is_empty() {
            let age = millis(now.saturating_sub(since));
            return self.receive(now, from, changes.apply(&held, age));
        }
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.heard = Some(now);
            peer.says_it_is_at(now, (held.epoch, held.version));
        }
        Ok(self.holds_of(address))
    }

    /// Who is at `from`.
    ///
    /// # Errors
    ///
    /// 403 when that is no peer.
    pub(super) fn peer_at(&self, from: IpAddr) -> Result<IpAddr, Problem> {
        match self.peers.contains_key(&from) {
            true => Ok(from),
            false => Err(Problem::forbidden(format!("{from} is not in this manager's list of peers"))),
        }
    }

    fn holds_nothing(&self) -> SnapshotAck {
        let own = self.published.as_ref().map(|told| (told.epoch(), told.version()));
        SnapshotAck { own, ..SnapshotAck::default() }
    }

    /// What is held of the peer at `address`.
    fn holds_of(&self, address: IpAddr) -> SnapshotAck {
        let nothing = self.holds_nothing();
        let peer = self.peers.get(&address).and_then(|peer| Some((peer, peer.held.as_ref()?)));
        peer.map_or(nothing.clone(), |(peer, held)| SnapshotAck {
            epoch: held.epoch,
            version: held.version,
            applied: peer.using,
            ..nothing
        })
    }

    /// What two hosts both claim as theirs. Our balancer would take no set with an id in it twice.
    fn refuse_doubles(&mut self, now: Time, from: IpAddr, snapshot: &HostSnapshot) -> Result<(), Problem> {
        // Ids begin with the name of their host, so that those of two hosts are nearly always apart.
        let Some((first, last)) = first_and_last(snapshot) else { return Ok(()) };
        self.settle(now);
        let is_near = |peer: &Peer| {
            let (theirs, other) = (peer.ids.as_ref(), peer.address != from);
            other && theirs.is_some_and(|(start, end)| *start <= last && first <= *end)
        };
        if !self.machines.has_ids_between(&first, &last) && !self.peers.values().any(is_near) {
            return Ok(());
        }
        let others =
            || self.peers.values().filter(|peer| peer.address != from).filter_map(|peer| peer.held.as_ref());
        let told: BTreeSet<&EndpointId> = snapshot.endpoints.iter().map(|endpoint| &endpoint.id).collect();
        let own = self.endpoints();
        let mut known = own.iter().chain(others().flat_map(|other| &other.endpoints));
        match known.find(|endpoint| told.contains(&endpoint.id)) {
            None => Ok(()),
            Some(double) => Err(Problem::conflict(format!("another host has an endpoint {} too", double.id))),
        }
    }

    fn check_pool_overlap(&mut self, peer: IpAddr) {
        if let Some(warning) = self.pool_overlap(peer)
            && !self.overlaps_told.contains(&peer)
        {
            self.overlaps_told.insert(peer);
            self.note(Severity::Error, "peer.pool-overlap", peer.to_string(), warning);
        }
    }

    /// Every overlap with a peer's pool.
    pub(super) fn pool_overlaps(&self) -> impl Iterator<Item = String> {
        self.peers.keys().filter_map(|peer| self.pool_overlap(*peer))
    }

    /// Two managers that may give away the same address: nothing good can come of it.
    pub(super) fn pool_overlap(&self, peer: IpAddr) -> Option<String> {
        let held = self.peers.get(&peer)?.held.as_ref()?;
        let address = self.config.pool.overlap(&held.address_pool)?;
        Some(format!(
            "address_pool of {} ({}) and of {} share {address}: change one of them, or two machines get the same address",
            self.config.name,
            self.config.pool.to_texts().join(", "),
            held.host,
        ))
    }
}

/// The first and the last of the ids of its endpoints.
fn first_and_last(snapshot: &HostSnapshot) -> Option<(EndpointId, EndpointId)> {
    let ids = || snapshot.endpoints.iter().map(|endpoint| &endpoint.id);
    Some((ids().min()?.clone(), ids().max()?.clone()))
}
