//! Traces by OTLP: what a collector gets, decoded, and the `traceparent` of deliveries. Runs with the feature `otel`:
//! `cargo nextest run --workspace --features otel --test traces`.

// For clippy: all of this file is test code, its helpers too.
#![cfg(test)]
#![cfg(feature = "otel")]

use std::{collections::BTreeMap, time::Duration};

use as2hook_testing::{
    Endpoint, Gateway, Message, Part, Post, Request, Response, Running,
    gateway::{free_address, wait_until},
    pki, receiver, sink,
};

const SOON: Duration = Duration::from_secs(60);

/// A span, as far as the tests look at it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: u64,
    began: u64,
    ended: u64,
    attributes: BTreeMap<String, String>,
    links: Vec<(String, String)>,
    is_error: bool,
}

/// A field of a message of Protocol Buffers.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, with their numbers.
fn fields(mut message: &[u8]) -> Vec<(u64, Wire<'_>)> {
    fn varint(message: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (byte, rest) = message.split_first().unwrap();
            *message = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let value = match key & 7 {
            0 => Wire::Number(varint(&mut message)),
            1 => {
                let (value, rest) = message.split_first_chunk().unwrap();
                message = rest;
                Wire::Number(u64::from_le_bytes(*value))
            }
            2 => {
                let length = usize::try_from(varint(&mut message)).unwrap();
                let (value, rest) = message.split_at(length);
                message = rest;
                Wire::Bytes(value)
            }
            5 => {
                let (value, rest) = message.split_first_chunk().unwrap();
                message = rest;
                Wire::Number(u32::from_le_bytes(*value).into())
            }
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, value));
    }
    fields
}

