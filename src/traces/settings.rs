//! What the environment says of traces, by the variables of OpenTelemetry. Those of the endpoint, its headers and its
//! timeout are read by the exporter itself.

use std::{path::PathBuf, time::Duration};

use super::TracesError;

/// How traces are made and sent.
#[derive(Debug, PartialEq)]
pub(super) struct Settings {
    /// The share of events that have a trace.
    pub(super) ratio: f64,
    /// The time for one request to the collector, and those that are made again.
    pub(super) timeout: Duration,
    /// The roots of the collector's certificate, as PEM; else the system's.
    pub(super) certificate: Option<PathBuf>,
    /// `service.name`, unless `OTEL_RESOURCE_ATTRIBUTES` has it.
    pub(super) is_named: bool,
}

// === impl Settings ===

impl Settings {
    /// `None`: nothing is exported.
    pub(super) fn read(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, TracesError> {
        // As the specification has it, an empty one counts as missing.
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let of_otlp = |traces: &'static str, all: &'static str| {
            variable(traces).map(|value| (traces, value)).or_else(|| Some((all, variable(all)?)))
        };
        let endpoint = of_otlp("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT");
        let is_disabled =
            variable("OTEL_SDK_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true"));
        let exporter = variable("OTEL_TRACES_EXPORTER");
        if endpoint.is_none() || is_disabled || exporter.as_deref() == Some("none") {
            return Ok(None);
        }
        let wrong = |name, value, expected| Err(TracesError::Variable { name, value, expected });
        if let Some(other) = exporter.filter(|it| it != "otlp") {
            return wrong("OTEL_TRACES_EXPORTER", other, "must be otlp or none");
        }
        let protocol = of_otlp("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL");
        if let Some((name, other)) = protocol.filter(|(_, value)| value != "http/protobuf") {
            return wrong(name, other, "must be http/protobuf, which alone is built in");
        }
        let ratio = match variable("OTEL_TRACES_SAMPLER").as_deref() {
            None | Some("always_on" | "parentbased_always_on") => 1.0,
            Some("always_off" | "parentbased_always_off") => 0.0,
            Some("traceidratio" | "parentbased_traceidratio") => {
                let name = "OTEL_TRACES_SAMPLER_ARG";
                let share = variable(name).unwrap_or_else(|| "1".to_owned());
                match share.parse() {
                    Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
                    _ => return wrong(name, share, "must be a number from 0 to 1"),
                }
            }
            Some(other) => {
                let expected = "must be always_on, always_off or traceidratio";
                return wrong("OTEL_TRACES_SAMPLER", other.to_owned(), expected);
            }
        };
        let timeout = of_otlp("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT");
        let timeout = match timeout {
            None => Duration::from_secs(10),
            Some((name, value)) => match value.parse() {
                Ok(ms) => Duration::from_millis(ms),
                Err(_) => return wrong(name, value, "must be a number of milliseconds"),
            },
        };
        let certificate =
            of_otlp("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE");
        let attributes = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let is_named = variable("OTEL_SERVICE_NAME").is_some()
            || attributes.split(',').any(|it| it.trim_start().starts_with("service.name="));
        let certificate = certificate.map(|(_, file)| file.into());
        Ok(Some(Self { ratio, timeout, certificate, is_named }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        let all: Vec<_> = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")]
            .iter()
            .chain(variables)
            .collect();
        let variable = |name: &str| {
            all.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        Settings::read(variable).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_exported_without_an_endpoint_or_where_it_is_switched_off() {
        assert_eq!(Settings::read(|_| None).unwrap(), None);
        for off in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
            ("OTEL_SDK_DISABLED", "TRUE"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ] {
            assert_eq!(read(&[off]), Ok(None), "{off:?}");
        }
    }

    #[test]
    fn endpoint_alone_exports_all_traces_within_ten_seconds() {
        let expected = Settings {
            ratio: 1.0,
            timeout: Duration::from_secs(10),
            certificate: None,
            is_named: false,
        };
        assert_eq!(read(&[]), Ok(Some(expected)));
    }

    #[test]
    fn sampler_timeout_and_name_are_read() {
        let settings = read(&[
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "20000"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "500"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/ca.pem"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name=edge"),
        ]);
        let expected = Settings {
            ratio: 0.25,
            timeout: Duration::from_millis(500),
            certificate: Some("/etc/ca.pem".into()),
            is_named: true,
        };
        assert_eq!(settings, Ok(Some(expected)));
    }

    #[test]
    fn variable_that_means_nothing_here_is_an_error_that_names_it() {
        for (name, value) in [
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.starts_with(&format!("{name}={value}: must be ")), "{error}");
        }
        let ratio = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "25")];
        assert!(read(&ratio).unwrap_err().starts_with("OTEL_TRACES_SAMPLER_ARG=25: "));
    }
}
