//! Which of the partner's headers go along.

use super::*;
use as2hook_event::PassHeaders;

#[test]
fn duplicates_values_and_case_are_kept() {
    let event = event_with(&[("X-Custom", "one  two"), ("x-CUSTOM", "\u{e9}"), ("X-Empty", "")]);
    let request = request(&event, PayloadMode::HEADERS);
    let custom: Vec<_> = request
        .headers
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("x-custom"))
        .map(|field| (field.name.as_ref(), field.value.as_bytes()))
        .collect();
    assert_eq!(custom, [("X-Custom", b"one  two".as_slice()), ("x-CUSTOM", "\u{e9}".as_bytes())]);
    assert_eq!(header(&request, "X-Empty"), Some(""));
    assert_eq!(request.headers.to_map().get_all("x-custom").iter().count(), 2);
}

#[test]
fn the_never_list() {
    let never = [
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Content-Encoding",
        "Host",
        "Authorization",
        "Cookie",
        "Set-Cookie",
        "Expect",
        "Proxy",
        "Forwarded",
        "X-Forwarded",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Real-IP",
        "X-HTTP-Method-Override",
        "webhook-anything",
        "X-AS2-Replay",
        "X-AS2-Anything",
        "X-AS2-Signature",
        "X-Processing-Error",
        "X-Send-Error",
        "X-Truncated",
    ];
    for name in never {
        for form in [name.to_owned(), name.replace('-', "_"), name.to_uppercase()] {
            let event = event_with(&[(&form, "evil")]);
            for mode in [PayloadMode::HEADERS, PayloadMode::JSON, PayloadMode::RAW] {
                let request = request(&event, mode);
                let there = request.headers.iter().any(|field| field.name == form.as_str());
                assert!(!there, "{form} in {mode:?}");
                assert_eq!(request.dropped, [""; 0], "{form} is legal");
            }
        }
    }
}

/// Headers by which proxies and sign-on gateways vouch to the servers behind them; conditional and range requests.
#[test]
fn identity_of_the_inside_world_never_goes_along() {
    let never = [
        "X-Remote-User",
        "Remote-User",
        "Remote-Groups",
        "REMOTE_USER",
        "X-SSL-Client-Cert",
        "SSL-Client-Verify",
        "X-SSL-Client-S-DN",
        "Client-Cert",
        "True-Client-IP",
        "Client-IP",
        "CF-Connecting-IP",
        "CF-Access-Jwt-Assertion",
        "Fastly-Client-IP",
        "X-Cluster-Client-IP",
        "X-Client-IP",
        "X-Client-Cert",
        "X-Api-Key",
        "Api-Key",
        "X-Auth-Request-User",
        "X-Auth-Token",
        "X-Authenticated-User",
        "X-Authorization",
        "X-User",
        "X-User-Id",
        "X-Username",
        "X-Real-IP",
        "X-Real-Port",
        "X-Original-URL",
        "X-Original-Host",
        "X-Rewrite-URL",
        "X-ARR-ClientCert",
        "X-Amzn-Oidc-Identity",
        "X-Amzn-Mtls-Clientcert",
        "X-Envoy-Original-Path",
        "X-Goog-IAP-JWT-Assertion",
        "X-Goog-Authenticated-User-Email",
        "X-MS-CLIENT-PRINCIPAL",
        "X-Consumer-Username",
        "X-WebAuth-User",
        "X-authentik-username",
        "X-Pomerium-Jwt-Assertion",
        "OIDC_CLAIM_sub",
        "SM_USER",
        "iv-user",
        "Tailscale-User-Login",
        "Shib-Identity-Provider",
        "If-Match",
        "If-None-Match",
        "If-Modified-Since",
        "If-Unmodified-Since",
        "If-Range",
        "Range",
        "X-HTTP-Method",
        "X-Method-Override",
        "X-Accel-Mapping",
        "X-Middleware-Subrequest",
        // A partner's trace is none of the receiver's.
        "traceparent",
        "tracestate",
    ];
    let endpoint = Endpoint { pass_headers: PassHeaders::named(never), ..endpoint() };
    for name in never {
        assert!(is_never_passed(name), "{name}");
        let forms =
            [name.to_owned(), name.replace('-', "_"), name.replace('-', "."), name.to_lowercase()];
        for form in forms {
            let event = event_with(&[(&form, "evil")]);
            for request in [
                request(&event, PayloadMode::HEADERS),
                rendered(&event, &rendering(PayloadMode::RAW), &endpoint),
            ] {
                assert!(request.headers.iter().all(|field| field.value != "evil"), "{form}");
            }
        }
    }
}

