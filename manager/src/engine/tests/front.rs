//! What the balancer shows clients: told once, told to its successor from the start, and shown to nobody else.

use std::collections::BTreeMap;

use wire::balancing::Secret;
use wire::certificates::Certificate;
use wire::cluster::Phase;
use wire::proxy_config::ProxyConfig;

use crate::engine::testing::{Kind, World};
use crate::engine::{Command, Front};

fn front() -> Front {
    let certificate =
        |key: &str| Certificate { chain: "a chain".to_owned(), key: Secret(key.to_owned()), ocsp: None };
    Front {
        certificates: vec![certificate("very secret")],
        answers: BTreeMap::from([("token".to_owned(), "token.thumb".to_owned())]),
        challenge_certificates: vec![certificate("very secret too")],
        ticket_keys: vec![Secret("very secret as well".to_owned())],
        warnings: vec!["it ends soon".to_owned()],
    }
}

fn show(world: &mut World, front: Front) -> bool {
    world.hosts[0].engine.as_mut().expect("it runs").show(front)
}

fn is_behind(world: &World) -> bool {
    world.hosts[0].engine.as_ref().expect("it runs").front_is_behind()
}

fn told(world: &World) -> &ProxyConfig {
    &world.hosts[0].guests[&"a-lb".into()].config
}

fn times_told(world: &World) -> usize {
    world.hosts[0].started.iter().filter(|(_, command)| matches!(command, Command::Configure { .. })).count()
}

#[test]
fn it_is_told_once_and_a_rebuilt_balancer_has_it_from_the_start() {
    let mut world = World::two_hosts(1);
    world.run_ms(2_000);
    assert!(!is_behind(&world));
    let before = times_told(&world);
    assert!(show(&mut world, front()) && is_behind(&world));
    world.run_ms(2_000);
    assert!(!is_behind(&world));
    let config = told(&world).clone();
    assert_eq!((&config.certificates, &config.ticket_keys), (&front().certificates, &front().ticket_keys));
    assert_eq!(config.challenge_certificates, front().challenge_certificates);
    let route = &config.routes[0];
    assert_eq!(route.path_exact.as_deref(), Some("/.well-known/acme-challenge/token"));
    let answer = route.respond.as_ref().and_then(|respond| respond.body.as_deref());
    assert_eq!((answer, config.routes.len()), (Some("token.thumb"), 2), "ahead of the other one");
    // The same again, and other words for people, are nothing to the balancer.
    assert!(!show(&mut world, front()));
    assert!(show(&mut world, Front { warnings: Vec::new(), ..front() }));
    world.run_ms(2_000);
    assert_eq!(times_told(&world), before + 1);
    world.hosts[0].failing.insert(Kind::Configure, 1_000);
    world.kill("a-lb");
    world.until("a-lb", Phase::Ready);
    assert_eq!(told(&world).certificates, front().certificates, "from its seed");
}

#[test]
fn no_view_has_a_key_in_it() {
    let mut world = World::two_hosts(1);
    show(&mut world, front());
    world.run_ms(2_000);
    let now = world.now;
    let engine = world.hosts[0].engine.as_ref().expect("it runs");
    let cluster = format!("{:?}", engine.cluster(now));
    assert!(cluster.contains("it ends soon"), "{cluster}");
    for said in [cluster, engine.snapshot(now).to_string(), format!("{engine:?}")] {
        assert!(!said.contains("very secret"), "{said}");
    }
}
