//! What of a settings file that is read anew cannot be taken while the balancer runs.

use super::Settings;

impl Settings {
    /// The keys whose values are others in `fresh`, and which stay as they are until the program is started anew.
    pub(crate) fn unchangeable(&self, fresh: &Settings) -> Vec<&'static str> {
        // `proxying` and whatever else can be taken is not compared: by name, so that nothing is forgotten.
        let Settings {
            source: _,
            refused: _,
            machine,
            address,
            interface,
            zone,
            listeners,
            admin,
            admin_changes,
            managers,
            state_dir,
            state_dir_given,
            workers,
            vips,
            bgp,
            notify,
            limits,
            access_log,
            request_id,
            tracing,
            proxying: _,
        } = self;
        [
            ("machine", *machine != fresh.machine),
            ("address", *address != fresh.address),
            ("interface", *interface != fresh.interface),
            ("zone", *zone != fresh.zone),
            ("listener", *listeners != fresh.listeners),
            ("admin_port", admin.port() != fresh.admin.port()),
            ("admin_changes_port", admin_changes.port() != fresh.admin_changes.port()),
            ("managers", *managers != fresh.managers),
            ("state_dir", !state_dir_given && *state_dir != fresh.state_dir),
            ("workers", *workers != fresh.workers),
            ("vip", *vips != fresh.vips),
            ("bgp", *bgp != fresh.bgp),
            ("notify", *notify != fresh.notify),
            ("limits", *limits != fresh.limits),
            ("access_log", *access_log != fresh.access_log),
            ("request_id", *request_id != fresh.request_id),
            ("tracing", *tracing != fresh.tracing),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }
}
