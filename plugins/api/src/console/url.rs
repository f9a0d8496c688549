//! Paths within the console.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Returns a value as one segment of a path, or as a value in a query: a slash in it is not one of the path.
pub(crate) fn segment(value: &str) -> String {
    utf8_percent_encode(value, RESERVED).to_string()
}

/// Returns a path with a query of these fields, without those that are empty.
pub(crate) fn with_query(path: &str, fields: &[(&str, &str)]) -> String {
    let mut url = path.to_owned();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(&format!("{name}={}", segment(value)));
    }
    url
}

/// Whether a text from a request is the path of a page here, and leads nowhere else.
pub(crate) fn is_own_path(path: &str) -> bool {
    path.len() <= 2048
        && (path == "/console" || path.starts_with("/console/"))
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && !path.contains("/../")
        && !path.starts_with("/console/signout")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_that_leads_out_of_the_console_is_not_own() {
        for own in ["/console/", "/console", "/console/deliveries?webhook=a%2Fb"] {
            assert!(is_own_path(own), "{own}");
        }
        for other in [
            "",
            "/",
            "//evil.example/console/",
            "https://evil.example/",
            "/consoles",
            "/console/\\evil",
            "/console/\n",
            "/console/../admin/reload",
        ] {
            assert!(!is_own_path(other), "{other}");
        }
    }

    #[test]
    fn query_escapes_its_values_and_leaves_empty_ones_out() {
        let url =
            with_query("/console/deliveries", &[("webhook", "a/b &c"), ("status", ""), ("q", "1")]);
        assert_eq!(url, "/console/deliveries?webhook=a%2Fb%20%26c&q=1");
    }
}
