//! The channel's reader: one host after the other, for ever.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result};

use super::PORT;
use super::port::{self, Port};
use super::serve::{serve, tell};
use crate::machine::Machine;
use crate::places::Places;
use crate::wait::until_found;

/// Reads the control channel. The port has `patience` to appear.
///
/// # Errors
///
/// When there is no port, or it fails; for nothing that a host sends.
pub fn daemon(places: &Places, patience: Duration) -> Result<Infallible> {
    let mut machine = Machine::this(places).context("cannot read the host name")?;
    let device = until_found(patience, || port::find(places, PORT))
        .with_context(|| format!("there is no virtio port called {PORT}: give the machine one"))?;
    let mut port = port::open(&device).with_context(|| format!("cannot open {}", device.display()))?;
    attend(&mut port, &mut machine).with_context(|| format!("{} failed", device.display()))
}

/// Greets the first host that is there, and answers whoever is. It runs before any host has connected.
fn attend<T: AsFd + Read + Write>(port: &mut Port<T>, machine: &mut Machine) -> std::io::Result<Infallible> {
    let mut greeted = false;
    loop {
        if !greeted {
            greeted = tell(port, &machine.greeting())?;
        }
        serve(port, machine)?;
        port.changed()?;
    }
}

#[cfg(test)]
mod tests;
