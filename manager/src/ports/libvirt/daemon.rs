//! What the libvirt daemon is asked for: the domains that were made with one state directory, and nothing
//! of anybody else's.

use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::{Domain, MemoryStat};
use virt::error::{Error, ErrorNumber};
use virt::sys;
use wire::MachineId;
use wire::cluster::Condition;

use super::connection::Connection;
use super::events::DomainEnded;
use super::metadata::{Metadata, NAMESPACE, PREFIX};
use crate::engine::ObservedUsage;
use crate::ports::hypervisor::HypervisorError;

/// Any call but that which makes a machine is answered within this.
const CALL_TIME: Duration = Duration::from_secs(5);

/// Making a machine takes less than a second; on a busy host a few.
const CREATE_TIME: Duration = Duration::from_secs(20);

/// By what a domain is found.
#[derive(Clone, Debug)]
pub(super) enum Key {
    /// Its name, which is the machine's.
    Name(MachineId),
    /// That of one whose name says nothing of what it is.
    Uuid(Uuid),
}

impl Key {
    fn find(&self, connect: &Connect) -> Result<Domain, Error> {
        match self {
            Key::Name(machine) => Domain::lookup_by_name(connect, machine.as_str()),
            Key::Uuid(uuid) => Domain::lookup_by_uuid(connect, *uuid),
        }
    }
}

/// The daemon, for one manager.
pub(super) struct Daemon {
    pub(super) connection: Connection,
    /// In the metadata of each domain of ours.
    pub(super) state_dir: String,
}

impl Daemon {
    /// The daemon at `uri`; tells on `ends` of domains that end while it is connected to.
    pub(super) fn new(uri: &str, state_dir: &Path, ends: UnboundedSender<DomainEnded>) -> Self {
        Daemon { connection: Connection::new(uri, ends), state_dir: state_dir.display().to_string() }
    }

    /// What the domains that run say of themselves.
    pub(super) async fn list(&self) -> Result<Vec<Metadata>, HypervisorError> {
        let state_dir = self.state_dir.clone();
        self.connection
            .run(CALL_TIME, move |connect| {
                let domains = connect.list_all_domains(sys::VIR_CONNECT_LIST_DOMAINS_ACTIVE)?;
                Ok(domains.iter().filter_map(|domain| own(domain, &state_dir)).collect())
            })
            .await
    }

    /// What the domains that run use. One that ends meanwhile is left out.
    pub(super) async fn usage(&self) -> Result<Vec<ObservedUsage>, HypervisorError> {
        let state_dir = self.state_dir.clone();
        self.connection
            .run(CALL_TIME, move |connect| {
                let domains = connect.list_all_domains(sys::VIR_CONNECT_LIST_DOMAINS_ACTIVE)?;
                let used = domains.iter().filter_map(|domain| {
                    let purpose = own(domain, &state_dir)?.purpose?;
                    let (info, stats) = (domain.get_info().ok()?, domain.memory_stats(0).ok()?);
                    Some(ObservedUsage {
                        machine: purpose.id,
                        incarnation: purpose.incarnation,
                        cpu: Duration::from_nanos(info.cpu_time),
                        memory_bytes: memory_kib(&stats)? << 10,
                    })
                });
                Ok(used.collect())
            })
            .await
    }

    /// Makes the domain called `name` that `xml` describes.
    pub(super) async fn create(&self, name: &str, xml: String) -> Result<(), HypervisorError> {
        let made = self.connection.run(CREATE_TIME, move |connect| {
            // It must outlive this connection: no flag that ties it to that.
            Domain::create_xml(connect, &xml, sys::VIR_DOMAIN_NONE).map(drop)
        });
        match made.await {
            Err(HypervisorError::Failed(reason)) if reason.contains("already exists") => {
                let is_it = |own: &Metadata| own.purpose.as_ref().is_some_and(|own| own.id.as_str() == name);
                let owned = self.list().await?.iter().any(is_it);
                Err(if owned {
                    HypervisorError::Exists
                } else {
                    HypervisorError::Failed(format!(
                        "libvirt has a domain called {name} that is not this manager's: rename it (virsh \
                         domrename), or this host's `name`"
                    ))
                })
            }
            made => made,
        }
    }

