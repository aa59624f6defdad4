//! What virtual machines are made of.

use std::path::{Path, PathBuf};

use kit::config::{ConfigError, Source, Spanned};
use serde::Deserialize;
use wire::service::ServiceSpec;

use super::service::Misfit;

/// The memory of a service's machine unless told otherwise, in MiB.
pub(super) const DEFAULT_MEMORY_MIB: u32 = 128;

/// The memory of a balancer's machine unless told otherwise, in MiB.
pub(super) const DEFAULT_LB_MEMORY_MIB: u32 = 256;

/// The processors of a machine unless told otherwise.
pub(super) const DEFAULT_VCPUS: u32 = 1;

/// What a virtual machine is made of; namespace machines have none of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// Memory, in MiB.
    pub memory_mib: u32,
    /// Processors.
    pub vcpus: u32,
    /// A directory with an image bundle, or a disk image of a cloud.
    pub image: PathBuf,
    /// A file with instructions for a cloud image: what cloud-init calls user data.
    pub user_data: Option<PathBuf>,
}

/// What the balancer's virtual machine is made of; a namespace machine has none of it.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct HardwareFile {
    /// Memory in MiB, 64 to 4194304.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = DEFAULT_LB_MEMORY_MIB)))]
    memory_mib: Option<Spanned<u32>>,
    /// Processors, 1 to 256.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = DEFAULT_VCPUS)))]
    vcpus: Option<Spanned<u32>>,
    /// Another image bundle than that in `images`.
    #[serde(default)]
    image: Option<PathBuf>,
}

impl HardwareFile {
    pub(super) fn check(
        self,
        source: &Source,
        images: &Path,
        program: &str,
        memory_mib: u32,
    ) -> Result<Hardware, ConfigError> {
        let HardwareFile { memory_mib: memory, vcpus, image } = self;
        let within = |value: Option<Spanned<u32>>, rule: fn(u32) -> Result<u32, String>, default| match value
        {
            None => Ok(default),
            Some(value) => source.checked(value.span(), rule(value.into_inner())),
        };
        Ok(Hardware {
            memory_mib: within(memory, memory_within, memory_mib)?,
            vcpus: within(vcpus, vcpus_within, DEFAULT_VCPUS)?,
            image: image.unwrap_or_else(|| images.join(program)),
            user_data: None,
        })
    }
}

/// What the machines of the service `spec` are made of.
pub(super) fn hardware_of(spec: &ServiceSpec, images: &Path, memory_mib: u32) -> Result<Hardware, Misfit> {
    let ServiceSpec { program, memory_mib: memory, vcpus, image, user_data, .. } = spec;
    let misfit = |field: &str, message| Misfit { field: field.to_owned(), message };
    Ok(Hardware {
        memory_mib: memory_within(memory.unwrap_or(memory_mib)).map_err(|why| misfit("memory_mib", why))?,
        vcpus: vcpus_within(vcpus.unwrap_or(1)).map_err(|why| misfit("vcpus", why))?,
        // The name of one of them, or a path.
        image: match image {
            Some(image) if image.file_name() == Some(image.as_os_str()) => images.join(image),
            Some(image) => image.clone(),
            None => images.join(program),
        },
        user_data: user_data.clone(),
    })
}

fn memory_within(mib: u32) -> Result<u32, String> {
    within(mib, 64..=4_194_304, "memory_mib")
}

fn vcpus_within(count: u32) -> Result<u32, String> {
    within(count, 1..=256, "vcpus")
}

fn within(value: u32, range: std::ops::RangeInclusive<u32>, what: &str) -> Result<u32, String> {
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(format!("{what}: expected {} to {}", range.start(), range.end()))
    }
}
