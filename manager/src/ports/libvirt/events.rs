//! Lifecycle events of libvirt: the one place where its C interface is called directly, because the
//! `virt` crate has no events of domains.
//!
//! Events are hints. They come from a thread of this module's own, in which libvirt's event loop runs.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use uuid::Uuid;
use virt::connect::Connect;
use virt::error::Error;
use virt::sys;

/// libvirt's event loop fails only when something is wrong with it; then this is the pause.
const LOOP_AGAIN: Duration = Duration::from_millis(100);

/// A domain ended.
#[derive(Debug)]
pub(super) struct DomainEnded {
    pub(super) uuid: Uuid,
    pub(super) crashed: bool,
}

type Ends = UnboundedSender<DomainEnded>;

/// Starts libvirt's event loop, once in the life of the process; before any connection is opened, or that
/// connection has no events and no keep-alive.
pub(super) fn start_loop() -> Result<(), Error> {
    static STARTED: OnceLock<Result<(), Error>> = OnceLock::new();
    STARTED
        .get_or_init(|| {
            // What fails is told by the calls' results; libvirt would also print it.
            virt::error::clear_error_callback();
            virt::event::event_register_default_impl()?;
            // Detached: it has nothing to finish when the process ends.
            thread::spawn(|| {
                loop {
                    if let Err(error) = virt::event::event_run_default_impl() {
                        tracing::warn!("libvirt's event loop: {}", error.message());
                        thread::sleep(LOOP_AGAIN);
                    }
                }
            });
            Ok(())
        })
        .clone()
}

/// Has ends of domains told on `ends` for as long as the connection is open and this is not dropped.
pub(super) struct Subscription {
    connect: Connect,
}

impl Subscription {
    pub(super) fn new(connect: &Connect, ends: Ends) -> Result<Self, Error> {
        let opaque = Box::into_raw(Box::new(ends));
        // SAFETY: the connection is open, as `connect` holds a reference to it. `opaque` is a live
        // `Box<Ends>`, which is what `on_event` and `free_ends` expect. On success libvirt owns it and
        // calls `free_ends` once, after the last `on_event`.
        let registered = unsafe {
            sys::virConnectDomainEventRegister(
                connect.as_ptr(),
                Some(on_event),
                opaque.cast(),
                Some(free_ends),
            )
        };
        if registered < 0 {
            let error = Error::last_error();
            // SAFETY: libvirt refused it and so never calls `free_ends`; nobody else has the pointer.
            drop(unsafe { Box::from_raw(opaque) });
            return Err(error);
        }
        Ok(Subscription { connect: connect.clone() })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // SAFETY: the connection is open, as `self.connect` holds a reference; a callback that is not
        // registered any more is an error that changes nothing.
        unsafe { sys::virConnectDomainEventDeregister(self.connect.as_ptr(), Some(on_event)) };
    }
}

unsafe extern "C" fn on_event(
    _connect: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    event: c_int,
    _detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    let crashed = event == sys::VIR_DOMAIN_EVENT_CRASHED as c_int;
    if !crashed && event != sys::VIR_DOMAIN_EVENT_STOPPED as c_int {
        return 0;
    }
    let mut uuid = [0; 16];
    // SAFETY: libvirt gives a valid domain for the time of the call, and a UUID has VIR_UUID_BUFLEN = 16 bytes. `opaque` is the `Box<Ends>` of
    // `Subscription::new`, freed only after the last call; it is only shared here, and `Ends` is `Sync`.
    let (got_uuid, ends) =
        unsafe { (sys::virDomainGetUUID(domain, uuid.as_mut_ptr()), &*opaque.cast_const().cast::<Ends>()) };
    if got_uuid == 0 {
        // Nobody listens any more only when the driver is gone.
        let _ = ends.send(DomainEnded { uuid: Uuid::from_bytes(uuid), crashed });
    }
    // What is returned means nothing.
    0
}

unsafe extern "C" fn free_ends(opaque: *mut c_void) {
    // SAFETY: the pointer of `Subscription::new`, given back once, after the last `on_event`.
    drop(unsafe { Box::from_raw(opaque.cast::<Ends>()) });
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;
    use tokio::time::timeout;
    use virt::domain::Domain;

    use super::*;

    /// libvirt has a hypervisor for tests in its library, with one domain, and it sends the same events.
    #[tokio::test]
    async fn ends_of_domains_are_told_while_subscribed() {
        start_loop().expect("a loop");
        let connect = Connect::open(Some("test:///default")).expect("the test hypervisor");
        let (tell, mut ends) = unbounded_channel();
        let subscription = Subscription::new(&connect, tell).expect("subscribed");
        let domain = Domain::lookup_by_name(&connect, "test").expect("its domain");
        let uuid = domain.get_uuid().expect("a UUID");
        domain.destroy().expect("destroyed");
        let ended = timeout(Duration::from_secs(20), ends.recv()).await.expect("told").expect("subscribed");
        assert_eq!((ended.uuid, ended.crashed), (uuid, false));

        domain.create().expect("started again");
        drop(subscription);
        domain.destroy().expect("destroyed");
        // The callback's owner was freed with the subscription: nobody can tell any more.
        assert!(timeout(Duration::from_secs(20), ends.recv()).await.expect("closed").is_none());
    }
}
