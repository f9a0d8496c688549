//! `/metrics` and the alerts on it, judged by Prometheus's own tool.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use as2hook_testing::{
    Gateway, Message, Part, Post, Response, Running, gateway::wait_until, receiver, sink,
};

const SOON: Duration = Duration::from_secs(60);

fn promtool(arguments: &[&str], input: &str) -> Output {
    let alerts = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/prometheus");
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(alerts);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("promtool of prometheus, which test.sh installs");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn metrics(gateway: &Running, accept: &str) -> (String, String) {
    let get = Post::method("GET", "/metrics").header("Accept", accept);
    let reply = gateway.admin().send(&get).unwrap();
    let kind = reply.header("content-type").unwrap_or_default().to_owned();
    (kind, reply.text().into_owned())
}

#[test]
fn alerts_are_raised_at_the_first_dead_delivery() {
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        let output = promtool(&arguments, "");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
}

#[test]
fn every_series_begins_at_nought_and_is_clean_for_prometheus() {
    let receiver = receiver().start();
    let hook = sink().respond(Response::status(500)).start();
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .rule("orders", |rule| rule.to(&hook, "/").set("retry", "[]"))
        .start()
        .unwrap();
    let (kind, text) = metrics(&gateway, "*/*");
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let dead = "as2hook_deliveries_total{webhook=\"orders\",result=\"dead\"}";
    for series in [
        dead,
        "as2hook_webhook_up{webhook=\"orders\"}",
        "as2hook_events_total{event=\"delivery.dead\"}",
        "as2hook_exchanges_total{listener=\"inbound\",result=\"5xx\"}",
        "as2hook_refusals_total{listener=\"inbound\",reason=\"unreachable\"}",
        "as2hook_queue{state=\"cancelled\"}",
        "as2hook_reloads_total{result=\"refused\"}",
        "as2hook_decode_errors_total{code=\"800\"}",
        "as2hook_dropped_events_total",
    ] {
        let value = u8::from(series.contains("webhook_up"));
        assert!(text.contains(&format!("{series} {value}\n")), "{series} in {text}");
    }
    let judged = promtool(&["check", "metrics"], &text);
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
    let part = Part::text("order.edi", "application/edifact", "UNA");
    let message = Message::new("ACME", "MY-OWN-ORG").attach(part).build();
    gateway.inbound().send(&Post::message("/as2", &message)).unwrap();
    let counted = || metrics(&gateway, "*/*").1.contains(&format!("{dead} 1\n"));
    assert!(wait_until(SOON, counted));
}

#[test]
fn openmetrics_is_given_to_who_asks_for_it() {
    let receiver = receiver().start();
    let binary = env!("CARGO_BIN_EXE_as2hook");
    let gateway = Gateway::new().binary(binary).receiver(&receiver).start().unwrap();
    // As Prometheus asks.
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2";
    let (kind, text) = metrics(&gateway, accept);
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# TYPE as2hook_exchanges counter\n"));
}
