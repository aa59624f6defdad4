//! The settings file as it was last taken, kept beside what else is kept: a proxy or speaker that its supervisor starts
//! again goes on with it where the file cannot be used meanwhile. Somebody who is editing it takes nothing down.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use kit::config::{ConfigError, Source};

use super::Settings;

/// The copy's name in the state directory.
const FILE: &str = "settings.toml";

impl Settings {
    /// Keeps the file as it was read. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When the disk refuses it: the copy that was there before, if one was, is still there.
    pub fn keep(&self) -> io::Result<()> {
        let path = self.state_dir.join(FILE);
        let new = path.with_extension("new");
        // There may be keys in it.
        let mut output = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        output.write_all(self.source.text().as_bytes())?;
        output.sync_all()?;
        fs::rename(&new, path)
    }

    /// Reads the file at `path` as `load` does ([`Settings::load`], [`Settings::load_for_speaker`]) or, where it cannot be
    /// used, the copy of it in `state_dir`.
    ///
    /// # Errors
    ///
    /// Those of `load`, when there is no copy that can be used either.
    pub fn load_or_kept(
        load: fn(&Path) -> Result<Self, ConfigError>,
        path: &Path,
        state_dir: &Path,
    ) -> Result<Self, ConfigError> {
        let error = match load(path) {
            Ok(settings) => return Ok(settings),
            Err(error) => error,
        };
        let kept = fs::read_to_string(state_dir.join(FILE)).ok();
        // What it names is beside the file itself.
        let kept = kept.and_then(|text| Settings::check(&Source::from_text(path, &text), true).ok());
        let Some(mut settings) = kept else { return Err(error) };
        settings.refused = Some(error.to_string());
        Ok(settings)
    }
}