#[test]
fn docs_name_every_header_that_never_goes_along() {
    let docs = include_str!("../../../../../docs/webhooks.md").to_lowercase();
    let families = headers::NEVER_FAMILIES.iter().map(|family| format!("`{family}*`"));
    let names = headers::NEVER.iter().chain(&headers::FRAMING).map(|name| format!("`{name}`"));
    let missing: Vec<_> = families.chain(names).filter(|name| !docs.contains(name)).collect();
    assert_eq!(missing, [""; 0]);
}

/// What RFC 4130 and AS2 servers send.
#[test]
fn headers_of_as2_servers_go_along() {
    let event = seed_event();
    for name in [
        "AS2-Version",
        "AS2-Product",
        "Date",
        "EDIINT-Features",
        "Disposition-Notification-To",
        "Disposition-Notification-Options",
        "Receipt-Delivery-Option",
        "Recipient-Address",
        "From",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
        "Original-Message-ID",
        "X-Mailer",
        "X-AMZN-Trace-Id",
        "Via",
        "Server",
        "X-Cyclone-Metadata-Processed",
        "X-Original",
        "X-Author",
    ] {
        assert!(!is_never_passed(name), "{name}");
    }
    let request = request(&event, PayloadMode::HEADERS);
    for (name, value) in ORIGINAL {
        assert_eq!(header(&request, name), Some(value), "{name}");
    }
}

#[test]
fn pass_headers_with_names_gives_these_beside_the_four_of_the_message() {
    let pass_headers = PassHeaders::named(["X-Trace", "content-language"]);
    let endpoint = Endpoint { pass_headers, ..endpoint() };
    let event = event_with(&[("x_trace", "1"), ("X-Other", "2"), ("Content-Language", "en")]);
    let request = rendered(&event, &rendering(PayloadMode::HEADERS), &endpoint);
    let original = |field: &&crate::Field| {
        let name = field.name.to_ascii_lowercase();
        !name.starts_with("x-") && !name.starts_with("webhook-")
    };
    let names: Vec<_> =
        request.headers.iter().filter(original).map(|field| field.name.to_lowercase()).collect();
    assert_eq!(
        names,
        [
            "user-agent",
            "content-length",
            "subject",
            "as2-from",
            "message-id",
            "as2-to",
            "content-type",
            "x_trace",
            "content-language",
        ]
    );
    let json = rendered(&event, &rendering(PayloadMode::JSON), &endpoint);
    assert_eq!(header(&json, "Content-Language"), None);
}

#[test]
fn ours_stand_alone() {
    let ours = ["User-Agent", "X-Forwarded-For", "X-Partner-Type", "Content-Length", "X-AS2-Event"];
    for name in ours {
        for form in [name.to_owned(), name.replace('-', "_"), name.replace('-', ".")] {
            let request = request(&event_with(&[(&form, "evil")]), PayloadMode::HEADERS);
            assert!(request.headers.iter().all(|field| field.value != "evil"), "{form}");
        }
    }
}

