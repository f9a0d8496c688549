//! What each figure is called, with the words that `/metrics` explains it by.

use prometheus_client::registry::{Metric, Registry, Unit};

use super::Observer;

impl Observer {
    pub(super) fn register(&mut self) {
        let registry = &mut self.registry;
        let mut add = |name: &str, help: &str, metric: Box<dyn Registered>| {
            metric.register(registry, name, help);
        };
        add("exchanges", "Exchanges by listener and result", Box::new(self.exchanges.clone()));
        add(
            "refusals",
            "Responses of the gateway's own by listener and reason",
            Box::new(self.refusals.clone()),
        );
        add("connections", "Open connections by listener", Box::new(self.connections.clone()));
        add(
            "handshakes",
            "TLS handshakes under way by listener",
            Box::new(self.handshakes.clone()),
        );
        add("decode_errors", "Processing errors by code", Box::new(self.decode_errors.clone()));
        add(
            "late_decodes",
            "Messages still being decoded when their traffic went on",
            Box::new(self.late_decodes.clone()),
        );
        add("events", "Events by type", Box::new(self.events.clone()));
        add("deliveries", "Attempts by webhook and result", Box::new(self.attempts.clone()));
        add("reloads", "Reloads by result", Box::new(self.reloads.clone()));
        add("queue", "Deliveries by state", Box::new(self.queue.clone()));
        add(
            "held_events",
            "Events in memory until the store is back",
            Box::new(self.held_events.clone()),
        );
        add("dropped_events", "Events lost since the start", Box::new(self.dropped.clone()));
        add("store_up", "Whether the store takes events", Box::new(self.store_up.clone()));
        add(
            "payloads_up",
            "Whether large payloads can be kept",
            Box::new(self.payloads_up.clone()),
        );
        add(
            "store_round_trips",
            "Round trips to the store's database since the start",
            Box::new(self.round_trips.clone()),
        );
        add("in_flight", "Exchanges under way", Box::new(self.in_flight.clone()));
        add(
            "log_lines_dropped",
            "Log lines that were not written, since stderr was not read",
            Box::new(self.log_lines_dropped.clone()),
        );
        add("generation", "Of the config in force", Box::new(self.generation.clone()));
        add("gateways", "Gateways of this store that live", Box::new(self.gateways.clone()));
        add("gateway_drift", "Those of them with other rules", Box::new(self.drift.clone()));
        add("webhook_up", "Whether a webhook is in service", Box::new(self.webhooks.clone()));
        let (seconds, bytes) = (Unit::Seconds, Unit::Bytes);
        let registry = &mut self.registry;
        let help = "From the response's end to the first attempt";
        registry.register_with_unit(
            "delivery_latency",
            help,
            seconds.clone(),
            self.latency.clone(),
        );
        let help = "Age of the oldest event with an unmade delivery";
        registry.register_with_unit(
            "oldest_undelivered",
            help,
            seconds.clone(),
            self.oldest.clone(),
        );
        let help = "Until a configured certificate expires";
        registry.register_with_unit("certificate_expiry", help, seconds, self.certificates.clone());
        let help = "Memory of events until the store is back";
        registry.register_with_unit("held", help, bytes.clone(), self.held_bytes.clone());
        let help = "Memory that exchanges under way may take, as it is counted";
        registry.register_with_unit("exchange_memory", help, bytes.clone(), self.memory.clone());
        let help = "Memory of the process";
        registry.register_with_unit("memory_resident", help, bytes, self.resident.clone());
    }
}

/// A metric of any kind.
trait Registered {
    fn register(self: Box<Self>, registry: &mut Registry, name: &str, help: &str);
}

impl<M: Metric> Registered for M {
    fn register(self: Box<Self>, registry: &mut Registry, name: &str, help: &str) {
        registry.register(name, help, *self);
    }
}
