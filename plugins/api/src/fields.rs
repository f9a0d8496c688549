//! The fields of a JSON body. Each that is wrong gets its own message, so they are read one by one.

use as2hook_event::{EventKind, SecretString};
use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{Uri, header},
};
use serde_json::{Map, Number, Value};

use crate::{
    error::{ApiError, FieldType},
    gateway::ApiState,
    partner_events::partner_event,
};

/// A JSON object from a request's body.
pub(crate) struct JsonFields(Map<String, Value>);

/// Longest URL and secret, in characters.
const URL_MAX: usize = 2048;
const SECRET_MAX: usize = 1024;
/// More events than exist, aliases included, are a mistake.
const EVENTS_MAX: usize = 16;

// === impl JsonFields ===

impl JsonFields {
    /// Creates an object of texts, such as a form has.
    pub(crate) fn of_texts(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().map(|(name, text)| (name, Value::String(text))).collect())
    }

    /// Returns the partner's number.
    ///
    /// # Errors
    /// [`ApiError::UnknownPartner`] for a number that no partner can have.
    pub(crate) fn partner(&self) -> Result<u64, ApiError> {
        let field = ["partner_id", "socio_id"].into_iter().find(|name| self.has(name));
        let Some(name) = field else { return Err(ApiError::PartnerMissing) };
        match &self.0[name] {
            Value::Number(number) => match number.as_u64() {
                Some(partner) => Ok(partner),
                None if is_whole(number) => Err(ApiError::UnknownPartner),
                None => Err(ApiError::Type(name, FieldType::INTEGER)),
            },
            _ => Err(ApiError::Type(name, FieldType::INTEGER)),
        }
    }

    pub(crate) fn url(&self) -> Result<Option<Uri>, ApiError> {
        self.bounded_text("webhook_url", URL_MAX)?.map(url).transpose()
    }

    pub(crate) fn secret(&self) -> Result<Option<SecretString>, ApiError> {
        let text = self.bounded_text("webhook_secret", SECRET_MAX)?;
        Ok(text.map(|text| SecretString::from(text.to_owned())))
    }

    pub(crate) fn enabled(&self) -> Result<Option<bool>, ApiError> {
        let Some((name, value)) = self.first(&["webhook_enabled", "webhook_activo"]) else {
            return Ok(None);
        };
        value.as_bool().map(Some).ok_or(ApiError::Type(name, FieldType::BOOLEAN))
    }

    /// Returns the names in either language; a repeated one counts once.
    pub(crate) fn events(&self) -> Result<Option<Vec<EventKind>>, ApiError> {
        let Some((name, value)) = self.first(&["webhook_events", "webhook_eventos"]) else {
            return Ok(None);
        };
        let wrong = || ApiError::Type(name, FieldType::STRINGS);
        let list = value.as_array().ok_or_else(wrong)?;
        if list.len() > EVENTS_MAX {
            return Err(wrong());
        }
        let mut events = Vec::new();
        for item in list {
            let word = item.as_str().ok_or_else(wrong)?;
            let unknown = || ApiError::UnknownEvent(shown(word));
            let event = partner_event(word).ok_or_else(unknown)?;
            if !events.contains(&event) {
                events.push(event);
            }
        }
        Ok(Some(events))
    }

    /// Returns a whole number within bounds.
    pub(crate) fn whole(
        &self,
        name: &'static str,
        least: u64,
        most: u64,
    ) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let Value::Number(number) = value else {
            return Err(ApiError::Type(name, FieldType::INTEGER));
        };
        match number.as_u64() {
            Some(n) if (least..=most).contains(&n) => Ok(Some(n)),
            None if !is_whole(number) => Err(ApiError::Type(name, FieldType::INTEGER)),
            _ => Err(ApiError::Range(name, least, most)),
        }
    }

    pub(crate) fn text(&self, name: &'static str) -> Result<Option<&str>, ApiError> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or(ApiError::Type(name, FieldType::STRING))
    }

    /// Returns the name of a field that is none of these.
    pub(crate) fn other_than(&self, known: &[&str]) -> Option<&str> {
        self.0.keys().map(String::as_str).find(|name| !known.contains(name))
    }

    /// Returns them as JSON, cut to what is kept of them.
    pub(crate) fn shown(&self) -> String {
        let json = serde_json::to_string(&self.0).unwrap_or_default();
        json.chars().take(1_000).collect()
    }

    fn bounded_text(&self, name: &'static str, most: usize) -> Result<Option<&str>, ApiError> {
        match self.text(name)? {
            Some(text) if text.chars().count() > most => Err(ApiError::TooLong(name, most)),
            text => Ok(text),
        }
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
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        if !is_json(&request) {
            return Err(ApiError::NotJson);
        }
        // The listener limits its size.
        let body = Bytes::from_request(request, state).await.map_err(|_| ApiError::TooLarge)?;
        match serde_json::from_slice(&body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(ApiError::NotAnObject),
            Err(_) => Err(ApiError::Syntax),
        }
    }
}

