//! The description of a domain, as libvirt wants it: written from typed values, so that nothing a user
//! names can become markup. <https://libvirt.org/formatdomain.html>

use std::io;
use std::path::{Path, PathBuf};

use quick_xml::Writer;
use quick_xml::events::{BytesText, Event};
use uuid::Uuid;

use super::image::{DiskFormat, Image};
use super::metadata::Metadata;
use crate::address_pool::mac_text;
use crate::config::Hardware;

/// The name of the channel to qemu-guest-agent, which cloud images may have.
const AGENT_PORT: &str = "org.qemu.guest_agent.0";

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accelerator {
    /// The processor itself.
    Kvm,
    /// QEMU's translator.
    Emulated,
}

/// A machine to be made.
pub(super) struct Domain<'a> {
    pub(super) name: &'a str,
    pub(super) metadata: &'a Metadata,
    pub(super) uuid: Uuid,
    pub(super) accelerator: Accelerator,
    pub(super) hardware: &'a Hardware,
    pub(super) image: &'a Image,
    pub(super) mac: [u8; 6],
    /// The name of the host's end of its cable.
    pub(super) port: &'a str,
    pub(super) bridge: &'a str,
    pub(super) files: Files,
}

/// The files of a machine that its process uses.
pub(super) struct Files {
    pub(super) seed: PathBuf,
    /// The overlay on a cloud's disk image.
    pub(super) disk: PathBuf,
    pub(super) console: PathBuf,
    pub(super) console_socket: PathBuf,
    pub(super) control_socket: PathBuf,
}

type Xml = Writer<Vec<u8>>;

