//! The `[[service]]` parts of the configuration.

use std::path::{Path, PathBuf};

use kit::config::{ConfigError, Source, Spanned};
use serde::Deserialize;
use wire::PoolName;

#[cfg(test)]
use super::hardware::DEFAULT_VCPUS;
use super::hardware::{DEFAULT_MEMORY_MIB, Hardware, HardwareFile};
use super::{LB, check_name};

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name, and that of its pool.
    pub name: PoolName,
    /// The program its machines run.
    pub program: String,
    /// Where its machines listen.
    pub port: u16,
    /// How many machines this host has of it at first.
    pub replicas: u32,
    /// What its machines are made of.
    pub hardware: Hardware,
}

/// A service, and the machines of it that this host has.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceFile {
    /// Its name and that of its pool, written as a host's `name`; not `lb`, which is the balancer.
    name: Spanned<PoolName>,
    /// What its machines run: an image bundle, or a program for namespace machines.
    #[serde(default = "default_program")]
    program: String,
    /// Where its machines answer, 1 to 65535.
    #[serde(default = "default_service_port")]
    port: Spanned<u16>,
    /// How many machines this host has of it at first; later that is what `manager vm create` and `delete` made of it.
    replicas: u32,
    /// Memory of each virtual machine in MiB, 64 to 4194304.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = DEFAULT_MEMORY_MIB)))]
    memory_mib: Option<Spanned<u32>>,
    /// Processors of each, 1 to 256.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = DEFAULT_VCPUS)))]
    vcpus: Option<Spanned<u32>>,
    /// Another image bundle than that of `program` in `images`, or a cloud's disk image (qcow2 or raw).
    #[serde(default)]
    image: Option<PathBuf>,
    /// A file for cloud-init, for cloud images.
    #[serde(default)]
    user_data: Option<PathBuf>,
}

impl ServiceFile {
    pub(super) fn check(
        self,
        source: &Source,
        images: &Path,
        others: &[Service],
    ) -> Result<Service, ConfigError> {
        let ServiceFile { name, program, port, replicas, memory_mib, vcpus, image, user_data } = self;
        if let Err(message) = check_name(name.as_ref().as_str()) {
            return Err(source.error_at(Some(name.span()), &message));
        }
        if name.as_ref().as_str() == LB {
            return Err(source.error_at(Some(name.span()), "`lb` is the balancer's own name: choose another"));
        }
        if others.iter().any(|other| &other.name == name.as_ref()) {
            return Err(source.error_at(Some(name.span()), "another [[service]] has the same name"));
        }
        if *port.as_ref() == 0 {
            return Err(source.error_at(Some(port.span()), "expected a port from 1 to 65535"));
        }
        let hardware = HardwareFile { memory_mib, vcpus, image, user_data };
        let hardware = hardware.check(source, images, &program, DEFAULT_MEMORY_MIB)?;
        Ok(Service { name: name.into_inner(), program, port: port.into_inner(), replicas, hardware })
    }
}

fn default_program() -> String {
    "stateless".to_owned()
}

fn default_service_port() -> Spanned<u16> {
    Spanned::new(0..0, 8080)
}
