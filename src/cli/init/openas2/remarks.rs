//! What a person has to do, what has to change in OpenAS2, and what stays there.

use std::collections::BTreeSet;

use super::{
    collector::{Collector, is_loopback},
    partnerships::Partnership,
    server::Component,
    takeover::{GatewayPorts, MDN_PATH},
};

// === impl Collector ===

impl Collector<'_> {
    pub(super) fn note_what_is_not_read(&mut self) {
        if self.server.of_class("DbPartnershipFactory").next().is_some() {
            self.todo(
                "OpenAS2 has its partnerships in a database, which is not read: write stations and partners by \
                 hand, from its tables `partner` and `partnership`.",
            );
        } else if self.partnerships.is_empty() {
            self.todo("OpenAS2 has no partnership that can be taken over: write stations and partners by hand.");
        }
        let trust = self.server.of_element("certificates");
        let trust = trust.filter(|it| it.get("identifier") == Some("ssl_trust_certs"));
        let trust: Vec<_> =
            trust.filter_map(|it| Some(self.server.path(it.get("filename")?))).collect();
        for path in trust {
            self.todo(format!(
                "OpenAS2 trusts the certificates in {} for https. Which partner each is of does not stand there: where \
                 a partner's certificate is not of a public authority, export it and name it as the partner's \
                 `tls: {{ certificate: ... }}` or `tls: {{ ca: ... }}`.",
                path.display()
            ));
        }
        let properties = ["http.proxyHost", "https.proxyHost"];
        if properties.iter().any(|name| self.property(name).is_some()) {
            self.todo(
                "OpenAS2 reaches partners through an HTTP proxy, which the gateway does not use: let the gateway reach \
                 them directly, and exempt 127.0.0.1 in http.nonProxyHosts.",
            );
        }
    }

    pub(super) fn edits(&mut self, ports: &GatewayPorts, has_mdn_route: bool) -> Vec<String> {
        let mut edits = Vec::new();
        let modules = ["AS2ReceiverModule", "AS2MDNReceiverModule"].into_iter();
        let open: Vec<_> = modules
            .flat_map(|class| self.server.of_class(class))
            .filter(|it| it.get("address").is_none_or(|address| !is_loopback(address)))
            .filter_map(|it| Some(it.port()?.to_string()))
            .collect();
        if !open.is_empty() {
            edits.push(format!(
                "config.xml, the modules of port {}: address=\"127.0.0.1\", so that all traffic passes the gateway.",
                open.join(", ")
            ));
        }
        let receipts = format!("http://<this host>:{}{MDN_PATH}", ports.inbound);
        for it in self.partnerships.iter().filter(|it| it.url().is_some()) {
            // Of a receiver that is a station, too, there is nothing behind /out/.
            if self.is_own(&it.receiver) {
                continue;
            }
            let url = ports.outbound_url(&it.receiver.as2_id).unwrap_or_default();
            edits.push(format!("partnerships.xml, partnership {:?}: as2_url is {url}", it.name));
            if it.get("as2_receipt_option").is_some() && has_mdn_route {
                edits.push(format!(
                    "partnerships.xml, partnership {:?}: as2_receipt_option is {receipts}",
                    it.name
                ));
            }
        }
        if self.property("as2_async_mdn_url").is_some() && has_mdn_route {
            edits.push(format!("the property as2_async_mdn_url is {receipts}"));
        }
        edits
    }

    pub(super) fn stays(&mut self, ports: &GatewayPorts) -> Vec<String> {
        let mut stays = vec![
            "encrypt, sign, compression_type, as2_mdn_options and the like: the gateway reads from each message what \
             it is."
                .to_owned(),
        ];
        let has = |name: &str| {
            self.partnerships
                .iter()
                .flat_map(Partnership::attribute_names)
                .any(|other| other.starts_with(name))
        };
        let has_poller = self.partnerships.iter().any(|it| it.has_poller);
        if has_poller
            || has("store_received_file_to")
            || has("split_")
            || has("custom_mime_headers")
        {
            stays.push("pollers, store_received_file_to, splitting and custom headers: what OpenAS2 does with files.".to_owned());
        }
        if has("resend_") {
            stays.push(
                "resend_...: OpenAS2 sends again by itself. With resend_requires_new_message_id = false the webhooks \
                 show both attempts under one Message-ID."
                    .to_owned(),
            );
        }
        if has("http_user") || has("http_password") {
            stays.push("http_user and http_password: the header passes the gateway.".to_owned());
        }
        let rejects = has("reject_unsigned_messages");
        if rejects || self.property("reject_unsigned_messages").is_some() {
            stays.push(
                "reject_unsigned_messages: a webhook with `signature: [unsigned]` says which messages those are.".to_owned(),
            );
        }
        let used = [
            "AS2ReceiverModule",
            "AS2MDNReceiverModule",
            "AS2SenderModule",
            "XMLPartnershipFactory",
            "PKCS12CertificateFactory",
            "DefaultProcessor",
        ];
        let others = self.server.components.iter().map(Component::class);
        let others: BTreeSet<_> = others.filter(|class| !used.contains(class)).collect();
        if !others.is_empty() {
            let others: Vec<_> = others.into_iter().collect();
            stays.push(format!("{}: they have nothing to do with the gateway.", others.join(", ")));
        }
        if ports.inbound != 8080 {
            stays.push(format!(
                "port 8080, which OpenAS2 listens on: the gateway has {}.",
                ports.inbound
            ));
        }
        stays
    }
}