#[test]
fn original_content_headers_only_go_with_an_empty_body() {
    let event = event_with(&[("Content-Transfer-Encoding", "binary"), ("Content-MD5", "x")]);
    let empty = request(&event, PayloadMode::HEADERS);
    assert_eq!(header(&empty, "Content-Transfer-Encoding"), Some("binary"));
    assert_eq!(header(&empty, "Content-MD5"), Some("x"));
    for request in [request(&event, PayloadMode::JSON), with_payload(&event, "x")] {
        assert_eq!(header(&request, "Content-Transfer-Encoding"), None);
        assert_eq!(header(&request, "Content-MD5"), None);
        assert_eq!(request.headers.all("Content-Type").count(), 1);
    }
}

#[test]
fn pass_headers_as2_leaves_the_rest_behind() {
    let endpoint = Endpoint { pass_headers: PassHeaders::As2, ..endpoint() };
    let event = event_with(&[("X-Custom", "1"), ("AS2-Product", "x:1"), ("Received", "by x")]);
    let request = rendered(&event, &rendering(PayloadMode::HEADERS), &endpoint);
    assert_eq!(header(&request, "X-Custom"), None);
    assert_eq!(header(&request, "Received"), None);
    assert_eq!(header(&request, "AS2-Product"), Some("x:1"));
    for (name, value) in ORIGINAL {
        assert_eq!(header(&request, name), Some(value));
    }
}

#[test]
fn identity_is_always_there() {
    let identity = "AS2-From, AS2-To, Message-ID, Subject, Content-Type, X-Hop";
    let event = event_with(&[("Connection", identity), ("X-Hop", "1")]);
    let endpoint = Endpoint { pass_headers: PassHeaders::As2, ..endpoint() };
    for mode in [PayloadMode::HEADERS, PayloadMode::JSON, PayloadMode::RAW] {
        let request = rendered(&event, &rendering(mode), &endpoint);
        for name in ["AS2-From", "AS2-To", "Message-ID", "Subject"] {
            assert!(header(&request, name).is_some(), "{name} in {mode:?}");
        }
    }
    let request = request(&event, PayloadMode::HEADERS);
    assert_eq!(header(&request, "X-Hop"), None);
    assert!(header(&request, "Content-Type").is_some());
}

#[test]
fn look_alikes_of_identity_do_not_go_along() {
    let event = event_with(&[("AS2_From", "EVIL"), ("Message_ID", "EVIL"), ("Content_Type", "x")]);
    let request = request(&event, PayloadMode::HEADERS);
    assert!(request.headers.iter().all(|field| !field.name.contains('_')));
    assert_eq!(header(&request, "AS2-From"), Some("ACME"));
}

#[test]
fn what_is_not_legal_http_is_dropped_and_told() {
    let mut event = event_with(&[
        ("X-Split", "a\r\nX-AS2-Event: forged"),
        ("X-Nul", "a\0b"),
        ("X Name", "a"),
        ("X-\u{1b}[31m", "a"),
        ("", "a"),
        ("X-Good", "a\tb"),
    ]);
    event.headers.push("X-Latin1", b"caf\xe9".to_vec());
    let request = request(&event, PayloadMode::HEADERS);
    assert_eq!(request.dropped, ["X-Split", "X-Nul", "X Name", "X-\\u{1b}[31m", ""]);
    assert_eq!(request.headers.get("X-Latin1").unwrap().as_bytes(), b"caf\xe9");
    assert_eq!(header(&request, "X-Good"), Some("a\tb"));
    assert_eq!(header(&request, "X-AS2-Event"), Some("message.received"));
}

#[test]
fn no_more_than_a_line_is_noted_down_of_what_is_dropped() {
    let mut event = seed_event();
    for n in 0..10_000 {
        event.headers.push(format!("X {n} {}", "\u{1}".repeat(200)), "a");
    }
    let dropped = request(&event, PayloadMode::HEADERS).dropped;
    assert_eq!((dropped.len(), dropped.last().map(String::as_str)), (17, Some("...")));
    assert!(dropped.concat().len() < 4096);
}
