//! `/metrics`, in the text form that a client asks for.

use std::collections::HashSet;

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};

use crate::gateway::ApiState;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every figure: in the text form of OpenMetrics where `Accept` names it, else in that of Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses(
        (status = 200, description = "For Prometheus", content(
            (String = "text/plain"),
            (String = "application/openmetrics-text"),
        )),
    )
)]
pub(crate) async fn metrics(State(api): State<ApiState>, headers: HeaderMap) -> Response {
    let text = api.gateway.metrics().await;
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut forms = accepted.flat_map(|value| value.split(','));
    if forms.any(|form| form.trim_start().starts_with("application/openmetrics-text")) {
        ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response()
    } else {
        ([(header::CONTENT_TYPE, PROMETHEUS)], prometheus(&text)).into_response()
    }
}

/// Turns the text form of OpenMetrics into that of Prometheus, where a counter's own name ends in `_total`, and
/// neither units nor an end are named.
fn prometheus(openmetrics: &str) -> String {
    let type_of = |line: &'_ str| -> Option<(String, bool)> {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some((name.to_owned(), kind == "counter"))
    };
    let types = openmetrics.lines().filter_map(type_of);
    let counters: HashSet<_> = types.filter(|(_, is_counter)| *is_counter).map(|it| it.0).collect();
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("UNIT" | "EOF"), ..) => continue,
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(name) => {
                text.push_str(&format!("# {what} {name}_total {rest}"));
            }
            // See `dropped_events_total`: here it can be what it is.
            (Some("#"), Some("TYPE"), Some(name), Some("gauge")) if name.ends_with("_total") => {
                text.push_str(&format!("# TYPE {name} counter"));
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_is_named_with_its_ending_in_the_form_of_prometheus() {
        let openmetrics = "# HELP a_events Events by type.\n# TYPE a_events counter\n\
            a_events_total{event=\"x\"} 1\n# HELP a_age Age.\n# TYPE a_age gauge\n\
            # UNIT a_age seconds\na_age 0.0\n# EOF\n";
        let expected = "# HELP a_events_total Events by type.\n# TYPE a_events_total counter\n\
            a_events_total{event=\"x\"} 1\n# HELP a_age Age.\n# TYPE a_age gauge\na_age 0.0\n";
        assert_eq!(prometheus(openmetrics), expected);
    }
}
