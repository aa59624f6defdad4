//! Somebody who is no machine has an address of a host's pool.

use wire::cluster::{AddressState, AddressView, Phase};

use crate::lab::{Lab, MANAGERS, builds, host, machine, program};
use crate::load::Load;
use crate::peers::reconfigure_b;
use crate::run::eventually;

#[test]
fn a_strangers_address_is_left_to_him_and_shown() {
    let lab = Lab::start();
    let before = lab.cluster();
    let [a, b] = MANAGERS;
    // The next one of host a's pool.
    lab.exec("client", &["ip", "address", "add", "192.168.10.13/32", "dev", "eth0"]).ok();
    let link = lab.exec("client", &["ip", "-o", "link", "show", "eth0"]).ok();
    let mac =
        link.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a MAC").to_owned();
    lab.exec("a", &[&program("manager"), "--manager", a, "vm", "create", "stateless"]).ok();
    eventually("the machine is ready at the next address", || {
        let view = lab.view(a)?;
        let created =
            crate::lab::machines(&view).into_iter().find(|machine| machine.id.as_str() == "a-stateless-3")?;
        (created.phase == Phase::Ready && created.address.to_string() == "192.168.10.14").then_some(())
    });

    // A warning, to be seen from both hosts, but nothing is missing.
    lab.wait_until_whole();
    for manager in MANAGERS {
        let said = eventually("the warning has reached it", || {
            let said = lab.exec("client", &[&program("manager"), "--manager", manager, "status"]).ok();
            said.contains("Warning, host a").then_some(said)
        });
        assert!(said.contains("The cluster is whole.") && said.contains("192.168.10.13"), "{said}");
        assert!(said.contains(&mac), "{said}");
    }
    assert_eq!(host(&lab.view(b).expect("a view"), "b").warnings, Vec::<String>::new());
    let addresses: Vec<AddressView> =
        serde_json::from_str(&lab.get(&format!("{a}/addresses"))).expect("JSON");
    let of = |last: u8| {
        let address = format!("192.168.10.{last}");
        addresses.iter().find(|view| view.address.to_string() == address).expect("in the pool")
    };
    assert_eq!((of(13).state, of(13).mac.as_deref()), (AddressState::Foreign, Some(mac.as_str())));
    assert_eq!((of(14).state, of(15).state), (AddressState::Used, AddressState::Free));

    // All that was there before lives on, and clients do not notice any of it.
    let after = lab.wait_until_whole();
    for (id, address, incarnation) in builds(&before) {
        let now = machine(&after, &id);
        assert_eq!((now.address.to_string(), now.incarnation), (address, incarnation));
    }
    Load::of_seconds(2).run(&lab).assert_nobody_noticed();
}

#[test]
fn a_host_that_gets_a_new_pool_finds_the_strangers_in_it() {
    let lab = Lab::start();
    // The first address is the balancer's.
    lab.exec("client", &["ip", "address", "add", "192.168.10.30/32", "dev", "eth0"]).ok();
    reconfigure_b(&lab, "192.168.10.20-192.168.10.26", "192.168.10.30-192.168.10.34");
    eventually("its balancer is ready at an address that is free", || {
        let view = lab.view(MANAGERS[1])?;
        let lb = crate::lab::machines(&view).into_iter().find(|machine| machine.id.as_str() == "b-lb")?;
        (lb.phase == Phase::Ready && lb.address.to_string() == "192.168.10.33").then_some(())
    });
    let after = lab.wait_until_whole();
    assert!(host(&after, "b").warnings.iter().any(|warning| warning.contains("192.168.10.30")), "{after:#?}");
    Load::of_seconds(2).run(&lab).assert_nobody_noticed();
}
