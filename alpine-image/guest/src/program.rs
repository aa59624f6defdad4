//! The program that a machine is for: its files, and how it is started.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use wire::seed::Seed;

/// The variable that says where the program's secrets are, as systemd calls it.
pub const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Writes the program's files into `directory` and gives the command that starts it: the program in
/// `programs`, then its arguments. For a balancer its first upstream set and its routes are put where
/// it looks for what it held before.
///
/// # Errors
///
/// When a file cannot be written.
pub fn unpack(seed: &Seed, programs: &Path, directory: &Path) -> io::Result<Vec<OsString>> {
    private_directory(directory)?;
    let settings = directory.join("settings.toml");
    write(&settings, seed.settings.as_bytes())?;
    let mut command: Vec<OsString> = vec![programs.join(&seed.program).into()];
    if let (Some(upstreams), Some(config)) = (&seed.upstreams, &seed.proxy_config) {
        let state = directory.join("state");
        private_directory(&state)?;
        write(&state.join("upstreams.json"), &serde_json::to_vec(upstreams)?)?;
        write(&state.join("config.json"), &serde_json::to_vec(config)?)?;
        if let Some(credentials) = &seed.credentials {
            write(&state.join(wire::tls::FILE), &serde_json::to_vec(credentials)?)?;
        }
        command.extend(["run".into(), "--state-dir".into(), state.into()]);
    }
    command.extend(["--config".into(), settings.into()]);
    let secrets = directory.join("secrets");
    if !seed.secrets.is_empty() {
        private_directory(&secrets)?;
    }
    for (name, secret) in &seed.secrets {
        write(&secrets.join(name), secret.0.as_bytes())?;
    }
    Ok(command)
}

/// The variables that a program has which was unpacked into `directory`, by name.
pub fn environment(seed: &Seed, directory: &Path) -> BTreeMap<String, OsString> {
    let said = seed.environment.iter().map(|(name, value)| (name.clone(), OsString::from(&value.0)));
    let secrets =
        (!seed.secrets.is_empty()).then(|| (CREDENTIALS.to_owned(), directory.join("secrets").into()));
    said.chain(secrets).collect()
}

/// Writes `environment` to the file `path`: names and values, each with a zero byte behind it, which neither can have.
pub(crate) fn write_environment(path: &Path, environment: &BTreeMap<String, OsString>) -> io::Result<()> {
    let mut text = Vec::new();
    for (name, value) in environment {
        for part in [name.as_bytes(), value.as_bytes()] {
            text.extend_from_slice(part);
            text.push(0);
        }
    }
    write(path, &text)
}

/// Reads what [`write_environment`] wrote; where nothing did, there is none.
pub(crate) fn read_environment(path: &Path) -> io::Result<Vec<(OsString, OsString)>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let mut parts = text.split(|byte| *byte == 0).map(|part| OsString::from_vec(part.to_vec()));
    Ok(std::iter::from_fn(|| Some((parts.next()?, parts.next()?))).collect())
}

/// Writes `command` to the file `path`, one argument a line. It is there with all of it or not at all: it says that the
/// machine is who it is to be.
pub(crate) fn write_command(path: &Path, command: &[OsString]) -> io::Result<()> {
    let mut text = Vec::new();
    for argument in command {
        if argument.as_bytes().contains(&b'\n') {
            let reason = format!("{argument:?}: an argument must not contain line breaks");
            return Err(io::Error::new(ErrorKind::InvalidInput, reason));
        }
        text.extend_from_slice(argument.as_bytes());
        text.push(b'\n');
    }
    let new = path.with_extension("new");
    write(&new, &text)?;
    fs::rename(new, path)
}

/// Reads what [`write_command`] wrote.
pub(crate) fn read_command(path: &Path) -> io::Result<Vec<OsString>> {
    let text = fs::read(path)?;
    let lines = text.strip_suffix(b"\n").unwrap_or(&text).split(|byte| *byte == b'\n');
    Ok(lines.map(|line| OsString::from_vec(line.to_vec())).collect())
}

/// Becomes the program that `path`, the machine's command file, says, with the variables of the file `environment`.
///
/// # Errors
///
/// When there is no command, or it cannot be started.
pub fn run(path: &Path, environment: &Path) -> Result<Infallible> {
    let command = read_command(path)
        .with_context(|| format!("cannot read {}: `holdfast-guest configure` writes it", path.display()))?;
    let [program, arguments @ ..] = command.as_slice() else { bail!("{} is empty", path.display()) };
    if program == OsStr::new("") {
        bail!("{} names no program in its first line", path.display());
    }
    let variables =
        read_environment(environment).with_context(|| format!("cannot read {}", environment.display()))?;
    let error = Command::new(program).args(arguments).envs(variables).exec();
    Err(error).with_context(|| format!("cannot start {}", Path::new(program).display()))
}

/// Makes a directory into which only its owner may look; one that is there is fine.
pub(crate) fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path)
}

