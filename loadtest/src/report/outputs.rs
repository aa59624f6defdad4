//! The files that a report is written to, in all the forms that it has.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;

use super::{Report, hgrm, html, json, junit};

/// Where reports are written to.
#[derive(Args, Clone, Debug, Default)]
pub struct Outputs {
    /// Where to write the report as one page that any browser shows, without a network.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Where to write the verdict as JUnit XML: a case for each threshold and each fault.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Where to write the latencies as HdrHistogram's percentile distribution, in milliseconds.
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Json,
    Html,
    Junit,
    Hgrm,
}

impl Form {
    fn option(self) -> &'static str {
        match self {
            Form::Json => "--json",
            Form::Html => "--html",
            Form::Junit => "--junit",
            Form::Hgrm => "--hgrm",
        }
    }

    fn write(self, report: &Report, file: &File) -> io::Result<()> {
        match self {
            Form::Json => json::write(report, file),
            Form::Html => html::write(report, file),
            Form::Junit => junit::write(report, file),
            Form::Hgrm => hgrm::write(report, file),
        }
    }
}

/// The files, open: what cannot be written was found before there was anything to write.
#[derive(Debug)]
pub struct Files(Vec<(Form, PathBuf, File)>);

impl Outputs {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        let Outputs { html, junit, hgrm } = self;
        [html, junit, hgrm].iter().all(|path| path.is_none())
    }

    /// Opens all of them, and `json`. They are emptied now, so that an older run's report is never taken for
    /// this one's.
    ///
    /// # Errors
    ///
    /// Names the one that cannot be written, or that would be two at once.
    pub fn open(&self, json: Option<&Path>) -> anyhow::Result<Files> {
        let paths = [
            (Form::Json, json),
            (Form::Html, self.html.as_deref()),
            (Form::Junit, self.junit.as_deref()),
            (Form::Hgrm, self.hgrm.as_deref()),
        ];
        let paths: Vec<_> = paths.into_iter().filter_map(|(form, path)| Some((form, path?))).collect();
        for (index, (form, path)) in paths.iter().enumerate() {
            let other = paths[..index].iter().find(|(_, other)| other == path && !is_device(path));
            if let Some((other, _)) = other {
                let (option, other) = (form.option(), other.option());
                anyhow::bail!(
                    "{option} and {other} are both to be written to {}: give each a file",
                    path.display()
                );
            }
        }
        let open = |(form, path): (Form, &Path)| {
            let file = File::create(path)
                .with_context(|| format!("{} {}: cannot be written", form.option(), path.display()))?;
            Ok((form, path.to_owned(), file))
        };
        Ok(Files(paths.into_iter().map(open).collect::<anyhow::Result<_>>()?))
    }

    /// Refuses to write over the file that is read.
    ///
    /// # Errors
    ///
    /// Names the option that would.
    pub fn spare(&self, read: &Path) -> anyhow::Result<()> {
        let Ok(read) = read.canonicalize() else { return Ok(()) };
        for (form, path) in [(Form::Html, &self.html), (Form::Junit, &self.junit), (Form::Hgrm, &self.hgrm)] {
            let same =
                path.as_ref().and_then(|path| path.canonicalize().ok()).is_some_and(|path| path == read);
            ensure!(!same, "{} would overwrite {}, which is read", form.option(), read.display());
        }
        Ok(())
    }
}

/// Such as `/dev/stdout`, which may well take two.
fn is_device(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| !meta.is_file())
}

impl Files {
    /// Writes them all.
    ///
    /// # Errors
    ///
    /// Names the one that could not be written; the others are.
    pub fn write(&self, report: &Report) -> anyhow::Result<()> {
        let mut result = Ok(());
        for (form, path, file) in &self.0 {
            let written = form.write(report, file);
            let written = written.with_context(|| format!("writing {} {}", form.option(), path.display()));
            result = result.and(written);
        }
        result
    }
}