/// Cuts a name that a client sent to what a message shows of it.
pub(crate) fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

/// Whether it is a whole number in another spelling than that of a `u64`, such as -1 or 1e30.
fn is_whole(number: &Number) -> bool {
    number.as_f64().is_some_and(|n| n.fract() == 0.0)
}

fn is_json(request: &Request) -> bool {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Parses a URL and checks the form that a webhook's URL must have.
fn url(text: &str) -> Result<Uri, ApiError> {
    if text.contains('#') {
        return Err(ApiError::UrlFragment);
    }
    let uri: Uri = text.parse().map_err(|_| ApiError::UrlForm)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(ApiError::UrlForm);
    };
    if !matches!(scheme, "http" | "https") {
        return Err(ApiError::UrlScheme);
    }
    if authority.as_str().contains('@') {
        return Err(ApiError::UrlCredentials);
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
    if legal && port_legal { Ok(uri) } else { Err(ApiError::UrlForm) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> JsonFields {
        let Value::Object(fields) = serde_json::from_str(text).unwrap() else { panic!("{text}") };
        JsonFields(fields)
    }

    #[test]
    fn partner_has_two_names_and_is_a_whole_number() {
        assert_eq!(fields(r#"{"partner_id": 123}"#).partner(), Ok(123));
        assert_eq!(fields(r#"{"socio_id": 123}"#).partner(), Ok(123));
        assert_eq!(fields(r#"{"socio_id": 1, "partner_id": 2}"#).partner(), Ok(2));
        assert_eq!(fields(r#"{"partner_id": -1}"#).partner(), Err(ApiError::UnknownPartner));
        assert_eq!(fields(r#"{"partner_id": 1e30}"#).partner(), Err(ApiError::UnknownPartner));
        for missing in ["{}", r#"{"partner_id": null}"#, r#"{"partner": 1}"#] {
            assert_eq!(fields(missing).partner(), Err(ApiError::PartnerMissing), "{missing}");
        }
        for wrong in ["\"123\"", "1.5", "true", "[1]", "{}"] {
            let text = format!("{{\"partner_id\": {wrong}}}");
            let error = ApiError::Type("partner_id", FieldType::INTEGER);
            assert_eq!(fields(&text).partner(), Err(error), "{wrong}");
        }
    }

    #[test]
    fn events_have_names_in_two_languages() {
        let given =
            fields(r#"{"webhook_eventos": ["mensaje.recibido", "mdn.received", "mdn.recibido"]}"#);
        let events = given.events().unwrap().unwrap();
        assert_eq!(events, [EventKind::MessageReceived, EventKind::MdnReceived]);
        let unknown = fields(r#"{"webhook_events": ["message.recibido"]}"#).events();
        assert_eq!(unknown, Err(ApiError::UnknownEvent("message.recibido".to_owned())));
        for wrong in ["\"message.sent\"", "null", "[1]", "{}"] {
            let text = format!("{{\"webhook_events\": {wrong}}}");
            assert!(matches!(fields(&text).events(), Err(ApiError::Type(..))), "{wrong}");
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
            ("", ApiError::UrlForm),
            ("myapp.com/webhook", ApiError::UrlForm),
            ("/webhook", ApiError::UrlForm),
            ("ftp://myapp.com/", ApiError::UrlScheme),
            ("http://", ApiError::UrlForm),
            ("http://a b/", ApiError::UrlForm),
            ("http://a.example:0/", ApiError::UrlForm),
            ("http://a.example:99999/", ApiError::UrlForm),
            ("http://user:pass@a.example/", ApiError::UrlCredentials),
            ("http://a.example/#x", ApiError::UrlFragment),
            ("http://%31%32%37.0.0.1/", ApiError::UrlForm),
            ("http://[::1%25lo]/", ApiError::UrlForm),
            ("http://①②⑦.0.0.1/", ApiError::UrlForm),
        ] {
            assert_eq!(url(text), Err(wrong), "{text}");
        }
    }
}
