//! The plan in the language of nftables. One text is one transaction: the kernel does all of it at one moment, or nothing.
//!
//! ```text
//!   table inet holdfast          owner_…                  whose it is: a transaction of anybody else fails
//!     prerouting, output ──port──▶ nat_3306               a new connection: whose turn is it? (NAT)
//!     postrouting                                         … and answers come back through us
//!     input                                               what was for nobody is reset
//!   table netdev holdfast
//!     ingress_eth0 ──port──▶ direct_3306                  the link-layer address of whose turn it is (direct return)
//!                              open_…, closing_…          who has which connection
//! ```
//!
//! A rule applies to addresses that are on this machine: of balancers that share a public address, to the one that has it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use wire::tcp::Forwarding;

use super::plan::{Plan, Target, Way};
use super::segment::Mac;

/// The name of our tables.
pub(super) const TABLE: &str = "holdfast";

/// The first packet of a connection.
const SYN: &str = "tcp flags & (fin | syn | rst | ack) == syn";

/// All balancers have to come to the same with one client.
const SEED: &str = "0x686f6c64";

/// A connection of which one side has ended is remembered for so many seconds after its last packet, where it is returned
/// directly: as long as others keep such (`nf_conntrack_tcp_timeout_fin_wait` is two minutes).
const CLOSING_S: u64 = 120;

/// The most connections that are remembered of one port and family, where they are returned directly.
const MOST_DIRECT: u32 = 1_048_576;

/// The families, as rules name them.
const FAMILIES: [bool; 2] = [true, false];

fn family(v4: bool) -> &'static str {
    if v4 { "ip" } else { "ip6" }
}

/// Where packets come in that are returned directly, and from which link-layer address they go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) interface: String,
    pub(super) mac: Mac,
}

/// The name of the map that has the connections to `port` that are open, or of which one side has ended. It says all that
/// the kernel would not change.
pub(super) fn map(state: &str, port: u16, way: &Way) -> String {
    format!("{state}_{port}_{}s", way.idle_s)
}

/// What there is already.
#[derive(Clone, Copy, Debug)]
pub(super) enum Before<'a> {
    /// What we said.
    Ours(&'a Plan),
    /// Whatever another process left, of which connections that are returned directly are to go on.
    Others,
    /// The same, and of a kind that nothing of it can go on.
    Nothing,
}

/// The transaction that has the kernel do as `plan` says, after what was `before`. `owner` is the name that only we know.
pub(super) fn transaction(plan: &Plan, before: Before<'_>, owner: &str, link: Option<&Link>) -> String {
    let mut text = String::new();
    match before {
        Before::Ours(before) => {
            // Fails where another balancer has taken over.
            let _ = writeln!(text, "delete counter inet {TABLE} {owner}\nflush table inet {TABLE}");
            let gone = before.ports.iter().filter(|(port, way)| {
                way.forwarding != Forwarding::NftablesDsr
                    && plan.ports.get(port).is_none_or(|way| way.forwarding == Forwarding::NftablesDsr)
            });
            for (port, _) in gone {
                let _ = writeln!(text, "delete chain inet {TABLE} nat_{port}");
            }
        }
        Before::Others | Before::Nothing => {
            let _ = writeln!(text, "add table inet {TABLE}\ndelete table inet {TABLE}");
        }
    }
    let (was_direct, goes_on) = match before {
        Before::Ours(before) => (before.is_direct(), plan.is_direct()),
        Before::Others => (true, plan.is_direct()),
        Before::Nothing => (true, false),
    };
    if was_direct {
        let _ = writeln!(text, "add table netdev {TABLE}\nflush table netdev {TABLE}");
        if !goes_on {
            let _ = writeln!(text, "delete table netdev {TABLE}");
        }
    }
    inet(&mut text, plan, owner);
    if let Some(link) = link.filter(|_| plan.is_direct()) {
        netdev(&mut text, plan, link);
    }
    text
}

/// The transaction that takes all of it away, if it is `owner`'s.
pub(super) fn removal(owner: &str) -> String {
    format!(
        "delete counter inet {TABLE} {owner}\ndelete table inet {TABLE}\nadd table netdev {TABLE}\ndelete table netdev {TABLE}\n"
    )
}

