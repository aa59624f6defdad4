//! The report as a file of JSON: the one form that has everything, from which all others are made.

use std::io::{self, Read, Write};

use anyhow::{Context, bail};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::Report;
use crate::count::Failure;

/// The version of the report's structure that this program writes and reads.
pub const SCHEMA: u32 = 1;

/// Reports beyond this are no reports; the largest of ours are a few megabytes.
const MAX_BYTES: u64 = 256 << 20;

/// Writes a report. Fields stand on lines of their own, down to those of a fault; what is repeated a
/// thousand times (buckets, counts) has a line for each.
///
/// # Errors
///
/// What writing says.
pub fn write(report: &Report, to: impl Write) -> io::Result<()> {
    let mut to = io::BufWriter::new(to);
    report.serialize(&mut Serializer::with_formatter(&mut to, Lines::default()))?;
    to.write_all(b"\n")?;
    to.flush()
}

/// The report as its JSON says it: what is made of a report is made of this, so that it is the same when it is made
/// again from the file.
///
/// # Errors
///
/// Never: what is written can be read.
pub fn settled(report: &Report) -> anyhow::Result<Report> {
    let mut text = Vec::new();
    write(report, &mut text)?;
    read(&text[..])
}

/// Reads a report.
///
/// # Errors
///
/// When it is no report, or one that this program does not know how to read.
pub fn read(from: impl Read) -> anyhow::Result<Report> {
    #[derive(Deserialize)]
    struct Version {
        schema: Option<u64>,
    }
    let mut text = String::new();
    from.take(MAX_BYTES).read_to_string(&mut text).context("cannot be read")?;
    let version: Version = serde_json::from_str(&text).context("is no report of loadtest in JSON")?;
    match version.schema {
        Some(schema) if schema == u64::from(SCHEMA) => {}
        Some(newer) => bail!(
            "is a report with schema {newer}; this program reads schema {SCHEMA}: use the loadtest that wrote it"
        ),
        None => bail!(
            "has no `schema`: it is no report of loadtest, or one from before its reports had a version. \
             Run again with this one"
        ),
    }
    serde_json::from_str(&text).context("is not the report that its schema promises")
}

/// The JSON Schema of a report.
pub fn schema() -> Schema {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Report>();
    schema.insert("title".to_owned(), "A report of loadtest".into());
    if let Some(version) = schema.pointer_mut("/properties/schema").and_then(|field| field.as_object_mut()) {
        version.insert("const".to_owned(), SCHEMA.into());
    }
    schema
}

impl JsonSchema for Failure {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Failure".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Failure::ALL.map(Failure::name) })
    }
}

/// In arrays and objects at this depth and below, everything is on one line.
const INLINE: usize = 4;

/// Pretty outside, compact inside.
#[derive(Default)]
struct Lines<'a> {
    pretty: PrettyFormatter<'a>,
    depth: usize,
}

impl Lines<'_> {
    fn inline(&self) -> bool {
        self.depth >= INLINE
    }

    fn separate<W: ?Sized + Write>(writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }
}

/// So many digits of a number come back unchanged from every reader of JSON.
fn exact(value: f64) -> f64 {
    format!("{value:.14e}").parse().unwrap_or(value)
}

/// Brackets count the depth; inside of [`INLINE`] none of the line breaks is written.
impl Formatter for Lines<'_> {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        self.pretty.write_f64(writer, exact(value))
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        if self.inline() { writer.write_all(b"[") } else { self.pretty.begin_array(writer) }
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let inline = self.inline();
        self.depth -= 1;
        if inline { writer.write_all(b"]") } else { self.pretty.end_array(writer) }
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if self.inline() {
            Self::separate(writer, first)
        } else {
            self.pretty.begin_array_value(writer, first)
        }
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.inline() { Ok(()) } else { self.pretty.end_array_value(writer) }
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        if self.inline() { writer.write_all(b"{") } else { self.pretty.begin_object(writer) }
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let inline = self.inline();
        self.depth -= 1;
        if inline { writer.write_all(b"}") } else { self.pretty.end_object(writer) }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if self.inline() {
            Self::separate(writer, first)
        } else {
            self.pretty.begin_object_key(writer, first)
        }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.inline() { Ok(()) } else { self.pretty.end_object_value(writer) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_deep_stands_on_one_line_and_all_of_it_comes_back() {
        let value = json!({"a": [], "f": [{"kind": "eof", "by": {"x": 1, "y": {}}}], "t": {"b": [[1, 2], [3, {"z": []}]]}});
        let mut text = Vec::new();
        value.serialize(&mut Serializer::with_formatter(&mut text, Lines::default())).unwrap();
        let text = String::from_utf8(text).unwrap();
        let expected = r#"{
  "a": [],
  "f": [
    {
      "by": {"x": 1, "y": {}},
      "kind": "eof"
    }
  ],
  "t": {
    "b": [
      [1, 2],
      [3, {"z": []}]
    ]
  }
}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn numbers_are_the_same_after_any_number_of_times() {
        let mut value = 1.0_f64;
        for step in 1..20_000_u32 {
            value = (value * 1.618_033_988_749_9 + f64::from(step).sqrt()) % 3_600_000.0;
            let mut text = Vec::new();
            (value / 7.0).serialize(&mut Serializer::with_formatter(&mut text, Lines::default())).unwrap();
            let read: f64 = serde_json::from_slice(&text).unwrap();
            let mut again = Vec::new();
            read.serialize(&mut Serializer::with_formatter(&mut again, Lines::default())).unwrap();
            assert_eq!(text, again, "{value}");
        }
    }

    #[test]
    fn what_is_no_report_is_refused_with_what_it_is() {
        for (text, said) in [
            ("", "no report of loadtest in JSON"),
            ("[]", "no report of loadtest in JSON"),
            ("{}", "has no `schema`"),
            (r#"{"schema": 2, "later": true}"#, "schema 2; this program reads schema 1"),
            (r#"{"schema": 1}"#, "missing field"),
        ] {
            let error = format!("{:#}", read(text.as_bytes()).unwrap_err());
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
