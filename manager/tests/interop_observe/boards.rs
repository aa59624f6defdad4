//! The boards as Grafana is given them.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::repository;

/// Panels that show something.
const KINDS: [&str; 4] = ["timeseries", "stat", "state-timeline", "table"];

/// The units that are used, as Grafana names them.
const UNITS: [&str; 8] = ["none", "s", "bytes", "percentunit", "reqps", "cps", "pps", "short"];

/// A board.
pub(crate) struct Board {
    pub(crate) file: String,
    pub(crate) json: Value,
}

/// Something that a board asks.
pub(crate) struct Query {
    /// Board and panel.
    pub(crate) place: String,
    pub(crate) expression: String,
}

/// All boards, in the order of their names.
pub(crate) fn all() -> Vec<Board> {
    let directory = repository("deploy/observe/grafana/boards");
    let mut boards: Vec<Board> = fs::read_dir(&directory)
        .expect("the boards")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a board");
            let json =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            Board { file: path.file_name().expect("a name").display().to_string(), json }
        })
        .collect();
    boards.sort_by(|one, other| one.file.cmp(&other.file));
    boards
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl Board {
    fn panels(&self) -> impl Iterator<Item = &Value> {
        list(&self.json, "/panels").iter().filter(|panel| text(panel, "/type") != "row")
    }

    /// What its panels ask, as they ask it when all is chosen.
    pub(crate) fn queries(&self) -> Vec<Query> {
        let asked = self.panels().flat_map(|panel| {
            list(panel, "/targets").iter().map(|target| Query {
                place: format!("{}: {}", self.file, text(panel, "/title")),
                expression: chosen(text(target, "/expr")),
            })
        });
        asked.collect()
    }

    /// What its marks ask.
    pub(crate) fn marks(&self) -> Vec<Query> {
        let marks = list(&self.json, "/annotations/list").iter().map(|mark| Query {
            place: format!("{}: {}", self.file, text(mark, "/name")),
            expression: chosen(text(mark, "/expr")),
        });
        marks.collect()
    }

    /// What its variables ask: `label_values(METRIC, LABEL)`, as a query with a series for each value.
    pub(crate) fn variables(&self) -> Vec<Query> {
        let variables = list(&self.json, "/templating/list").iter();
        let asked = variables.filter(|variable| text(variable, "/type") == "query").map(|variable| {
            let query = text(variable, "/query/query");
            let words = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (metric, label) =
                words.and_then(|words| words.split_once(", ")).expect("label_values(METRIC, LABEL)");
            Query {
                place: format!("{}: variable {}", self.file, text(variable, "/name")),
                expression: format!("count by ({label}) ({metric}{{{label}!=\"\"}})"),
            }
        });
        asked.collect()
    }

    /// What is wrong with it.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut wrong = |condition: bool, what: String| {
            if condition {
                faults.push(format!("{}: {what}", self.file));
            }
        };
        let board = &self.json;
        let stem = self.file.trim_end_matches(".json");
        wrong(
            text(board, "/uid") != format!("holdfast-{stem}"),
            "its uid is not holdfast- and its file's name".into(),
        );
        wrong(text(board, "/title").is_empty(), "no title".into());
        wrong(board["schemaVersion"].as_u64().is_none_or(|version| version < 36), "no schemaVersion".into());
        wrong(!board["id"].is_null(), "an id, which is the database's".into());
        let variables = list(board, "/templating/list");
        let source = variables.first().map(|first| (text(first, "/name"), text(first, "/type")));
        wrong(
            source != Some(("datasource", "datasource")),
            "the first variable is not the data source".into(),
        );
        let names: BTreeSet<&str> = variables.iter().map(|variable| text(variable, "/name")).collect();
        wrong(names.len() != variables.len(), "two variables have one name".into());
        let panels = list(board, "/panels");
        let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
        wrong(ids.len() != panels.len(), "panels without an id of their own".into());
        for (at, panel) in panels.iter().enumerate() {
            let title = text(panel, "/title");
            let fault = |what: &str| format!("panel {at} `{title}`: {what}");
            wrong(title.is_empty(), fault("no title"));
            let at = Place::of(panel);
            wrong(at.is_none(), fault("no place"));
            let overlaps =
                |other: &Value| at.zip(Place::of(other)).is_some_and(|(one, other)| one.overlaps(other));
            wrong(panels.iter().filter(|other| overlaps(other)).count() > 1, fault("lies on another one"));
        }
        for panel in self.panels() {
            let fault = |what: &str| format!("panel `{}`: {what}", text(panel, "/title"));
            wrong(!KINDS.contains(&text(panel, "/type")), fault("of no known kind"));
            wrong(!UNITS.contains(&text(panel, "/fieldConfig/defaults/unit")), fault("no known unit"));
            let targets = list(panel, "/targets");
            wrong(targets.is_empty(), fault("asks nothing"));
            let refs: BTreeSet<&str> = targets.iter().map(|target| text(target, "/refId")).collect();
            wrong(refs.len() != targets.len(), fault("two queries have one refId"));
            let sources = targets.iter().chain([panel]).map(|part| text(part, "/datasource/uid"));
            wrong(
                sources.into_iter().any(|uid| uid != "${datasource}"),
                fault("not of the chosen data source"),
            );
            for target in targets {
                let expression = text(target, "/expr");
                wrong(expression.is_empty(), fault("an empty query"));
                let unknown = used(expression).into_iter().find(|name| !names.contains(name.as_str()));
                wrong(
                    unknown.is_some(),
                    fault(&format!("asks for ${}, which is no variable", unknown.unwrap_or_default())),
                );
            }
        }
        faults
    }
}

/// Where a panel lies.
#[derive(Clone, Copy)]
struct Place {
    x: u64,
    y: u64,
    w: u64,
    h: u64,
}

impl Place {
    fn of(panel: &Value) -> Option<Self> {
        let side = |name: &str| panel["gridPos"][name].as_u64();
        let place = Place { x: side("x")?, y: side("y")?, w: side("w")?, h: side("h")? };
        (place.w > 0 && place.h > 0 && place.x + place.w <= 24).then_some(place)
    }

    fn overlaps(self, other: Self) -> bool {
        self.x < other.x + other.w
            && other.x < self.x + self.w
            && self.y < other.y + other.h
            && other.y < self.y + self.h
    }
}

/// The variables of a query that are not Grafana's own.
fn used(expression: &str) -> BTreeSet<String> {
    let names = expression.split('$').skip(1).map(|rest| {
        rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect::<String>()
    });
    names.filter(|name| !name.starts_with("__")).collect()
}

/// A query as it is sent when everything is chosen, and the scrape interval is that of the tests.
fn chosen(expression: &str) -> String {
    let mut sent = expression.replace("$__rate_interval", "20s").replace("$__range", "15m");
    for name in used(expression) {
        sent = sent.replace(&format!("${name}"), ".*");
    }
    assert!(!sent.contains('$'), "{expression}: something of it is not understood");
    sent
}
