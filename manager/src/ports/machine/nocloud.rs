//! The files of a seed: the three that every cloud image knows (NoCloud, as cloud-init documents it), and
//! our own guests' one.

use wire::seed::{self, Seed};

use crate::address_pool::mac_text;
use crate::engine::MachineSpec;

/// Names and contents. `user_data` is for cloud images; our own have no use for it.
pub(crate) fn files(
    spec: &MachineSpec,
    user_data: Option<String>,
) -> serde_json::Result<[(&'static str, Vec<u8>); 4]> {
    let Seed { machine, address, prefix, gateway, .. } = &spec.seed;
    let incarnation = spec.purpose.incarnation;
    let mac = mac_text(spec.mac);
    let family = if gateway.is_ipv4() { 4 } else { 6 };
    // A rebuilt machine is a new instance: what is to be done once is done again. One with its own disk is not.
    let instance = if spec.persistent { machine.to_string() } else { format!("{machine}.{incarnation}") };
    Ok([
        (seed::FILE, serde_json::to_vec_pretty(&spec.seed)?),
        ("meta-data", format!("instance-id: {instance}\nlocal-hostname: {machine}\n").into_bytes()),
        // `gateway4` although netplan calls it deprecated. Of a default route under `routes`, cloud-init 22
        // (Debian 12) refuses `to: default`, and makes of `to: 0.0.0.0/0` a call of `route` for ifupdown,
        // which ignores that it is in no minimal Debian: such a guest has no gateway.
        (
            "network-config",
            format!(
                "version: 2\nethernets:\n  eth0:\n    match:\n      macaddress: \"{mac}\"\n    set-name: eth0\n    \
                 addresses: [\"{address}/{prefix}\"]\n    gateway{family}: {gateway}\n"
            )
            .into_bytes(),
        ),
        ("user-data", user_data.unwrap_or_else(|| "#cloud-config\n".to_owned()).into_bytes()),
    ])
}
