//! Sets scenes for the engine's tests: a host, a clock that only the test moves, and an obedient world.

use crate::config::Config;

/// The configuration of host `a` with so many machines of the sample service.
pub(crate) fn config(replicas: u32) -> Config {
    let text = format!(
        "name = \"a\"\naddress = \"192.168.10.1\"\npeers = [\"192.168.10.2\"]\ngateway = \"192.168.10.1\"\n\
         hypervisor = \"namespaces\"\naddress_pool = [\"192.168.10.10-192.168.10.16\"]\n\
         [[vip]]\naddress = \"192.168.10.120\"\nvrid = 50\nrole = \"master\"\n\
         [[service]]\nname = \"stateless\"\nreplicas = {replicas}\n"
    );
    Config::check(&kit::config::Source::from_text("a.toml", &text)).expect("valid")
}