fn inet(text: &mut String, plan: &Plan, owner: &str) {
    let nat: Vec<_> =
        plan.ports.iter().filter(|(_, way)| way.forwarding != Forwarding::NftablesDsr).collect();
    let idle: BTreeSet<u64> = nat.iter().map(|(_, way)| way.idle_s).collect();
    let _ = writeln!(text, "table inet {TABLE} {{\n counter {owner} {{\n }}");
    for seconds in idle {
        for v4 in FAMILIES {
            let family = family(v4);
            let _ = writeln!(
                text,
                " ct timeout idle_{seconds}s_{family} {{\n  protocol tcp\n  l3proto {family}\n  policy = {{ established : \
                 {seconds} }}\n }}"
            );
        }
    }
    for (port, way) in &nat {
        let _ = writeln!(text, " counter connections_{port} {{\n }}\n chain nat_{port} {{");
        for v4 in FAMILIES {
            translate(text, **port, way, v4);
        }
        text.push_str(" }\n");
    }
    let to_chains: Vec<_> = nat.iter().map(|(port, _)| format!("{port} : goto nat_{port}")).collect();
    let to_chains = to_chains.join(", ");
    for (hook, priority, families) in [
        ("prerouting", "dstnat", &[""][..]),
        // A program of this machine that speaks of itself as 127.0.0.1 is heard by nobody else.
        ("output", "-100", &["ip daddr != 127.0.0.0/8 ", "ip6 daddr != ::1 "]),
    ] {
        let _ =
            writeln!(text, " chain {hook} {{\n  type nat hook {hook} priority {priority}; policy accept;");
        for of_family in families.iter().filter(|_| !nat.is_empty()) {
            let _ =
                writeln!(text, "  {of_family}{SYN} fib daddr type local tcp dport vmap {{ {to_chains} }}");
        }
        text.push_str(" }\n");
    }
    text.push_str(" chain postrouting {\n  type nat hook postrouting priority srcnat; policy accept;\n");
    for (port, way) in nat.iter().filter(|(_, way)| way.forwarding == Forwarding::Nftables) {
        for v4 in FAMILIES {
            let to: BTreeSet<_> = way.family(v4).iter().map(endpoint).collect();
            if !to.is_empty() {
                let to: Vec<_> = to.into_iter().collect();
                let _ = writeln!(
                    text,
                    "  ct status dnat meta l4proto tcp ct original proto-dst {port} {} daddr . tcp dport {{ {} }} \
                     masquerade",
                    family(v4),
                    to.join(", ")
                );
            }
        }
    }
    text.push_str(" }\n chain input {\n  type filter hook input priority filter; policy accept;\n");
    let ports: Vec<_> = plan.ports.keys().map(u16::to_string).collect();
    if !ports.is_empty() {
        let _ = writeln!(
            text,
            "  ct direction original tcp dport {{ {} }} reject with tcp reset",
            ports.join(", ")
        );
    }
    text.push_str(" }\n}\n");
}

/// Gives a new connection to `port` to whom it is due.
fn translate(text: &mut String, port: u16, way: &Way, v4: bool) {
    let targets: Vec<_> = way.family(v4).iter().map(endpoint).collect();
    let family = family(v4);
    let of_family = if v4 { "meta nfproto ipv4" } else { "meta nfproto ipv6" };
    let Some(choice) = choice(&targets, family, way.by_client) else { return };
    let _ = writeln!(
        text,
        "  {of_family} meta l4proto tcp counter name \"connections_{port}\" ct timeout set \"idle_{}s_{family}\" dnat \
         {family} to {choice}",
        way.idle_s
    );
}

/// As a map of addresses with ports has it; with a single one, too, where it stands alone.
fn endpoint(target: &Target) -> String {
    format!("{} . {}", target.address.ip(), target.address.port())
}