impl Domain<'_> {
    /// The XML.
    pub(super) fn to_xml(&self) -> io::Result<String> {
        let kind = match self.accelerator {
            Accelerator::Kvm => "kvm",
            Accelerator::Emulated => "qemu",
        };
        let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
        xml.create_element("domain").with_attribute(("type", kind)).write_inner_content(|xml| {
            text(xml, "name", self.name)?;
            text(xml, "uuid", &self.uuid.to_string())?;
            xml.create_element("metadata")
                .write_inner_content(|xml| xml.write_event(Event::Empty(self.metadata.element())))?;
            xml.create_element("memory")
                .with_attribute(("unit", "MiB"))
                .write_text_content(BytesText::new(&self.hardware.memory_mib.to_string()))?;
            text(xml, "vcpu", &self.hardware.vcpus.to_string())?;
            self.write_boot(xml)?;
            xml.create_element("features").write_inner_content(|xml| {
                xml.create_element("acpi").write_empty()?;
                Ok(())
            })?;
            self.write_processor_and_clock(xml)?;
            // A machine that ends is gone, whatever it ended for: what comes next is the manager's.
            for event in ["on_poweroff", "on_reboot", "on_crash"] {
                text(xml, event, "destroy")?;
            }
            xml.create_element("devices").write_inner_content(|xml| self.write_devices(xml))?;
            Ok(())
        })?;
        String::from_utf8(xml.into_inner()).map_err(io::Error::other)
    }

    fn write_boot(&self, xml: &mut Xml) -> io::Result<()> {
        xml.create_element("os").write_inner_content(|xml| {
            xml.create_element("type")
                .with_attributes([("arch", "x86_64"), ("machine", "q35")])
                .write_text_content(BytesText::new("hvm"))?;
            match self.image {
                Image::Bundle(bundle) => {
                    text(xml, "kernel", path(&bundle.kernel)?)?;
                    text(xml, "initrd", path(&bundle.initrd)?)?;
                    text(xml, "cmdline", &bundle.command_line)
                }
                Image::Disk { .. } => {
                    xml.create_element("boot").with_attribute(("dev", "hd")).write_empty()?;
                    Ok(())
                }
            }
        })?;
        Ok(())
    }

    fn write_processor_and_clock(&self, xml: &mut Xml) -> io::Result<()> {
        match self.accelerator {
            Accelerator::Kvm => {
                xml.create_element("cpu").with_attribute(("mode", "host-passthrough")).write_empty()?;
            }
            Accelerator::Emulated => {
                // The plainest one is the quickest to emulate. A guest measures its time stamp counter
                // against other timers while it boots; an emulator that is kept waiting in that moment
                // gives it a clock that runs up to 35 times too fast for as long as it lives. The
                // HPET's frequency is told, not measured.
                xml.create_element("cpu")
                    .with_attributes([("mode", "custom"), ("match", "exact")])
                    .write_inner_content(|xml| {
                        text(xml, "model", "qemu64")?;
                        xml.create_element("feature")
                            .with_attributes([("policy", "disable"), ("name", "tsc")])
                            .write_empty()?;
                        Ok(())
                    })?;
                xml.create_element("clock").with_attribute(("offset", "utc")).write_inner_content(|xml| {
                    xml.create_element("timer")
                        .with_attributes([("name", "hpet"), ("present", "yes")])
                        .write_empty()?;
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    fn write_devices(&self, xml: &mut Xml) -> io::Result<()> {
        let files = &self.files;
        let mut disks = 'a'..='z';
        let mut next_disk = || format!("vd{}", disks.next().unwrap_or('z'));
        if let Image::Disk { path: base, format } = self.image {
            disk(xml, &next_disk(), DiskFormat::Qcow2, &files.disk, Some((base, *format)))?;
        }
        disk(xml, &next_disk(), DiskFormat::Raw, &files.seed, None)?;
        self.write_interface(xml)?;
        // The console: a socket to type at, and a file of all that was written.
        xml.create_element("serial").with_attribute(("type", "unix")).write_inner_content(|xml| {
            socket(xml, &files.console_socket)?;
            xml.create_element("log")
                .with_attributes([("file", path(&files.console)?), ("append", "on")])
                .write_empty()?;
            xml.create_element("target").with_attribute(("port", "0")).write_empty()?;
            Ok(())
        })?;
        match self.image {
            Image::Bundle(_) => {
                xml.create_element("channel").with_attribute(("type", "unix")).write_inner_content(|xml| {
                    socket(xml, &files.control_socket)?;
                    virtio_port(xml, guest::channel::PORT)
                })?
            }
            // libvirt makes and keeps the socket of the agent, for it speaks to it itself.
            Image::Disk { .. } => xml
                .create_element("channel")
                .with_attribute(("type", "unix"))
                .write_inner_content(|xml| virtio_port(xml, AGENT_PORT))?,
        };
        // Without a source of randomness a guest waits for ever for it.
        xml.create_element("rng").with_attribute(("model", "virtio")).write_inner_content(|xml| {
            xml.create_element("backend")
                .with_attribute(("model", "random"))
                .write_text_content(BytesText::new("/dev/urandom"))?;
            Ok(())
        })?;
        xml.create_element("controller")
            .with_attributes([("type", "usb"), ("model", "none")])
            .write_empty()?;
        xml.create_element("memballoon").with_attribute(("model", "none")).write_empty()?;
        Ok(())
    }

    fn write_interface(&self, xml: &mut Xml) -> io::Result<()> {
        xml.create_element("interface").with_attribute(("type", "bridge")).write_inner_content(|xml| {
            for (element, attribute, value) in [
                ("mac", "address", mac_text(self.mac).as_str()),
                ("source", "bridge", self.bridge),
                ("target", "dev", self.port),
                ("model", "type", "virtio"),
                // Nothing is booted from the network: its firmware would only take time.
                ("rom", "enabled", "no"),
            ] {
                xml.create_element(element).with_attribute((attribute, value)).write_empty()?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

fn text(xml: &mut Xml, element: &str, content: &str) -> io::Result<()> {
    xml.create_element(element).write_text_content(BytesText::new(content))?;
    Ok(())
}

fn disk(
    xml: &mut Xml,
    target: &str,
    format: DiskFormat,
    file: &Path,
    base: Option<(&PathBuf, DiskFormat)>,
) -> io::Result<()> {
    let attributes = [("type", "file"), ("device", "disk")];
    xml.create_element("disk").with_attributes(attributes).write_inner_content(|xml| {
        xml.create_element("driver")
            .with_attributes([("name", "qemu"), ("type", format.name())])
            .write_empty()?;
        xml.create_element("source").with_attribute(("file", path(file)?)).write_empty()?;
        if let Some((base, format)) = base {
            xml.create_element("backingStore").with_attribute(("type", "file")).write_inner_content(
                |xml| {
                    xml.create_element("format").with_attribute(("type", format.name())).write_empty()?;
                    xml.create_element("source").with_attribute(("file", path(base)?)).write_empty()?;
                    Ok(())
                },
            )?;
        }
        xml.create_element("target").with_attributes([("dev", target), ("bus", "virtio")]).write_empty()?;
        if base.is_none() {
            xml.create_element("readonly").write_empty()?;
        }
        Ok(())
    })?;
    Ok(())
}

fn socket(xml: &mut Xml, file: &Path) -> io::Result<()> {
    xml.create_element("source").with_attributes([("mode", "bind"), ("path", path(file)?)]).write_empty()?;
    Ok(())
}

fn virtio_port(xml: &mut Xml, name: &str) -> io::Result<()> {
    xml.create_element("target").with_attributes([("type", "virtio"), ("name", name)]).write_empty()?;
    Ok(())
}

fn path(path: &Path) -> io::Result<&str> {
    path.to_str().ok_or_else(|| io::Error::other(format!("{}: libvirt takes only UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::MachinePurpose;
    use crate::ports::libvirt::image::Bundle;

    fn xml(bridge: &str, image: &Image, accelerator: Accelerator) -> String {
        let purpose = MachinePurpose {
            id: "a-stateless-1".into(),
            service: "stateless".into(),
            incarnation: 7,
            address: [192, 168, 10, 11].into(),
            image: Some("1234".to_owned()),
        };
        let metadata =
            Metadata { state_dir: "/state".to_owned(), spare: None, purpose: Some(purpose), generation: 0 };
        let hardware = Hardware { memory_mib: 128, vcpus: 2, image: "".into(), user_data: None };
        Domain {
            name: "a-stateless-1",
            metadata: &metadata,
            uuid: Uuid::from_u128(7),
            accelerator,
            hardware: &hardware,
            image,
            mac: [2, 0x48, 192, 168, 10, 11],
            port: "hfc0a80a0b",
            bridge,
            files: Files {
                seed: "/m/seed.img".into(),
                disk: "/m/disk.qcow2".into(),
                console: "/m/console.log".into(),
                console_socket: "/m/console.sock".into(),
                control_socket: "/m/control.sock".into(),
            },
        }
        .to_xml()
        .expect("plain paths")
    }

    fn bundle() -> Image {
        Image::Bundle(Bundle {
            id: "1234".to_owned(),
            stand_in: false,
            kernel: "/i/vmlinuz".into(),
            initrd: "/i/initrd".into(),
            command_line: "console=ttyS0 quiet".to_owned(),
        })
    }

    #[test]
    fn a_machine_of_ours_boots_its_kernel_and_has_what_guests_need() {
        let xml = xml("br0", &bundle(), Accelerator::Emulated);
        for part in [
            "<domain type=\"qemu\">",
            "<name>a-stateless-1</name>",
            "incarnation=\"7\"",
            "<memory unit=\"MiB\">128</memory>",
            "<vcpu>2</vcpu>",
            "<kernel>/i/vmlinuz</kernel>",
            "<cmdline>console=ttyS0 quiet</cmdline>",
            "<mac address=\"02:48:c0:a8:0a:0b\"/>",
            "<target dev=\"hfc0a80a0b\"/>",
            "<source file=\"/m/seed.img\"/>",
            "<target dev=\"vda\" bus=\"virtio\"/>",
            "name=\"holdfast.control.0\"",
            "<rng model=\"virtio\">",
            "<feature policy=\"disable\" name=\"tsc\"/>",
            "<timer name=\"hpet\" present=\"yes\"/>",
            "<on_poweroff>destroy</on_poweroff>",
        ] {
            assert!(xml.contains(part), "no {part} in {xml}");
        }
        assert!(!xml.contains("qcow2") && !xml.contains("guest_agent"), "{xml}");
    }

    #[test]
    fn a_cloud_image_is_the_base_of_an_overlay_and_the_seed_comes_after_it() {
        let image = Image::Disk { path: "/i/debian.qcow2".into(), format: DiskFormat::Qcow2 };
        let xml = xml("br0", &image, Accelerator::Kvm);
        for part in [
            "<domain type=\"kvm\">",
            "<cpu mode=\"host-passthrough\"/>",
            "<source file=\"/m/disk.qcow2\"/>",
            "<source file=\"/i/debian.qcow2\"/>",
            "<target dev=\"vdb\" bus=\"virtio\"/>",
            "org.qemu.guest_agent.0",
        ] {
            assert!(xml.contains(part), "no {part} in {xml}");
        }
    }

    #[test]
    fn what_users_name_stays_text() {
        let xml = xml("br0\"/><evil>&", &bundle(), Accelerator::Kvm);
        assert!(xml.contains("bridge=\"br0&quot;/&gt;&lt;evil&gt;&amp;\""), "{xml}");
    }
}