/// Writes a file that only its owner may read.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use wire::proxy_config::ProxyConfig;
    use wire::upstreams::UpstreamSet;

    use super::*;

    fn seed(program: &str) -> Seed {
        Seed {
            machine: "a-stateless-1".into(),
            address: [10, 77, 0, 11].into(),
            prefix: 24,
            gateway: [10, 77, 0, 1].into(),
            program: program.to_owned(),
            settings: "machine = \"a-stateless-1\"\n".to_owned(),
            upstreams: None,
            proxy_config: None,
            credentials: None,
            environment: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }

    fn words(command: &[OsString]) -> Vec<&str> {
        command.iter().map(|word| word.to_str().expect("text")).collect()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn a_service_gets_its_settings() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("run/holdfast");
        let command = unpack(&seed("stateless"), Path::new("/usr/bin"), &directory).expect("unpacked");
        let settings = directory.join("settings.toml");
        let config = settings.to_str().expect("text");
        assert_eq!(words(&command), ["/usr/bin/stateless", "--config", config]);
        assert_eq!(fs::read_to_string(&settings).expect("read"), "machine = \"a-stateless-1\"\n");
        assert_eq!((mode(&directory), mode(&settings)), (0o700, 0o600));
        assert_eq!(fs::read_dir(&directory).expect("listed").count(), 1);
    }

    #[test]
    fn a_program_is_given_its_secrets_and_nobody_else_is() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = root.path().join("holdfast");
        let secret = |text: &str| wire::balancing::Secret(text.to_owned());
        let given = Seed {
            environment: [("PASSWORD".to_owned(), secret("a = \"b\"\nc"))].into(),
            secrets: [("tls.key".to_owned(), secret("planted"))].into(),
            ..seed("stateless")
        };
        unpack(&given, Path::new("/usr/bin"), &directory).expect("unpacked");
        let (secrets, key) = (directory.join("secrets"), directory.join("secrets/tls.key"));
        assert_eq!((mode(&secrets), mode(&key)), (0o700, 0o600));
        assert_eq!(fs::read_to_string(&key).expect("read"), "planted");
        let environment = environment(&given, &directory);
        let file = directory.join("environment");
        write_environment(&file, &environment).expect("written");
        assert_eq!(mode(&file), 0o600);
        let read = read_environment(&file).expect("read");
        let expected = [(CREDENTIALS.into(), secrets.into()), ("PASSWORD".into(), "a = \"b\"\nc".into())];
        assert_eq!(read, expected);
        assert_eq!(read_environment(&root.path().join("none")).expect("none"), []);
    }

    #[test]
    fn a_balancer_gets_its_state_too() {
        let root = tempfile::tempdir().expect("a directory");
        let upstreams = UpstreamSet { generation: 7, ..UpstreamSet::default() };
        let config = ProxyConfig { generation: 3, ..ProxyConfig::default() };
        let seed =
            Seed { upstreams: Some(upstreams.clone()), proxy_config: Some(config.clone()), ..seed("lb") };
        let command = unpack(&seed, Path::new("/usr/bin"), root.path()).expect("unpacked");
        let (state, settings) = (root.path().join("state"), root.path().join("settings.toml"));
        let (state_word, config_word) = (state.to_str().expect("text"), settings.to_str().expect("text"));
        assert_eq!(
            words(&command),
            ["/usr/bin/lb", "run", "--state-dir", state_word, "--config", config_word]
        );
        let read = |name: &str| fs::read(state.join(name)).expect("read");
        assert_eq!(serde_json::from_slice::<UpstreamSet>(&read("upstreams.json")).expect("a set"), upstreams);
        assert_eq!(serde_json::from_slice::<ProxyConfig>(&read("config.json")).expect("a config"), config);
        assert_eq!(mode(&state), 0o700);
        assert_eq!((mode(&state.join("upstreams.json")), mode(&state.join("config.json"))), (0o600, 0o600));
        // A machine that configures itself once more finds its own files.
        unpack(&seed, Path::new("/usr/bin"), root.path()).expect("unpacked again");
    }

    #[test]
    fn a_command_is_read_as_it_was_written() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("command");
        let command: Vec<OsString> = ["/usr/bin/a b", "--empty", "", "--last", ""].map(Into::into).into();
        write_command(&path, &command).expect("written");
        assert_eq!(read_command(&path).expect("read"), command);
        assert_eq!(mode(&path), 0o600);
        let error = write_command(&path, &["a\nb".into()]).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn what_cannot_be_run_is_explained() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("command");
        let nothing = root.path().join("environment");
        let reason = || format!("{:#}", run(&path, &nothing).expect_err("not started"));
        assert!(reason().contains("`holdfast-guest configure` writes it"), "{}", reason());
        fs::write(&path, "").expect("written");
        assert!(reason().ends_with("names no program in its first line"), "{}", reason());
        fs::write(&path, "/nowhere/lb\nrun\n").expect("written");
        assert!(reason().starts_with("cannot start /nowhere/lb: "), "{}", reason());
    }
}