/// One of `targets`; none where there is none.
fn choice(targets: &[String], family: &str, by_client: bool) -> Option<String> {
    let first = targets.first()?;
    let of = if by_client { format!("jhash {family} saddr") } else { "numgen inc".to_owned() };
    let seed = if by_client && targets.len() > 1 { format!(" seed {SEED}") } else { String::new() };
    // The kernel takes no choice of one.
    let mut elements: Vec<_> =
        targets.iter().enumerate().map(|(turn, target)| format!("{turn} : {target}")).collect();
    if targets.len() == 1 {
        elements.push(format!("1 : {first}"));
    }
    Some(format!("{of} mod {}{seed} map {{ {} }}", elements.len(), elements.join(", ")))
}

fn netdev(text: &mut String, plan: &Plan, link: &Link) {
    let direct: Vec<_> =
        plan.ports.iter().filter(|(_, way)| way.forwarding == Forwarding::NftablesDsr).collect();
    let _ = writeln!(text, "table netdev {TABLE} {{");
    for (port, way) in &direct {
        let _ = writeln!(text, " counter connections_{port} {{\n }}");
        for (state, seconds) in [("open", way.idle_s), ("closing", CLOSING_S)] {
            let _ = writeln!(
                text,
                " map {} {{\n  type ipv4_addr . inet_service . ipv4_addr : ether_addr; flags dynamic,timeout; timeout \
                 {seconds}s; size {MOST_DIRECT};\n }}",
                map(state, **port, way)
            );
        }
    }
    for (port, way) in &direct {
        let _ = writeln!(text, " chain direct_{port} {{");
        pass_on(text, **port, way, link);
        text.push_str(" }\n");
    }
    let to_chains: Vec<_> = direct.iter().map(|(port, _)| format!("{port} : goto direct_{port}")).collect();
    let interface = &link.interface;
    let _ = writeln!(
        text,
        " chain ingress {{\n  type filter hook ingress device \"{interface}\" priority filter; policy accept;\n  meta \
         pkttype host meta protocol ip fib daddr type local tcp dport vmap {{ {} }}\n }}\n}}",
        to_chains.join(", ")
    );
}

/// Passes packets for `port` on: those of connections that are known to where the first one went, and a first one to
/// whom it is due.
fn pass_on(text: &mut String, port: u16, way: &Way, link: &Link) {
    let key = "ip saddr . tcp sport . ip daddr";
    let [open, closing] = ["open", "closing"].map(|state| map(state, port, way));
    let entry = format!("{{ {key} : ether daddr }}");
    let on = format!("ether saddr set {} fwd to \"{}\"", link.mac, link.interface);
    let targets: Vec<_> = way.v4.iter().filter_map(|target| Some(target.mac?.to_string())).collect();
    let choice = choice(&targets, "ip", way.by_client);
    let mut rule = |words: String| {
        let _ = writeln!(text, "  {words} {on}");
    };
    rule(format!(
        "tcp flags & (fin | rst) != 0 ether daddr set {key} map @{open} update @{closing} {entry} delete @{open} {entry}"
    ));
    rule(format!("ether daddr set {key} map @{open} update @{open} {entry}"));
    if let Some(choice) = &choice {
        rule(format!(
            "meta protocol ip {SYN} counter name \"connections_{port}\" ether daddr set {choice} delete @{closing} \
             {entry} update @{open} {entry}"
        ));
    }
    rule(format!("ether daddr set {key} map @{closing} update @{closing} {entry}"));
    // Another balancer had it, and came to the same.
    if let Some(choice) = choice.filter(|_| way.by_client) {
        rule(format!("meta protocol ip ether daddr set {choice} update @{open} {entry}"));
    }
}

#[cfg(test)]
mod tests {
    use wire::tcp::TcpService;

    use super::*;

    fn way(forwarding: Forwarding, v4: &[&str], v6: &[&str]) -> Way {
        let target = |address: &&str| Target {
            address: address.parse().expect("an address"),
            mac: (forwarding == Forwarding::NftablesDsr).then(|| "02:00:00:00:00:31".parse().expect("one")),
        };
        let service = TcpService { forwarding, ..TcpService::new("db".into(), 3306) };
        Way {
            v4: v4.iter().map(target).collect(),
            v6: v6.iter().map(target).collect(),
            ..Way::closed(&service)
        }
    }

    fn plan(ways: Vec<(u16, Way)>) -> Plan {
        Plan { ports: ways.into_iter().collect() }
    }

