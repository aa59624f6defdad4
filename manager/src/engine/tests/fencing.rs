//! An address is used again only when nothing is left of the machine that had it.

use wire::cluster::{AddressState, Phase};

use crate::engine::testing::{Kind, World, parse};

#[test]
fn what_cannot_be_fenced_keeps_its_address() {
    let mut world = World::one_host(2);
    world.hosts[0].failing.insert(Kind::Fence, 1_000);
    world.kill("a-stateless-1");
    world.run_ms(5_000);
    let addresses = world.engine(0).addresses();
    assert_eq!(addresses[1].state, AddressState::Unfenced);
    assert!(world.hosts[0].builds().iter().all(|build| build == "fence a-stateless-1"));
    // Nobody else gets it either.
    let more: Vec<_> = std::iter::from_fn(|| world.create(0, "stateless").ok()).collect();
    assert_eq!(more.len(), 4);

    world.hosts[0].failing.clear();
    world.run_ms(2_000);
    assert_eq!(world.phase("a-stateless-1"), Phase::Ready);
}

#[test]
fn fencing_is_tried_again_once_a_second() {
    let mut world = World::one_host(2);
    world.hosts[0].failing.insert(Kind::Fence, 1_000);
    world.kill("a-stateless-1");
    world.run_ms(10_000);
    assert!((9..=11).contains(&world.hosts[0].builds().len()));
}

#[test]
fn an_address_that_the_configuration_gave_to_another_is_waited_for() {
    let services = |one: u32, two: u32| {
        parse(&format!(
            "name = \"a\"\naddress = \"192.168.10.1\"\ngateway = \"192.168.10.1\"\n\
             hypervisor = \"namespaces\"\naddress_pool = [\"192.168.10.10-192.168.10.13\"]\n\
             [[service]]\nname = \"one\"\nreplicas = {one}\n[[service]]\nname = \"two\"\nport = 81\nreplicas = {two}\n"
        ))
    };
    let mut world = World::of([services(2, 1)]);
    world.run_ms(2_000);
    world.kill_manager(0);
    world.forget_history();
    world.start_manager_with(0, services(1, 2));
    world.until("a-two-2", Phase::Ready);
    assert_eq!(world.hosts[0].builds(), ["stop a-one-2", "fence a-one-2", "create a-two-2 at 192.168.10.12"]);
}

#[test]
fn machines_that_change_places_do_so_one_after_the_other() {
    let pool = |pool: &str| super::super::testing::host("a", 1, 2, pool, "master", 2);
    let mut world = World::of([pool("192.168.10.10-192.168.10.16")]);
    world.run_ms(2_000);
    world.kill_manager(0);
    for id in ["a-lb", "a-stateless-1", "a-stateless-2"] {
        world.forget_address(id);
    }
    // The balancer's address is no longer its own: it gets that of the first machine, which moves on.
    world.start_manager_with(0, pool("192.168.10.11-192.168.10.16"));
    world.run_ms(5_000);
    let places: Vec<String> = world
        .engine(0)
        .machines(std::time::Duration::ZERO)
        .iter()
        .map(|machine| format!("{} {} {:?}", machine.id, machine.address, machine.phase))
        .collect();
    assert_eq!(
        places,
        [
            "a-lb 192.168.10.11 Ready",
            "a-stateless-1 192.168.10.13 Ready",
            "a-stateless-2 192.168.10.12 Ready"
        ]
    );
}
