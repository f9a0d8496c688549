//! The messages of the API, in Spanish or English. The words of the contract (`docs/api.md`) are
//! the same in both.

use crate::control::Refusal;

/// The language of the config API's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// Like the service whose API this is.
    #[default]
    Spanish,
    /// English where the contract has no words of its own.
    English,
}

/// A mistake in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Not `application/json`.
    NotJson,
    /// More than 64 KiB.
    TooLarge,
    /// Not a JSON document.
    Syntax,
    /// A JSON document that is not an object.
    NotAnObject,
    /// The partner's number is missing.
    PartnerMissing,
    /// A field is missing.
    Missing(&'static str),
    /// A field has another type.
    Type(&'static str, FieldType),
    /// A number is out of bounds: field, minimum, maximum.
    Range(&'static str, u64, u64),
    /// The event does not exist.
    Event(String),
    /// The URL cannot be parsed.
    UrlForm,
    /// Neither http nor https.
    UrlScheme,
    /// The URL holds a user or password.
    UrlCredentials,
    /// The URL has a `#…`, which is never sent.
    UrlFragment,
    /// A text is longer than this many characters.
    TooLong(&'static str, usize),
    /// An unknown query parameter.
    Parameter(String),
    /// A query parameter or field with an invalid value: its name, and the valid values.
    Value(&'static str, &'static str),
}

/// The required type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// A whole number.
    Integer,
    /// Text.
    String,
    /// true or false.
    Boolean,
    /// A list of texts.
    Strings,
}

// === impl Language ===

impl Language {
    /// Returns the message of a refusal.
    pub fn refusal(self, refusal: &Refusal) -> String {
        let text = |es, en| self.choose(es, en).to_owned();
        match refusal {
            Refusal::UnknownPartner => "Socio no encontrado".to_owned(),
            Refusal::Inactive => "Webhook no activo".to_owned(),
            Refusal::UrlMissing => self.wrong(&Wrong::Missing("webhook_url")),
            Refusal::PrivateUrl => text(
                "webhook_url no puede apuntar a una red privada o local",
                "webhook_url may not point at a private or local network",
            ),
            Refusal::BadSecret => text(
                "webhook_secret: lo que sigue a whsec_ debe ser base64",
                "webhook_secret: what stands behind whsec_ must be base64",
            ),
            Refusal::NotOver => {
                text("La entrega todavía está pendiente", "The delivery is not over yet")
            }
            Refusal::Unknown => text("No encontrado", "Not found"),
            Refusal::Wrong(wrong) => self.wrong(wrong),
            Refusal::Busy => text(
                "Demasiadas pruebas a la vez; inténtelo más tarde",
                "Too many tests at once; try again later",
            ),
            Refusal::Store => text(
                "El almacén no responde; inténtelo más tarde",
                "The store does not answer; try again later",
            ),
        }
    }

    /// Returns the message of a mistake.
    pub fn wrong(self, wrong: &Wrong) -> String {
        let text = |es: String, en: String| if self == Self::Spanish { es } else { en };
        let both = |es, en| self.choose(es, en).to_owned();
        match wrong {
            Wrong::PartnerMissing => "Campo requerido: socio_id".to_owned(),
            Wrong::Missing(field) => {
                text(format!("Campo requerido: {field}"), format!("Required field: {field}"))
            }
            Wrong::NotJson => both(
                "El Content-Type debe ser application/json",
                "The Content-Type must be application/json",
            ),
            Wrong::TooLarge => {
                both("El cuerpo supera los 64 KiB", "The body is larger than 64 KiB")
            }
            Wrong::Syntax => both("El cuerpo no es JSON válido", "The body is not valid JSON"),
            Wrong::NotAnObject => {
                both("El cuerpo debe ser un objeto JSON", "The body must be a JSON object")
            }
            Wrong::Type(field, kind) => text(
                format!("{field} debe ser {}", kind.spanish()),
                format!("{field} must be {}", kind.english()),
            ),
            Wrong::Range(field, least, most) => text(
                format!("{field} debe estar entre {least} y {most}"),
                format!("{field} must be from {least} to {most}"),
            ),
            Wrong::Event(name) => {
                let name: String = name.chars().take(64).collect();
                let list = crate::partner::PartnerEvent::ALL.map(|e| e.as_str()).join(", ");
                text(
                    format!("Evento desconocido: {name}; los eventos son {list}"),
                    format!("Unknown event: {name}; the events are {list}"),
                )
            }
            Wrong::UrlForm => both(
                "webhook_url debe ser una URL completa, como https://ejemplo.com/webhook",
                "webhook_url must be a whole URL, such as https://example.com/webhook",
            ),
            Wrong::UrlScheme => both(
                "webhook_url debe empezar por http:// o https://",
                "webhook_url must begin with http:// or https://",
            ),
            Wrong::UrlCredentials => both(
                "webhook_url no puede llevar usuario ni contraseña",
                "webhook_url may not hold a user or password",
            ),
            Wrong::UrlFragment => both(
                "webhook_url no puede llevar un fragmento (#…)",
                "webhook_url may not have a fragment (#…)",
            ),
            Wrong::TooLong(field, most) => text(
                format!("{field} debe tener {most} caracteres como máximo"),
                format!("{field} must have {most} characters at most"),
            ),
            Wrong::Parameter(name) => {
                let name: String = name.chars().take(64).collect();
                text(format!("Parámetro desconocido: {name}"), format!("Unknown parameter: {name}"))
            }
            Wrong::Value(field, can_be) => text(
                format!("{field} no es válido; debe ser {can_be}"),
                format!("{field} is not valid; it must be {can_be}"),
            ),
        }
    }

    fn choose(self, es: &'static str, en: &'static str) -> &'static str {
        match self {
            Self::Spanish => es,
            Self::English => en,
        }
    }
}

// === impl FieldType ===

impl FieldType {
    const fn spanish(self) -> &'static str {
        match self {
            Self::Integer => "un número entero",
            Self::String => "un texto",
            Self::Boolean => "true o false",
            Self::Strings => "una lista de textos",
        }
    }

    const fn english(self) -> &'static str {
        match self {
            Self::Integer => "an integer",
            Self::String => "a string",
            Self::Boolean => "true or false",
            Self::Strings => "a list of strings",
        }
    }
}