    /// The lines with `words` in them.
    fn with<'a>(text: &'a str, words: &str) -> Vec<&'a str> {
        text.lines().map(str::trim).filter(|line| line.contains(words)).collect()
    }

    #[test]
    fn a_new_connection_goes_to_whose_turn_it_is_and_answers_come_back() {
        let nat = plan(vec![(
            3306,
            way(Forwarding::Nftables, &["10.0.0.1:33", "10.0.0.2:33", "10.0.0.1:33"], &["[fd00::1]:33"]),
        )]);
        let text = transaction(&nat, Before::Others, "owner_1_2", None);
        assert!(text.starts_with("add table inet holdfast\ndelete table inet holdfast\n"), "{text}");
        assert_eq!(
            with(&text, "dnat ip"),
            [
                "meta nfproto ipv4 meta l4proto tcp counter name \"connections_3306\" ct timeout set \"idle_600s_ip\" dnat \
                 ip to numgen inc mod 3 map { 0 : 10.0.0.1 . 33, 1 : 10.0.0.2 . 33, 2 : 10.0.0.1 . 33 }",
                "meta nfproto ipv6 meta l4proto tcp counter name \"connections_3306\" ct timeout set \"idle_600s_ip6\" \
                 dnat ip6 to numgen inc mod 2 map { 0 : fd00::1 . 33, 1 : fd00::1 . 33 }",
            ]
        );
        assert_eq!(
            with(&text, "masquerade"),
            [
                "ct status dnat meta l4proto tcp ct original proto-dst 3306 ip daddr . tcp dport { 10.0.0.1 . 33, 10.0.0.2 \
                 . 33 } masquerade",
                "ct status dnat meta l4proto tcp ct original proto-dst 3306 ip6 daddr . tcp dport { fd00::1 . 33 } \
                 masquerade",
            ]
        );
        // As its gateway, clients' addresses stay.
        let gateway = plan(vec![(3306, way(Forwarding::NftablesGateway, &["10.0.0.1:33"], &[]))]);
        let text = transaction(&gateway, Before::Others, "owner_1_2", None);
        assert!(with(&text, "masquerade").is_empty() && with(&text, "dnat ip to").len() == 1, "{text}");
    }

    #[test]
    fn what_is_ours_is_changed_only_while_it_is_and_what_is_over_goes() {
        let before = plan(vec![
            (1, way(Forwarding::Nftables, &["10.0.0.1:33"], &[])),
            (2, way(Forwarding::NftablesDsr, &["10.0.0.1:2"], &[])),
        ]);
        let after = plan(vec![(2, way(Forwarding::Nftables, &[], &[]))]);
        let text = transaction(&after, Before::Ours(&before), "owner_1_2", None);
        let lines: Vec<_> = text.lines().take(6).collect();
        assert_eq!(
            lines,
            [
                "delete counter inet holdfast owner_1_2",
                "flush table inet holdfast",
                "delete chain inet holdfast nat_1",
                "add table netdev holdfast",
                "flush table netdev holdfast",
                "delete table netdev holdfast",
            ]
        );
        // Nobody: it is refused.
        assert_eq!(with(&text, "reject"), ["ct direction original tcp dport { 2 } reject with tcp reset"]);
        assert!(with(&text, "dnat ip").is_empty(), "{text}");
    }

    #[test]
    fn a_client_may_decide_and_a_connection_stays_where_it_is() {
        let mut direct = way(Forwarding::NftablesDsr, &["10.0.0.1:2", "10.0.0.2:2"], &[]);
        direct.by_client = true;
        let link =
            Link { interface: "eth0".to_owned(), mac: "02:00:00:00:00:10".parse().expect("an address") };
        let text = transaction(&plan(vec![(2, direct)]), Before::Nothing, "owner_1_2", Some(&link));
        let on = "ether saddr set 02:00:00:00:00:10 fwd to \"eth0\"";
        let rules = with(&text, on);
        assert_eq!(rules.len(), 5, "{text}");
        let known = rules.iter().position(|rule| rule.starts_with("ether daddr set ip saddr"));
        let chosen = rules.iter().position(|rule| rule.contains("jhash ip saddr mod 2 seed"));
        assert!(known < chosen, "{text}");
    }
}