fn within(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).into_iter().filter_map(move |(found, value)| match value {
        Wire::Bytes(bytes) if found == number => Some(bytes),
        _ => None,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// `KeyValue`: the key, and a value that is a text, a number or a boolean.
fn attribute(message: &[u8]) -> (String, String) {
    let key = text(within(message, 1).next().unwrap());
    let value = match fields(within(message, 2).next().unwrap()).pop().unwrap() {
        (1, Wire::Bytes(value)) => text(value),
        (_, Wire::Number(value)) => value.to_string(),
        (number, _) => panic!("{key}: a value of field {number}"),
    };
    (key, value)
}

/// `Span` of opentelemetry/proto/trace/v1/trace.proto.
fn span(message: &[u8]) -> Span {
    let mut span = Span::default();
    for (number, value) in fields(message) {
        match (number, value) {
            (1, Wire::Bytes(value)) => span.trace = hex(value),
            (2, Wire::Bytes(value)) => span.id = hex(value),
            (4, Wire::Bytes(value)) => span.parent = hex(value),
            (5, Wire::Bytes(value)) => span.name = text(value),
            (6, Wire::Number(value)) => span.kind = value,
            (7, Wire::Number(value)) => span.began = value,
            (8, Wire::Number(value)) => span.ended = value,
            (9, Wire::Bytes(value)) => span.attributes.extend([attribute(value)]),
            (13, Wire::Bytes(value)) => {
                let id = |number| hex(within(value, number).next().unwrap());
                span.links.push((id(1), id(2)));
            }
            (15, Wire::Bytes(value)) => {
                span.is_error = fields(value).iter().any(|it| matches!(it, (3, Wire::Number(2))));
            }
            _ => {}
        }
    }
    span
}

/// All spans that a collector has got, and the attributes of their resources.
fn spans(collector: &Endpoint) -> (Vec<Span>, BTreeMap<String, String>) {
    let (mut found, mut resource) = (Vec::new(), BTreeMap::new());
    for request in collector.requests() {
        assert_eq!(request.target(), "/v1/traces");
        assert_eq!(request.header("Content-Type"), Some("application/x-protobuf"));
        for resource_spans in within(&request.body.bytes, 1) {
            let of_resource = within(resource_spans, 1).flat_map(|it| within(it, 1));
            resource.extend(of_resource.map(attribute));
            let of_scopes = within(resource_spans, 2).flat_map(|it| within(it, 2));
            found.extend(of_scopes.map(span));
        }
    }
    (found, resource)
}

fn gateway(endpoint: &str, receiver: &Endpoint, hook: &Endpoint) -> Running {
    Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(receiver)
        .station("MY-OWN-ORG", pki::station())
        .rule("orders", |rule| {
            rule.to(hook, "/hook").payload("json").set("retry", "[100ms, 1h]").set("secret", "abc")
        })
        .environment("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .environment("OTEL_EXPORTER_OTLP_HEADERS", "api-key=sesame")
        .start()
        .unwrap()
}

fn send(gateway: &Running, headers: &[(&str, &str)]) {
    let message = Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
        .build();
    let mut post = Post::message("/as2", &message);
    for (name, value) in headers {
        post = post.header(name, *value);
    }
    assert_eq!(gateway.inbound().send(&post).unwrap().status, 200);
}

/// Trace, span and flags.
fn parent(request: &Request) -> Vec<String> {
    let mut all = request.head.headers.all("traceparent");
    let value = text(all.next().unwrap());
    assert_eq!(all.next(), None);
    value.split('-').skip(1).map(str::to_owned).collect()
}

#[test]
fn exchange_and_attempts_of_its_delivery_are_one_trace() {
    let (receiver, collector) = (receiver().start(), sink().start());
    let hook = sink().start();
    hook.next([Response::status(500)]);
    let gateway = gateway(&collector.url(""), &receiver, &hook);
    let of_partner = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    send(&gateway, &[("traceparent", of_partner), ("tracestate", "a=b")]);
    let attempts = hook.wait_for(2, SOON).unwrap();
    assert!(wait_until(SOON, || spans(&collector).0.len() == 3), "{:?}", spans(&collector));
    let (spans, resource) = spans(&collector);
    assert_eq!(resource["service.name"], "as2hook");
    assert_eq!(collector.requests()[0].header("api-key"), Some("sesame"));

    let exchange = spans.iter().find(|span| span.name == "AS2 inbound").unwrap();
    let event = attempts[0].header("X-AS2-Event-Id").unwrap();
    for (key, value) in [
        ("as2hook.event.id", event),
        ("as2hook.event", "message.received"),
        ("as2.from", "ACME"),
        ("as2.to", "MY-OWN-ORG"),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(exchange.attributes[key], value, "{exchange:?}");
    }
    // The partner's trace is linked, not continued, and goes no further.
    let linked = of_partner.split('-').skip(1).take(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(exchange.links, [(linked[0].clone(), linked[1].clone())]);
    assert_ne!(exchange.trace, linked[0]);
    assert_eq!((exchange.parent.as_str(), exchange.kind, exchange.is_error), ("", 2, false));
    assert!(exchange.began <= exchange.ended);

    let mut delivered: Vec<_> = spans.iter().filter(|span| span.name == "deliver orders").collect();
    delivered.sort_by_key(|span| span.began);
    for (number, (span, attempt)) in delivered.iter().zip(&attempts).enumerate() {
        assert_eq!((&span.trace, &span.parent), (&exchange.trace, &exchange.id));
        assert_eq!(parent(attempt), [span.trace.clone(), span.id.clone(), "01".to_owned()]);
        assert_eq!(attempt.header("tracestate"), None);
        assert_eq!(span.attributes["as2hook.attempt"], (number + 1).to_string());
        assert_eq!(span.attributes["as2hook.webhook_id"], attempt.header("webhook-id").unwrap());
        assert_eq!((span.kind, span.is_error), (3, number == 0));
    }
    let codes = delivered.iter().map(|span| span.attributes["http.response.status_code"].as_str());
    assert_eq!(codes.collect::<Vec<_>>(), ["500", "200"]);
}

#[test]
fn spans_that_wait_are_sent_before_the_process_ends() {
    let (receiver, collector, hook) = (receiver().start(), sink().start(), sink().start());
    let mut gateway = gateway(&collector.url(""), &receiver, &hook);
    send(&gateway, &[]);
    hook.wait_for(1, SOON).unwrap();
    assert!(gateway.sigterm(SOON).unwrap().unwrap().success());
    assert_eq!(spans(&collector).0.len(), 2);
}

#[test]
fn collector_that_is_away_costs_spans_and_nothing_else() {
    let (receiver, hook) = (receiver().start(), sink().start());
    let gateway = gateway(&format!("http://{}", free_address()), &receiver, &hook);
    for _ in 0..20 {
        send(&gateway, &[]);
    }
    let delivered = hook.wait_for(20, SOON).unwrap();
    assert!(delivered.iter().all(|request| parent(request).len() == 3));
    assert!(gateway.wait_for_log("Spans cannot be exported", SOON));
    assert!(wait_until(SOON, || gateway.figure("as2hook_dropped_spans_total") > 0));
    assert!(!gateway.log().contains("sesame"));
}

#[test]
fn sampler_that_takes_none_exports_none_and_says_so_to_webhooks() {
    let (receiver, collector, hook) = (receiver().start(), sink().start(), sink().start());
    let mut gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .rule("orders", |rule| rule.to(&hook, "/hook"))
        .environment("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url(""))
        .environment("OTEL_TRACES_SAMPLER", "always_off")
        .start()
        .unwrap();
    send(&gateway, &[]);
    assert_eq!(parent(&hook.wait_for(1, SOON).unwrap()[0])[2], "00");
    assert!(gateway.sigterm(SOON).unwrap().unwrap().success());
    assert_eq!(collector.requests().len(), 0);
}

#[test]
fn wrong_variable_ends_the_start_with_its_name() {
    let receiver = receiver().start();
    let started = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .environment("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
        .environment("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .start();
    let error = started.unwrap_err().to_string();
    assert!(error.contains("OTEL_EXPORTER_OTLP_PROTOCOL=grpc: must be http/protobuf"), "{error}");
}
