//! `/sd`: where Prometheus finds everything, in the format of its HTTP service discovery
//! (<https://prometheus.io/docs/prometheus/latest/http_sd/>).

use std::collections::BTreeMap;

use axum::extract::State;
use kit::api::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::engine::Target;

/// Targets that have the same labels.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct TargetGroup {
    /// Where `/metrics` is, as `ADDRESS:PORT`.
    targets: Vec<String>,
    /// `job` (`manager`, `lb` or the name of a service) and `host`; for machines also `machine` and `service`.
    labels: BTreeMap<&'static str, String>,
}

/// Everything that has metrics, for Prometheus' `http_sd_configs`: the managers, balancers and service machines of every
/// host that this manager knows, dead ones included. Managers that know the same hosts answer the same, so that one
/// Prometheus may ask several of them and finds each target once.
#[utoipa::path(get, path = "/sd", responses((status = 200, body = [TargetGroup])))]
pub(super) async fn targets(State(api): State<Api>) -> Json<Vec<TargetGroup>> {
    let targets = api.shared.look(|engine, now| engine.targets(now));
    Json(targets.into_iter().map(group).collect())
}

fn group(target: Target) -> TargetGroup {
    let Target { at, host, machine } = target;
    let mut labels = BTreeMap::from([("job", "manager".to_owned()), ("host", host.to_string())]);
    if let Some((machine, service)) = machine {
        labels.extend([
            ("job", service.to_string()),
            ("machine", machine.to_string()),
            ("service", service.to_string()),
        ]);
    }
    TargetGroup { targets: vec![at.to_string()], labels }
}
