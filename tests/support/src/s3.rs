//! A server of another's making that speaks S3: `moto_server`, where it is installed.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{
    Client, Post, Reply,
    gateway::{free_address, wait_until},
};

const BUCKET: &str = "orders";

/// A server with one bucket. Ended when dropped.
#[derive(Debug)]
pub struct S3 {
    child: Child,
    client: Client,
}

// === impl S3 ===

impl S3 {
    /// `None` where it is not installed; it is optional.
    pub fn start() -> Option<Self> {
        let address = free_address();
        let child = Command::new("moto_server")
            .args(["-H", &address.ip().to_string(), "-p", &address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let server = Self { child, client: Client::new(address) };
        let listens = || server.client.connect().is_ok();
        assert!(wait_until(Duration::from_secs(120), listens), "the server did not start");
        let made = server.ask("PUT", "");
        assert_eq!(made.status, 200, "{}", made.text());
        Some(server)
    }

    /// Below a prefix of its bucket, as `payloads:` has it.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// The variables by which a process finds it.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT", self.client.url("")),
            ("AWS_ACCESS_KEY_ID", "tester".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    /// How many objects there are below a prefix.
    pub fn objects(&self, prefix: &str) -> usize {
        let listed = self.ask("GET", "?list-type=2");
        listed.text().matches(&format!("<Key>{prefix}/")).count()
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// One request about the bucket.
    fn ask(&self, method: &str, query: &str) -> Reply {
        let path = format!("/{BUCKET}{query}");
        // By any other name the first label of the host would be a bucket.
        let host = self.client.address().to_string();
        self.client.send(&Post::method(method, &path).header("Host", host)).unwrap()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
