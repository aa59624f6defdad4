//! What the host can ask of this machine over the control channel.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{AccessFlags, Pid, access, gethostname};
use wire::MachineId;

use crate::channel::{Ask, Told};
use crate::places::Places;
use crate::{processes, program, spare};

/// What ends a machine in order: its init stops the services, and then the power goes off.
pub const POWER_OFF: &str = "/sbin/poweroff";

/// This machine.
pub struct Machine {
    name: MachineId,
    places: Places,
    power_off: PathBuf,
    /// Of one that was a spare.
    _ordered: Option<File>,
}

impl Machine {
    /// The machine called `name`, which is ended by the program `power_off`.
    pub fn new(name: MachineId, places: &Places, power_off: &Path) -> Self {
        Machine { name, places: places.clone(), power_off: power_off.to_owned(), _ordered: None }
    }

    /// The machine this runs on: its name is its host name.
    ///
    /// # Errors
    ///
    /// When it has none.
    pub fn this(places: &Places) -> io::Result<Self> {
        let name = gethostname()?.to_string_lossy().into_owned();
        Ok(Self::new(name.into(), places, Path::new(POWER_OFF)))
    }

    /// The first thing the host hears of this machine.
    pub fn greeting(&self) -> Told {
        Told::Booted { machine: self.name.clone() }
    }

    /// Does what is asked. For [`Ask::Shutdown`] that is only to see whether it can be done: once the
    /// host was told so, [`power_off`](Self::power_off) does it.
    pub fn answer(&mut self, ask: Ask) -> Told {
        let done = match ask {
            Ask::Status => {
                let program = self.program().is_ok_and(|found| !found.is_empty());
                return Told::Status { machine: self.name.clone(), program };
            }
            Ask::StopProgram => self.stop_program(),
            Ask::Become { seed, mac } => match spare::take_identity(&self.places, &seed, mac) {
                Ok(ordered) => {
                    self.name = seed.machine;
                    self._ordered = Some(ordered.pipe);
                    return ordered.told;
                }
                Err(error) => Err(format!("{error:#}")),
            },
            Ask::Shutdown => access(&self.power_off, AccessFlags::X_OK)
                .map_err(|error| format!("cannot run {}: {error}", self.power_off.display())),
        };
        match done {
            Ok(()) => Told::Done,
            Err(reason) => Told::Failed { reason },
        }
    }

    /// Starts the machine's end.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn power_off(&self) -> io::Result<()> {
        let mut child = Command::new(&self.power_off).stdin(Stdio::null()).spawn()?;
        // The channel goes on being read meanwhile.
        thread::Builder::new().name("power-off".to_owned()).spawn(move || child.wait())?;
        Ok(())
    }

    /// The program's first processes.
    fn program(&self) -> Result<Vec<i32>, String> {
        let path = self.places.command();
        let command = program::read_command(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let program = command.first().map(Path::new).unwrap_or(Path::new(""));
        let proc = &self.places.proc;
        processes::first_of(proc, program).map_err(|error| format!("cannot read {}: {error}", proc.display()))
    }

    fn stop_program(&self) -> Result<(), String> {
        let found = self.program()?;
        if found.is_empty() {
            return Err("the program does not run".to_owned());
        }
        for pid in found {
            match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(format!("cannot kill process {pid}: {error}")),
            }
        }
        Ok(())
    }
}
