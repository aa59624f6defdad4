//! What virtual machines need: the daemon, an accelerator, images.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Finding, Report};
use crate::config::{Config, LB};
use crate::ports::libvirt::{Acceleration, Image, daemon_version};

/// Lets those who are neither owner nor of the group pass through a directory.
const OTHERS_MAY_ENTER: u32 = 0o001;

pub(super) async fn check(config: &Config, report: &mut Report) {
    report.add("libvirt", daemon_version(&config.libvirt_uri).await.map_err(|error| error.to_string()));
    let found = Acceleration::probe(&config.state_dir).await;
    report.add(
        "virtualization",
        if found.kvm {
            Finding::Good(format!("KVM: {}", found.why))
        } else {
            Finding::Poor(format!("machines are emulated, and ten times slower: {}", found.why))
        },
    );
    report.add("permissions", passage(&config.state_dir));
    let mut images: BTreeMap<&Path, Vec<&str>> = BTreeMap::new();
    let own = config.services.iter().filter(|service| !service.is_external());
    let services = own.map(|service| (service.name.as_str(), &service.hardware));
    for (name, hardware) in services.chain([(LB, &config.lb)]) {
        images.entry(&hardware.image).or_default().push(name);
        if let Some(path) = &hardware.user_data
            && let Err(error) = std::fs::read_to_string(path)
        {
            report.add(&format!("user data of {name}"), Err(format!("{}: {error}", path.display())));
        }
    }
    for (image, users) in images {
        let what = format!("image of {}", users.join(", "));
        report.add(&what, Image::verify(image).map_err(|error| error.to_string()));
    }
}

/// QEMU runs as a user of its own, who must get as far as a machine's files.
fn passage(directory: &Path) -> Result<String, String> {
    for ancestor in directory.ancestors() {
        let mode =
            ancestor.metadata().map_err(|error| format!("{}: {error}", ancestor.display()))?.permissions();
        if mode.mode() & OTHERS_MAY_ENTER == 0 {
            let path = ancestor.display();
            return Err(format!(
                "QEMU's user may not pass through {path}: chmod o+x {path}, or choose another state_dir"
            ));
        }
    }
    Ok(format!("QEMU's user may pass through to {}", directory.display()))
}
