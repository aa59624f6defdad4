//! What virtual machines are made of.

use std::path::{Path, PathBuf};

use kit::config::{ConfigError, Source, Spanned};
use serde::Deserialize;

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
// Also of services, which have the user data besides.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct HardwareFile {
    /// Memory in MiB, 64 to 4194304.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = DEFAULT_LB_MEMORY_MIB)))]
    pub(super) memory_mib: Option<Spanned<u32>>,
    /// Processors, 1 to 256.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = DEFAULT_VCPUS)))]
    pub(super) vcpus: Option<Spanned<u32>>,
    /// Another image bundle than that in `images`.
    #[serde(default)]
    pub(super) image: Option<PathBuf>,
    #[serde(skip)]
    pub(super) user_data: Option<PathBuf>,
}

impl HardwareFile {
    pub(super) fn check(
        self,
        source: &Source,
        images: &Path,
        program: &str,
        memory_mib: u32,
    ) -> Result<Hardware, ConfigError> {
        let HardwareFile { memory_mib: memory, vcpus, image, user_data } = self;
        let within =
            |value: Option<Spanned<u32>>, range: std::ops::RangeInclusive<u32>, default, what| match value {
                None => Ok(default),
                Some(value) if range.contains(value.as_ref()) => Ok(value.into_inner()),
                Some(value) => {
                    let message = format!("{what}: expected {} to {}", range.start(), range.end());
                    Err(source.error_at(Some(value.span()), &message))
                }
            };
        Ok(Hardware {
            memory_mib: within(memory, 64..=4_194_304, memory_mib, "memory_mib")?,
            vcpus: within(vcpus, 1..=256, DEFAULT_VCPUS, "vcpus")?,
            image: image.unwrap_or_else(|| images.join(program)),
            user_data,
        })
    }
}
