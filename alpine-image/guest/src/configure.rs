//! Makes the machine what its seed says.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::unistd::sethostname;
use wire::seed::{self, Seed};

use crate::places::Places;
use crate::seed_disk::SeedError;
use crate::wait::until_found;
use crate::{network, program, seed_disk, spare};

/// Where the images have their programs.
const PROGRAMS: &str = "/usr/bin";

/// Finds the seed, unpacks the program's files, and sets the host name and the network; or makes this machine a spare,
/// where the seed says that. Seed disk and network card have `patience` to appear. Gives what was done, in one line.
///
/// # Errors
///
/// Says what is missing or wrong.
pub fn configure(places: &Places, patience: Duration) -> Result<String> {
    let Some(device) = until_found(patience, || find_seed(places)) else {
        anyhow::bail!(
            "no seed disk: {} is a FAT volume labelled CIDATA; attach the machine's seed as a disk",
            none_of(&disks(places))
        );
    };
    let Some(seed) = read_seed(&device)? else {
        spare::prepare(places)?;
        return Ok("a spare: it waits to be told which machine it is".to_owned());
    };
    settle(places, &seed, None, patience)?;
    let Seed { machine, address, prefix, gateway, .. } = &seed;
    Ok(format!("{machine} has {address}/{prefix}, gateway {gateway}, and runs {}", seed.program))
}

/// Makes this machine the one of `seed`; its network card gets the address `mac`, unless it has it already. The last that is
/// written is the program's command. Gives how long the files took.
pub(crate) fn settle(
    places: &Places,
    seed: &Seed,
    mac: Option<[u8; 6]>,
    patience: Duration,
) -> Result<Duration> {
    let began = Instant::now();
    let command = program::unpack(seed, Path::new(PROGRAMS), &places.run)
        .with_context(|| format!("cannot write the program's files to {}", places.run.display()))?;
    program::write_environment(&places.environment(), &program::environment(seed, &places.run))
        .with_context(|| format!("cannot write {}", places.environment().display()))?;
    let files = began.elapsed();
    let machine = &seed.machine;
    sethostname(machine.as_str()).with_context(|| format!("cannot set the host name {machine}"))?;
    network::configure(places, seed, mac, patience)?;
    program::write_command(&places.command(), &command)
        .with_context(|| format!("cannot write {}", places.command().display()))?;
    Ok(files)
}

fn find_seed(places: &Places) -> Option<PathBuf> {
    disks(places).into_iter().find(|device| File::open(device).is_ok_and(|file| seed_disk::is_seed(&file)))
}

/// The devices of all disks, in order.
fn disks(places: &Places) -> Vec<PathBuf> {
    let entries = fs::read_dir(places.sys.join("block")).into_iter().flatten().flatten();
    let mut disks: Vec<_> = entries.map(|entry| places.dev.join(entry.file_name())).collect();
    disks.sort();
    disks
}

fn none_of(disks: &[PathBuf]) -> String {
    let names: Vec<_> = disks.iter().map(|disk| disk.display().to_string()).collect();
    if names.is_empty() {
        "there is no disk, so none".to_owned()
    } else {
        format!("none of {}", names.join(", "))
    }
}

/// What is on the seed disk `device`; none where that is a spare's.
fn read_seed(device: &Path) -> Result<Option<Seed>> {
    let file = File::open(device).with_context(|| format!("cannot open {}", device.display()))?;
    let text = match seed_disk::read(&file, seed::FILE) {
        Err(SeedError::NoFile(_)) if seed_disk::read(&file, spare::FILE).is_ok() => return Ok(None),
        read => read.with_context(|| device.display().to_string())?,
    };
    let seed = serde_json::from_slice(&text)
        .with_context(|| format!("{}: {} is not valid", device.display(), seed::FILE))?;
    Ok(Some(seed))
}
