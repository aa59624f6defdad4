//! `manager check`: whether this host can be run with its configuration, and how to mend what cannot.

use std::path::Path;

use anyhow::{Result, bail};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo};

use crate::config::{Config, Hypervisor};

/// Checks the host and prints one line for each thing checked.
///
/// # Errors
///
/// When at least one check failed.
pub fn check(path: &Path, config: &Config) -> Result<()> {
    let mut failures = 0;
    let mut report = |what: &str, result: Result<String, String>| match result {
        Ok(detail) => println!("ok    {what}: {detail}"),
        Err(remedy) => {
            failures += 1;
            println!("FAIL  {what}: {remedy}");
        }
    };
    report("configuration", Ok(format!("{} is valid", path.display())));
    report("address", address(config));
    report("bridge", bridge(&config.bridge));
    report("state directory", state_directory(config));
    match config.hypervisor {
        Hypervisor::Namespaces => {
            report("privileges", privileges());
            report("programs", programs(config));
        }
        Hypervisor::Libvirt => {}
    }
    if failures > 0 {
        bail!("{failures} checks failed");
    }
    Ok(())
}

fn address(config: &Config) -> Result<String, String> {
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

fn bridge(name: &str) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let link = runtime.block_on(async {
        use futures_util::TryStreamExt;
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        let mut links = handle.link().get().match_name(name.to_owned()).execute();
        links.try_next().await.ok().flatten().ok_or_else(|| {
            format!("there is no interface `{name}`: ip link add {name} type bridge && ip link set {name} up")
        })
    })?;
    let is_bridge = link.attributes.iter().any(|attribute| {
        matches!(attribute, LinkAttribute::LinkInfo(infos) if infos.contains(&LinkInfo::Kind(InfoKind::Bridge)))
    });
    if !is_bridge {
        return Err(format!("`{name}` is not a bridge: name one in `bridge`"));
    }
    let setting = |file: &str| std::fs::read_to_string(format!("/sys/class/net/{name}/bridge/{file}"));
    if setting("stp_state").is_ok_and(|state| state.trim() != "0") {
        return Err(format!(
            "spanning tree makes new machines deaf for seconds: ip link set {name} type bridge stp_state 0"
        ));
    }
    Ok(format!("{name} is there"))
}

fn state_directory(config: &Config) -> Result<String, String> {
    let directory = config.state_dir.display();
    std::fs::create_dir_all(&config.state_dir).map_err(|error| format!("{directory}: {error}"))?;
    let probe = config.state_dir.join(".check");
    std::fs::write(&probe, b"").map_err(|error| format!("{directory} cannot be written to: {error}"))?;
    std::fs::remove_file(&probe).map_err(|error| format!("{directory}: {error}"))?;
    Ok(format!("{directory} can be written to"))
}

fn privileges() -> Result<String, String> {
    if nix::unistd::geteuid().is_root() {
        Ok("root".to_owned())
    } else {
        Err("namespace machines need root, or a user namespace in which one is root".to_owned())
    }
}

fn programs(config: &Config) -> Result<String, String> {
    let needed = std::iter::once("lb").chain(config.services.iter().map(|service| service.program.as_str()));
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
