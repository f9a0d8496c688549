//! as2hook with a sink and a format of its own: `cargo run --example own_sink -- run -c as2hook.yaml`.
//!
//! A rule such as `{name: journal, sink: {type: file, path: /var/spool/journal}, payload: csv}` appends
//! a line to a file for each event. `check`, `schema` and all other commands know both.

use std::{borrow::Cow, path::PathBuf, process::ExitCode};

use as2hook::Gateway;
use as2hook_event::Event;
use as2hook_format::{Body, Content, Format, Rendering};
use as2hook_sink::{Delivered, Notification, Sink, SinkError};
use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{fs::OpenOptions, io::AsyncWriteExt as _, sync::Mutex, time::Instant};

/// Appends one notification at a time.
#[derive(Default)]
struct Append(Mutex<()>);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// The file; it is made when it is missing.
    path: PathBuf,
}

#[async_trait]
impl Sink for Append {
    type Settings = Keys;

    async fn send(
        &self,
        to: &Keys,
        what: Notification,
        _: Instant,
    ) -> Result<Delivered, SinkError> {
        let body: Vec<_> = what.body.open().await?.try_collect().await?;
        let _one_at_a_time = self.0.lock().await;
        let mut file = OpenOptions::new().create(true).append(true).open(&to.path).await?;
        // At once: an attempt that is dropped between two writes would leave half a line.
        file.write_all(&body.concat()).await?;
        file.sync_data().await?;
        Ok(Delivered::default())
    }
}

struct Csv;

impl Format for Csv {
    fn content<'a>(&self, event: &'a Event, _: &Rendering<'_>) -> Content<'a> {
        let partner = event.partner.as_deref().unwrap_or_default().replace('"', "\"\"");
        let line = format!("{},{},\"{partner}\"\n", event.occurred_at, event.kind);
        let content_type = Some(Cow::Borrowed(b"text/csv".as_slice()));
        Content { body: Body::Bytes(line.into()), content_type, ..Content::default() }
    }
}

fn main() -> ExitCode {
    Gateway::builder().sink("file", Append::default()).format("csv", Csv).run()
}
