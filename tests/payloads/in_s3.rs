//! Payloads in S3, of another's making: `moto_server`, where it is installed.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

use as2hook_testing::{
    Content, Endpoint, Gateway, Message, Part, Post, Reply, Running, receiver, sink, wait_until,
};

use super::{SOON, gateway};

struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("moto_server")
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let server = Self { child, port };
        assert!(wait_until(3 * SOON, || TcpStream::connect(("127.0.0.1", port)).is_ok()));
        assert!(server.ask("PUT", "/orders").starts_with("HTTP/1.1 200"));
        Some(server)
    }

    /// One request, and all of its answer.
    fn ask(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The objects in the bucket.
    fn objects(&self) -> usize {
        self.ask("GET", "/orders?list-type=2").matches("<Key>pay/").count()
    }

    fn gateway(&self, receiver: &Endpoint, sink: &Endpoint) -> Gateway {
        gateway(receiver)
            .rule("raw", |rule| rule.to(sink, "/raw").payload("raw").set("secret", "\"a secret\""))
            .set("payloads", "\"s3://orders/pay\"")
            .set("encrypt_payloads", "true")
            .environment("AWS_ENDPOINT", &format!("http://127.0.0.1:{}", self.port))
            .environment("AWS_ACCESS_KEY_ID", "tester")
            .environment("AWS_SECRET_ACCESS_KEY", "secret")
            .environment("AWS_REGION", "us-east-1")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn post(gateway: &Running, content: &Content) -> Reply {
    let part = Part::new("order.edi", "application/edifact", content.clone());
    let message = Message::new("ACME", "MY-OWN-ORG").attach(part).build();
    gateway.inbound().send(&Post::message("/as2", &message)).unwrap()
}

#[test]
fn a_large_payload_goes_by_way_of_the_bucket() {
    let Some(server) = Server::start() else { return };
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = server.gateway(&receiver, &sink).start().unwrap();
    let content = Content::large(5 << 20);
    assert_eq!(post(&gateway, &content).status, 200);
    let told = sink.wait_for(1, SOON).unwrap()[0].clone();
    assert_eq!(told.body.sha256, content.sha256());
    assert!(told.header("webhook-signature").is_some());
    assert_eq!(server.objects(), 6);
}

#[test]
fn a_bucket_that_is_away_costs_payloads_and_no_traffic() {
    let Some(mut server) = Server::start() else { return };
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = server.gateway(&receiver, &sink).start().unwrap();
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    assert_eq!(post(&gateway, &Content::large(5 << 20)).status, 200);
    let told = sink.wait_for(1, SOON).unwrap()[0].clone();
    assert_eq!(told.body.length, 0);
    assert!(told.header("X-Processing-Error").unwrap().starts_with("1300: "));
    let ready = gateway.admin().get("/readyz").unwrap();
    assert!(ready.text().contains("Large payloads cannot be kept since"), "{}", ready.text());
}
