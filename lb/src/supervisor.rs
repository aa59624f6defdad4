//! supervisor
/// run
pub fn run(_config: &std::path::Path, _settings: &crate::settings::Settings) -> anyhow::Result<()> {
    anyhow::bail!("not there yet")
}
