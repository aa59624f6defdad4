//! The host itself: its address, its bridge, its disk.

use crate::cli::check::Finding;
use crate::config::Config;
use crate::ports::machine::network::Network;

pub(super) fn address(config: &Config) -> Result<String, String> {
    match std::net::UdpSocket::bind((config.address, 0)) {
        Ok(_) => Ok(format!("{} is this host's", config.address)),
        Err(error) => Err(format!(
            "{} is not an address of this host ({error}): ip address add {}/{} dev {}",
            config.address,
            config.address,
            config.network.prefix_len(),
            config.bridge
        )),
    }
}

pub(super) async fn bridge(name: &str) -> Finding {
    let network = match Network::new() {
        Ok(network) => network,
        Err(error) => return Finding::Bad(format!("the network cannot be asked: {error}")),
    };
    let bridge = match network.bridge(name).await {
        Ok(bridge) => bridge,
        Err(error) => return Finding::Bad(error.to_string()),
    };
    if !bridge.up {
        return Finding::Bad(format!("{name} is down: ip link set {name} up"));
    }
    if bridge.spanning_tree {
        return Finding::Bad(format!(
            "spanning tree makes new machines deaf for seconds: ip link set {name} type bridge stp_state 0"
        ));
    }
    if bridge.forward_delay > 0 {
        return Finding::Bad(format!(
            "a forward delay of {} s makes new machines deaf for so long: ip link set {name} type bridge \
             forward_delay 0",
            f64::from(bridge.forward_delay) / 100.0
        ));
    }
    if !bridge.fixed_mac {
        return Finding::Poor(format!(
            "{name} takes the MAC address of one of its ports and may change it with them: ip link set {name} \
             address {} (and in its configuration, see deploy/network)",
            bridge.mac
        ));
    }
    Finding::Good(format!("{name} is there, forwards at once and keeps its MAC address"))
}

pub(super) fn state_directory(config: &Config) -> Result<String, String> {
    let directory = config.state_dir.display();
    std::fs::create_dir_all(&config.state_dir).map_err(|error| format!("{directory}: {error}"))?;
    let probe = config.state_dir.join(".check");
    std::fs::write(&probe, b"").map_err(|error| format!("{directory} cannot be written to: {error}"))?;
    std::fs::remove_file(&probe).map_err(|error| format!("{directory}: {error}"))?;
    Ok(format!("{directory} can be written to"))
}

pub(super) fn privileges() -> Result<String, String> {
    if nix::unistd::geteuid().is_root() {
        Ok("root".to_owned())
    } else {
        Err("namespace machines need root, or a user namespace in which one is root".to_owned())
    }
}

pub(super) fn programs(config: &Config) -> Result<String, String> {
    let needed = std::iter::once("lb").chain(
        config
            .services
            .iter()
            .filter(|service| !service.is_external())
            .map(|service| service.program.as_str()),
    );
    let missing: Vec<String> = needed
        .map(|program| config.programs.join(program))
        .filter(|path| !path.is_file())
        .map(|path| path.display().to_string())
        .collect();
    if missing.is_empty() {
        Ok(format!("found in {}", config.programs.display()))
    } else {
        Err(format!("missing: {}; set `programs` to the directory they are in", missing.join(", ")))
    }
}
