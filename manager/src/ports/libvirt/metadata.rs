//! What a machine is for, in its domain's metadata: the hypervisor is the database.
//!
//! ```xml
//! <holdfast:machine xmlns:holdfast="urn:holdfast:machine:1" state-dir="/var/lib/holdfast" id="a-lb" …/>
//! <holdfast:machine … state-dir="/var/lib/holdfast" spare="1f3a9c02"/>                    waits
//! <holdfast:machine … state-dir="/var/lib/holdfast" spare="1f3a9c02" id="a-web-1" …/>     became a-web-1
//! ```
//!
//! Managers of other versions read it too. The XML namespace stays; attributes may be added, and those that are
//! not known are left out; what is there keeps its meaning. `format` is for people and for later versions.

use std::io;
use std::path::Path;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, Writer, XmlVersion};
use uuid::Uuid;
use wire::{Incarnation, MachineId};

use super::spare::Number;
use crate::engine::MachinePurpose;
use crate::ports::machine::directory::FORMAT;

/// The XML namespace of the element.
pub(super) const NAMESPACE: &str = "urn:holdfast:machine:1";

/// What libvirt is to call that namespace.
pub(super) const PREFIX: &str = "holdfast";

/// A machine's identity and purpose, and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Metadata {
    /// The state directory of the manager that made it.
    pub(super) state_dir: String,
    /// Which spare it is or was made of.
    pub(super) spare: Option<Number>,
    /// None while it is nobody.
    pub(super) purpose: Option<MachinePurpose>,
    /// The generation of the configuration it was given, for a balancer.
    pub(super) generation: u64,
}

impl Metadata {
    /// The element, to be put into `<metadata>`.
    pub(super) fn element(&self) -> BytesStart<'_> {
        let mut element = BytesStart::new("holdfast:machine");
        element.push_attribute(("xmlns:holdfast", NAMESPACE));
        self.describe(element)
    }

    fn describe<'a>(&self, mut element: BytesStart<'a>) -> BytesStart<'a> {
        element.push_attribute(("format", FORMAT.to_string().as_str()));
        element.push_attribute(("state-dir", self.state_dir.as_str()));
        if let Some(spare) = self.spare {
            element.push_attribute(("spare", spare.to_string().as_str()));
        }
        let Some(MachinePurpose { id, service, incarnation, address, image }) = &self.purpose else {
            return element;
        };
        element.push_attribute(("id", id.as_str()));
        element.push_attribute(("service", service.as_str()));
        element.push_attribute(("incarnation", incarnation.to_string().as_str()));
        element.push_attribute(("address", address.to_string().as_str()));
        if let Some(image) = image {
            element.push_attribute(("image", image.as_str()));
        }
        element.push_attribute(("generation", self.generation.to_string().as_str()));
        element
    }

    /// The same as a text, without the XML namespace: libvirt puts that in, and takes none that has one.
    pub(super) fn to_xml(&self) -> io::Result<String> {
        let mut writer = Writer::new(Vec::new());
        writer.write_event(Event::Empty(self.describe(BytesStart::new("machine"))))?;
        String::from_utf8(writer.into_inner()).map_err(io::Error::other)
    }

    /// What is in `xml`, which begins with the element; none where it is not ours or cannot be read.
    pub(super) fn parse(xml: &str) -> Option<Self> {
        let mut reader = Reader::from_str(xml);
        loop {
            match reader.read_event().ok()? {
                Event::Start(element) | Event::Empty(element) => return Self::of(&element),
                Event::Eof => return None,
                _ => {}
            }
        }
    }

    fn of(element: &BytesStart<'_>) -> Option<Self> {
        let attribute = |name: &str| {
            let attribute = element.try_get_attribute(name).ok()??;
            Some(attribute.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned())
        };
        let purpose = || {
            Some(MachinePurpose {
                id: attribute("id")?.into(),
                service: attribute("service")?.into(),
                incarnation: attribute("incarnation")?.parse().ok()?,
                address: attribute("address")?.parse().ok()?,
                image: attribute("image"),
            })
        };
        let (spare, purpose) = (attribute("spare").and_then(|text| Number::parse(&text)), purpose());
        if spare.is_none() && purpose.is_none() {
            return None;
        }
        Some(Metadata {
            state_dir: attribute("state-dir")?,
            spare,
            purpose,
            // Only told on: what a machine is, is known without it.
            generation: attribute("generation").and_then(|text| text.parse().ok()).unwrap_or_default(),
        })
    }
}

/// The UUID of build `incarnation` of `machine`: an event that arrives late is told by it from one of the
/// machine's next build.
pub(super) fn uuid(state_dir: &Path, machine: &MachineId, incarnation: Incarnation) -> Uuid {
    let name = format!("{}\n{machine}\n{incarnation}", state_dir.display());
    Uuid::new_v5(&Uuid::new_v5(&Uuid::NAMESPACE_URL, NAMESPACE.as_bytes()), name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_whatever_it_contains() {
        let metadata = Metadata {
            state_dir: "/var/lib/it's <\"odd\"> & more".to_owned(),
            spare: None,
            purpose: Some(MachinePurpose {
                id: "a-lb".into(),
                service: "lb".into(),
                incarnation: 7,
                address: [10, 0, 0, 1].into(),
                image: Some("12ab".to_owned()),
            }),
            generation: 3,
        };
        let spare = Number::parse("1f3a9c02");
        let waiting = Metadata { spare, purpose: None, generation: 0, ..metadata.clone() };
        let became = Metadata { spare, ..metadata.clone() };
        for metadata in [metadata, waiting, became] {
            let mut writer = Writer::new(Vec::new());
            writer.write_event(Event::Empty(metadata.element())).expect("in memory");
            let xml = String::from_utf8(writer.into_inner()).expect("text");
            assert_eq!(Metadata::parse(&xml), Some(metadata.clone()));
            // libvirt gives it back without the prefix.
            let plain = xml.replace("holdfast:machine ", "machine ");
            assert_eq!(Metadata::parse(&plain), Some(metadata.clone()));
            assert_eq!(Metadata::parse(&metadata.to_xml().expect("in memory")), Some(metadata));
        }
        for foreign in ["", "<machine/>", "<machine", "no xml"] {
            assert_eq!(Metadata::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn what_managers_of_other_versions_wrote_is_understood() {
        let metadata = |image: Option<&str>, generation| {
            let purpose = MachinePurpose {
                id: "a-web-1".into(),
                service: "web".into(),
                incarnation: 1007,
                address: [192, 168, 10, 11].into(),
                image: image.map(str::to_owned),
            };
            let (state_dir, purpose) = ("/var/lib/holdfast".to_owned(), Some(purpose));
            Some(Metadata { state_dir, spare: None, purpose, generation })
        };
        let identity = r#"state-dir="/var/lib/holdfast" id="a-web-1" service="web" incarnation="1007"
            address="192.168.10.11""#;
        let first = format!(r#"<machine xmlns="{NAMESPACE}" {identity} generation="3"/>"#);
        assert_eq!(Metadata::parse(&first), metadata(None, 3));
        let next = format!(
            r#"<machine xmlns="{NAMESPACE}" format="2" {identity} image="12ab" address6="fd00::11"
               generation="3:7"><zone rack="2"/></machine>"#
        );
        assert_eq!(Metadata::parse(&next), metadata(Some("12ab"), 0));
    }
}
