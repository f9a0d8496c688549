//! The fields of a JSON body. Each that is wrong gets its own message, so they are read one by one.

use as2hook_event::SecretString;
use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{Uri, header},
    response::Response,
};
use serde_json::{Map, Value};

use super::{ApiState, responses::mistaken};
use crate::{
    messages::{FieldType, Wrong},
    partner::PartnerEvent,
};

/// A JSON object from a request's body.
pub(super) struct JsonFields(Map<String, Value>);

/// Longest URL and secret, in characters.
const URL_MAX: usize = 2048;
const SECRET_MAX: usize = 1024;
/// More events than exist, aliases included, are a mistake.
const EVENTS_MAX: usize = 16;

// === impl JsonFields ===

impl JsonFields {
    /// Returns the partner's number. `None`: a number that no partner can have.
    pub(super) fn partner(&self) -> Result<Option<u64>, Wrong> {
        let field = ["partner_id", "socio_id"].into_iter().find(|name| self.has(name));
        let Some(name) = field else { return Err(Wrong::PartnerMissing) };
        match &self.0[name] {
            Value::Number(number) if number.as_u64().is_some() => Ok(number.as_u64()),
            // A whole number in another spelling, such as -1 or 1e30.
            Value::Number(number) if number.as_f64().is_some_and(|n| n.fract() == 0.0) => Ok(None),
            _ => Err(Wrong::Type(name, FieldType::Integer)),
        }
    }

    pub(super) fn url(&self) -> Result<Option<Uri>, Wrong> {
        const NAME: &str = "webhook_url";
        let Some(text) = self.text(&[NAME])? else { return Ok(None) };
        if text.chars().count() > URL_MAX {
            return Err(Wrong::TooLong(NAME, URL_MAX));
        }
        url(text).map(Some)
    }

    pub(super) fn secret(&self) -> Result<Option<SecretString>, Wrong> {
        const NAME: &str = "webhook_secret";
        let Some(text) = self.text(&[NAME])? else { return Ok(None) };
        if text.chars().count() > SECRET_MAX {
            return Err(Wrong::TooLong(NAME, SECRET_MAX));
        }
        Ok(Some(SecretString::from(text.to_owned())))
    }

    pub(super) fn enabled(&self) -> Result<Option<bool>, Wrong> {
        let Some((name, value)) = self.first(&["webhook_enabled", "webhook_activo"]) else {
            return Ok(None);
        };
        value.as_bool().map(Some).ok_or(Wrong::Type(name, FieldType::Boolean))
    }

    /// Returns the names in either language; a repeated one counts once.
    pub(super) fn events(&self) -> Result<Option<Vec<PartnerEvent>>, Wrong> {
        let Some((name, value)) = self.first(&["webhook_events", "webhook_eventos"]) else {
            return Ok(None);
        };
        let wrong = || Wrong::Type(name, FieldType::Strings);
        let list = value.as_array().ok_or_else(wrong)?;
        if list.len() > EVENTS_MAX {
            return Err(wrong());
        }
        let mut events = Vec::new();
        for item in list {
            let word = item.as_str().ok_or_else(wrong)?;
            let event = PartnerEvent::named(word).ok_or_else(|| Wrong::Event(word.to_owned()))?;
            if !events.contains(&event) {
                events.push(event);
            }
        }
        Ok(Some(events))
    }

    /// Returns a whole number within bounds.
    pub(super) fn whole(
        &self,
        name: &'static str,
        least: u64,
        most: u64,
    ) -> Result<Option<u64>, Wrong> {
        let Some((_, value)) = self.first(&[name]) else { return Ok(None) };
        let Value::Number(number) = value else {
            return Err(Wrong::Type(name, FieldType::Integer));
        };
        match number.as_u64() {
            Some(n) if (least..=most).contains(&n) => Ok(Some(n)),
            Some(_) => Err(Wrong::Range(name, least, most)),
            None if number.as_f64().is_some_and(|n| n.fract() == 0.0) => {
                Err(Wrong::Range(name, least, most))
            }
            None => Err(Wrong::Type(name, FieldType::Integer)),
        }
    }

    /// Returns a text.
    pub(super) fn string(&self, name: &'static str) -> Result<Option<String>, Wrong> {
        Ok(self.text(&[name])?.map(str::to_owned))
    }

    /// Returns the name of a field that is none of these.
    pub(super) fn other_than(&self, known: &[&str]) -> Option<&str> {
        self.0.keys().map(String::as_str).find(|name| !known.contains(name))
    }

    fn text(&self, names: &[&'static str]) -> Result<Option<&str>, Wrong> {
        let Some((name, value)) = self.first(names) else { return Ok(None) };
        value.as_str().map(Some).ok_or(Wrong::Type(name, FieldType::String))
    }

    /// Returns the first of these that is present: a field's own name takes precedence over its
    /// older one.
    fn first(&self, names: &[&'static str]) -> Option<(&'static str, &Value)> {
        names.iter().find_map(|name| self.0.get(*name).map(|value| (*name, value)))
    }

    fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_null())
    }
}

