//! as2hook with formats and sinks of your own.

use std::process::ExitCode;

use as2hook_config::Plugins;
use as2hook_format::Format;
use as2hook_sink::Sink;
use clap::Parser as _;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::cli::Cli;

/// The `as2hook` command. `examples/own_sink` is one with a sink and a format of its own.
#[derive(Clone, Copy, Debug)]
pub struct Gateway;

/// Makes a [`Gateway`].
#[derive(Debug, Default)]
pub struct Builder {
    plugins: Plugins,
}

// === impl Gateway ===

impl Gateway {
    /// Begins with what is built in.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

// === impl Builder ===

impl Builder {
    /// Adds a sink, which rules choose with `sink: {type: name, …}`. The other keys are its settings,
    /// see [`Plugins::add_sink`].
    ///
    /// # Panics
    /// When the name is `http`, which is built in.
    #[must_use]
    pub fn sink<S>(mut self, name: &'static str, sink: S) -> Self
    where
        S: Sink<Settings: DeserializeOwned + JsonSchema>,
    {
        self.plugins.add_sink(name, sink);
        self
    }

    /// Adds a format, which rules choose with `payload: name`.
    #[must_use]
    pub fn format(mut self, name: &'static str, format: impl Format) -> Self {
        self.plugins.formats.insert(name, format);
        self
    }

    /// Runs the command line: `run`, `check` and all others know what was added.
    pub fn run(self) -> ExitCode {
        Cli::parse().run(&self.plugins)
    }
}