    /// Has the domain with this `uuid` say `metadata` of itself from now on.
    pub(super) fn label(
        &self,
        uuid: Uuid,
        metadata: Metadata,
    ) -> impl Future<Output = Result<(), HypervisorError>> + Send + use<> {
        let connection = self.connection.clone();
        async move {
            let xml = metadata.to_xml().map_err(|error| HypervisorError::Failed(error.to_string()))?;
            let labelled = connection.run(CALL_TIME, move |connect| {
                let kind = sys::VIR_DOMAIN_METADATA_ELEMENT as i32;
                let live = sys::VIR_DOMAIN_AFFECT_LIVE;
                let domain = Domain::lookup_by_uuid(connect, uuid)?;
                domain.set_metadata(kind, Some(&xml), Some(PREFIX), Some(NAMESPACE), live).map(drop)
            });
            labelled.await
        }
    }

    /// Asks the guest of the domain `key` to end, as the power button does.
    pub(super) async fn shutdown(&self, key: Key) -> Result<(), HypervisorError> {
        self.connection.run(CALL_TIME, move |connect| key.find(connect)?.shutdown().map(drop)).await
    }

    /// Has the daemon give up the domain `key`, if it has it. A daemon that is away gives it up when it comes back and finds
    /// the process gone.
    pub(super) async fn destroy(&self, key: &Key) -> Result<(), HypervisorError> {
        let (wanted, state_dir) = (key.clone(), self.state_dir.clone());
        let destroyed = self.connection.run(CALL_TIME, move |connect| {
            let domain = match wanted.find(connect) {
                Ok(domain) if own(&domain, &state_dir).is_some() => domain,
                Ok(_) => return Ok(()),
                Err(error) if error.code() == ErrorNumber::NoDomain => return Ok(()),
                Err(error) => return Err(error),
            };
            match domain.destroy() {
                // It ended by itself meanwhile.
                Err(error)
                    if matches!(error.code(), ErrorNumber::NoDomain | ErrorNumber::OperationInvalid) =>
                {
                    Ok(())
                }
                destroyed => destroyed,
            }
        });
        match destroyed.await {
            Err(HypervisorError::Prevented(Condition::HypervisorDown, reason)) => {
                tracing::debug!(?key, "fenced without the daemon: {reason}");
                Ok(())
            }
            Err(error) => Err(HypervisorError::NotFenced(error.to_string())),
            Ok(()) => Ok(()),
        }
    }
}

/// The version of the daemon at `uri`, in words.
pub(crate) async fn daemon_version(uri: &str) -> Result<String, HypervisorError> {
    let (tell, _ended) = unbounded_channel();
    let version = Connection::new(uri, tell).run(CALL_TIME, |connect| connect.get_lib_version()).await?;
    Ok(format!("{}.{}.{} at {uri}", version / 1_000_000, version / 1_000 % 1_000, version % 1_000))
}

/// What a guest uses, where its balloon driver tells; else what QEMU has of the host's memory for it, which is all that the
/// guest ever touched.
fn memory_kib(stats: &[MemoryStat]) -> Option<u64> {
    let stat = |tag| stats.iter().find(|stat| stat.tag == tag).map(|stat| stat.val);
    let free = stat(sys::VIR_DOMAIN_MEMORY_STAT_USABLE).or_else(|| stat(sys::VIR_DOMAIN_MEMORY_STAT_UNUSED));
    match (stat(sys::VIR_DOMAIN_MEMORY_STAT_AVAILABLE), free) {
        (Some(available), Some(free)) => Some(available.saturating_sub(free)),
        _ => stat(sys::VIR_DOMAIN_MEMORY_STAT_RSS),
    }
}

/// What a domain of ours says of itself; none of anybody else's.
fn own(domain: &Domain, state_dir: &str) -> Option<Metadata> {
    let kind = i32::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).ok()?;
    let xml = domain.get_metadata(kind, Some(NAMESPACE), 0).ok()?;
    Metadata::parse(&xml).filter(|metadata| metadata.state_dir == state_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_tells_is_believed_before_the_host() {
        let stat = |(tag, val): (u32, u64)| MemoryStat { tag, val };
        let rss = (sys::VIR_DOMAIN_MEMORY_STAT_RSS, 900);
        let available = (sys::VIR_DOMAIN_MEMORY_STAT_AVAILABLE, 1_000);
        let (unused, usable) =
            ((sys::VIR_DOMAIN_MEMORY_STAT_UNUSED, 300), (sys::VIR_DOMAIN_MEMORY_STAT_USABLE, 600));
        let kib = |stats: &[(u32, u64)]| memory_kib(&stats.iter().copied().map(stat).collect::<Vec<_>>());
        assert_eq!(kib(&[rss]), Some(900));
        assert_eq!(kib(&[rss, available]), Some(900));
        assert_eq!(kib(&[rss, available, unused]), Some(700));
        assert_eq!(kib(&[rss, available, unused, usable]), Some(400));
        assert_eq!(kib(&[]), None);
    }
}
