//! Cloud images are not ours, and neither is what reads their seed. So the distribution's cloud-init reads
//! seeds that the driver made, and its own renderers and netplan make of them what a guest would be set
//! up with: `cloud_init.sh` has them do it.

use std::fs;
use std::net::IpAddr;
use std::process::Command;

use manager::engine::MachineSpec;
use manager::ports::hypervisor::Hypervisor;
use serde_json::{Value, json};

use crate::libvirt::{LibvirtStage, on_stage};
use crate::stage::{Stage, run};

/// Keeps what was downloaded, for the next run as well.
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cloud-init");

const BASE: &str = "/run/base.qcow2";
const USER_DATA: &str = "/run/user-data";

/// Runs the script, which must succeed, and gives what it says and its log.
fn script(arguments: &[&str]) -> (String, String) {
    let output = Command::new("timeout")
        .args(["300", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/libvirt_contract/cloud_init.sh")])
        .args(arguments)
        .output()
        .expect("to start");
    let [told, log] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{arguments:?}: {}\n{told}\n{log}", output.status);
    (told, log)
}

/// A machine of a cloud image as the driver makes it, and what cloud-init reads from its seed. The image
/// is empty: it is not the guest that is looked at.
struct Guest {
    address: IpAddr,
    mac: String,
    /// What it read, as `cloud_init.py` tells it.
    told: Value,
    log: String,
}

impl Guest {
    async fn of(stage: &LibvirtStage, driver: &impl Hypervisor, incarnation: u64) -> Self {
        let mut spec: MachineSpec = stage.spec("a-stateless-1", 11, incarnation);
        spec.hardware.image = BASE.into();
        spec.hardware.user_data = Some(USER_DATA.into());
        driver.create(&spec).await.expect("created");
        let seed = stage.directory(&spec).join("seed.img").display().to_string();
        let probed = run(&format!("blkid -p -o export {seed}"));
        for tag in ["TYPE=vfat", "LABEL=CIDATA"] {
            assert!(probed.lines().any(|line| line == tag), "not {tag}: {probed}");
        }
        let mac = spec.mac.map(|byte| format!("{byte:02x}")).join(":");
        let (told, log) = script(&["read", CACHE, &seed, &mac]);
        let told = serde_json::from_str(&told).expect("JSON");
        driver.destroy(&spec.purpose.id).await.expect("destroyed");
        Self { address: spec.purpose.address, mac, told, log }
    }

    fn assert_told(&self, what: &str, expected: &Value) {
        assert_eq!(&self.told[what], expected, "{what}\n{:#}\n{}", self.told, self.log);
    }

    /// What was rendered for one network service says each of `lines`, and no addresses but the machine's
    /// and its gateway's.
    fn assert_rendered(&self, service: &str, lines: &[&str]) {
        let files = self.told["rendered"][service].as_object().expect(service);
        let text: Vec<&str> = files.values().filter_map(Value::as_str).collect();
        let text = text.join("\n");
        for line in lines {
            let said = text.lines().any(|it| it.trim() == *line);
            assert!(said, "{service} does not say {line:?}:\n{text}\n{}", self.log);
        }
        let words = || text.split(|letter: char| !letter.is_ascii_alphanumeric() && !".:".contains(letter));
        let masks = IpAddr::from([255, 255, 255, 0]);
        for found in words().filter_map(|word| word.parse::<IpAddr>().ok()) {
            assert!([self.address, GATEWAY, masks].contains(&found), "{service} knows {found}:\n{text}");
        }
        for found in words().filter(|word| word.len() == self.mac.len() && word.matches(':').count() == 5) {
            assert!(found.eq_ignore_ascii_case(&self.mac), "{service} knows {found}:\n{text}");
        }
    }
}

/// The gateway of the stage's configuration.
const GATEWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 1));

#[test]
fn cloud_init_reads_what_a_machine_is() {
    // Here there may be a network; on the stage there is none, and nothing is fetched any more.
    println!("{}", script(&["fetch", CACHE]).0);
    on_stage("cloud_init::cloud_init_reads_what_a_machine_is", async |stage| {
        // More than a cluster of the disk has room for, and letters that are more than one byte.
        let user_data = format!("#cloud-config\n# {}\nlocale: de_DE.UTF-8\n", "Grüße ".repeat(1000));
        fs::write(USER_DATA, &user_data).expect("written");
        run(&format!("timeout 20 qemu-img create -q -f qcow2 {BASE} 16M"));
        let (driver, _ends) = stage.driver();

        let guest = Guest::of(&stage, &driver, 1).await;
        guest.assert_told("sources", &json!(["NoCloud", "None"]));
        assert!(
            guest.told["seed"].as_str().is_some_and(|it| it.starts_with("/dev/loop")),
            "{:#}",
            guest.told
        );
        guest.assert_told("instance_id", &json!("a-stateless-1.1"));
        guest.assert_told("hostname", &json!("a-stateless-1"));
        guest.assert_told("user_data", &json!(user_data));
        guest.assert_told("user_data_types", &json!(["multipart/mixed", "text/cloud-config"]));
        guest.assert_told("interface", &json!("eth0"));

        let mac = &guest.mac;
        guest.assert_rendered(
            "netplan",
            &["- 10.77.0.11/24", "gateway4: 10.77.0.1", &format!("macaddress: {mac}"), "set-name: eth0"],
        );
        guest.assert_rendered(
            "netplan's networkd",
            &[
                "Address=10.77.0.11/24",
                "Gateway=10.77.0.1",
                &format!("PermanentMACAddress={mac}"),
                "Name=eth0",
            ],
        );
        // Not by a command: the one that cloud-init would run for a route is in no minimal Debian.
        guest.assert_rendered(
            "eni",
            &["iface eth0 inet static", "address 10.77.0.11/24", "gateway 10.77.0.1"],
        );
        guest.assert_rendered(
            "networkd",
            &["Address=10.77.0.11/24", "Gateway=10.77.0.1", &format!("MACAddress={mac}"), "DHCP=no"],
        );
        guest.assert_rendered(
            "network-manager",
            &[
                "method=manual",
                "address1=10.77.0.11/24",
                "gateway=10.77.0.1",
                &format!("mac-address={}", mac.to_uppercase()),
            ],
        );
        guest.assert_rendered(
            "sysconfig",
            &[
                "BOOTPROTO=none",
                "IPADDR=10.77.0.11",
                "NETMASK=255.255.255.0",
                "GATEWAY=10.77.0.1",
                &format!("HWADDR={mac}"),
            ],
        );

        // A machine that was rebuilt is another instance: what is done once is done again.
        let rebuilt = Guest::of(&stage, &driver, 2).await;
        rebuilt.assert_told("instance_id", &json!("a-stateless-1.2"));
        rebuilt.assert_told("hostname", &json!("a-stateless-1"));
        rebuilt.assert_told("rendered", &guest.told["rendered"]);
    });
}
