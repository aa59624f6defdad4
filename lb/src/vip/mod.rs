//! vip
/// run
pub fn run(_settings: &crate::settings::Settings) -> anyhow::Result<()> {
    anyhow::bail!("not there yet")
}