impl FromRequest<ApiState> for JsonFields {
    type Rejection = Response;

    async fn from_request(request: Request, shared: &ApiState) -> Result<Self, Response> {
        let language = shared.gateway.language();
        let wrong = |wrong| mistaken(language, &wrong);
        if !is_json(&request) {
            return Err(wrong(Wrong::NotJson));
        }
        // The listener limits its size.
        let body = Bytes::from_request(request, shared).await;
        let body = body.map_err(|_| wrong(Wrong::TooLarge))?;
        match serde_json::from_slice(&body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(wrong(Wrong::NotAnObject)),
            Err(_) => Err(wrong(Wrong::Syntax)),
        }
    }
}

fn is_json(request: &Request) -> bool {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Parses a URL and checks the form that a webhook's URL must have.
fn url(text: &str) -> Result<Uri, Wrong> {
    if text.contains('#') {
        return Err(Wrong::UrlFragment);
    }
    let uri: Uri = text.parse().map_err(|_| Wrong::UrlForm)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(Wrong::UrlForm);
    };
    if !matches!(scheme, "http" | "https") {
        return Err(Wrong::UrlScheme);
    }
    if authority.as_str().contains('@') {
        return Err(Wrong::UrlCredentials);
    }
    let host = authority.host();
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let legal = match literal {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.len() <= 255 && host.bytes().all(name),
    };
    let port = authority.as_str().strip_prefix(host).unwrap_or_default();
    let port_legal = port.is_empty() || authority.port_u16().is_some_and(|port| port > 0);
    if legal && port_legal { Ok(uri) } else { Err(Wrong::UrlForm) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> JsonFields {
        let Value::Object(fields) = serde_json::from_str(text).unwrap() else { panic!("{text}") };
        JsonFields(fields)
    }

    #[test]
    fn the_partner_has_two_names_and_is_a_whole_number() {
        assert_eq!(fields(r#"{"partner_id": 123}"#).partner(), Ok(Some(123)));
        assert_eq!(fields(r#"{"socio_id": 123}"#).partner(), Ok(Some(123)));
        assert_eq!(fields(r#"{"socio_id": 1, "partner_id": 2}"#).partner(), Ok(Some(2)));
        assert_eq!(fields(r#"{"partner_id": -1}"#).partner(), Ok(None));
        assert_eq!(fields(r#"{"partner_id": 1e30}"#).partner(), Ok(None));
        for missing in ["{}", r#"{"partner_id": null}"#, r#"{"partner": 1}"#] {
            assert_eq!(fields(missing).partner(), Err(Wrong::PartnerMissing), "{missing}");
        }
        for wrong in ["\"123\"", "1.5", "true", "[1]", "{}"] {
            let text = format!("{{\"partner_id\": {wrong}}}");
            let error = Wrong::Type("partner_id", FieldType::Integer);
            assert_eq!(fields(&text).partner(), Err(error), "{wrong}");
        }
    }

    #[test]
    fn events_have_names_in_two_languages() {
        let given =
            fields(r#"{"webhook_eventos": ["mensaje.recibido", "mdn.received", "mdn.recibido"]}"#);
        let events = given.events().unwrap().unwrap();
        assert_eq!(events, [PartnerEvent::MessageReceived, PartnerEvent::MdnReceived]);
        let unknown = fields(r#"{"webhook_events": ["message.recibido"]}"#).events();
        assert_eq!(unknown, Err(Wrong::Event("message.recibido".to_owned())));
        for wrong in ["\"message.sent\"", "null", "[1]", "{}"] {
            let text = format!("{{\"webhook_events\": {wrong}}}");
            assert!(matches!(fields(&text).events(), Err(Wrong::Type(..))), "{wrong}");
        }
    }

    #[test]
    fn urls_are_whole_and_hold_no_password() {
        for good in
            ["https://myapp.com/webhook/as2", "http://a.example:8080", "http://[2001:db8::1]/?a=b"]
        {
            assert!(url(good).is_ok(), "{good}");
        }
        for (text, wrong) in [
            ("", Wrong::UrlForm),
            ("myapp.com/webhook", Wrong::UrlForm),
            ("/webhook", Wrong::UrlForm),
            ("ftp://myapp.com/", Wrong::UrlScheme),
            ("http://", Wrong::UrlForm),
            ("http://a b/", Wrong::UrlForm),
            ("http://a.example:0/", Wrong::UrlForm),
            ("http://a.example:99999/", Wrong::UrlForm),
            ("http://user:pass@a.example/", Wrong::UrlCredentials),
            ("http://a.example/#x", Wrong::UrlFragment),
            ("http://%31%32%37.0.0.1/", Wrong::UrlForm),
            ("http://[::1%25lo]/", Wrong::UrlForm),
            ("http://①②⑦.0.0.1/", Wrong::UrlForm),
        ] {
            assert_eq!(url(text), Err(wrong), "{text}");
        }
    }
}
