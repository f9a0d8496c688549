//! Environment variables inside strings: `${NAME}`, `${NAME:-default}`, and `$$` for a `$`.

use std::{borrow::Cow, env::VarError};

/// Where variables come from; tests bring their own.
pub(crate) type Variables = dyn Fn(&str) -> Result<String, VarError>;

/// Why a string could not be completed. Names the variable, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadReference {
    #[error(
        "the environment variable {0} is not set; set it, or give a default with `${{{0}:-…}}`"
    )]
    Unset(String),
    #[error("the environment variable {0} is not UTF-8")]
    NotText(String),
    #[error("`${{` without its `}}`; write `$$` for a `$`")]
    Unclosed,
    #[error("what stands behind `${{` is no variable's name; write `$$` for a `$`")]
    NoName,
}

/// Puts the variables in. As in a shell, `:-` also stands in for one that is set but empty.
///
/// A `$` that neither `{` nor `$` follows stays as it is, so that most secrets need no care.
pub(crate) fn expand<'a>(
    text: &'a str,
    variables: &Variables,
) -> Result<Cow<'a, str>, BadReference> {
    if !text.contains('$') {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let (reference, after) = after.split_once('}').ok_or(BadReference::Unclosed)?;
            out.push_str(&value(reference, variables)?);
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

fn value(reference: &str, variables: &Variables) -> Result<String, BadReference> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(legal)
    {
        return Err(BadReference::NoName);
    }
    match (variables(name), default) {
        (Ok(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Ok(value), _) => Ok(value),
        (Err(VarError::NotPresent), Some(default)) => Ok(default.to_owned()),
        (Err(VarError::NotPresent), None) => Err(BadReference::Unset(name.to_owned())),
        (Err(VarError::NotUnicode(_)), _) => Err(BadReference::NotText(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<String, BadReference> {
        let variables = |name: &str| match name {
            "NAME" => Ok("value".to_owned()),
            "EMPTY" => Ok(String::new()),
            "_1" => Ok("$$ ${NAME}".to_owned()),
            _ => Err(VarError::NotPresent),
        };
        expand(text, &variables).map(Cow::into_owned)
    }

    #[test]
    fn puts_variables_in() {
        assert_eq!(with("no reference").as_deref(), Ok("no reference"));
        assert_eq!(with("a ${NAME} b ${NAME}").as_deref(), Ok("a value b value"));
        assert_eq!(with("${NAME:-other}").as_deref(), Ok("value"));
        assert_eq!(with("${UNSET:-a default: -}").as_deref(), Ok("a default: -"));
        assert_eq!(with("${UNSET:-}").as_deref(), Ok(""));
    }

    #[test]
    fn an_empty_variable_takes_the_default_as_in_a_shell() {
        assert_eq!(with("${EMPTY}").as_deref(), Ok(""));
        assert_eq!(with("${EMPTY:-x}").as_deref(), Ok("x"));
    }

    #[test]
    fn a_value_is_not_looked_into_again() {
        assert_eq!(with("${_1}").as_deref(), Ok("$$ ${NAME}"));
    }

    #[test]
    fn two_dollars_are_one() {
        assert_eq!(with("$$").as_deref(), Ok("$"));
        assert_eq!(with("$${NAME}").as_deref(), Ok("${NAME}"));
        assert_eq!(with("a$b$").as_deref(), Ok("a$b$"));
    }

    #[test]
    fn invalid_variable_is_reported_without_its_value() {
        assert_eq!(with("${UNSET}"), Err(BadReference::Unset("UNSET".into())));
        assert_eq!(with("${NAME"), Err(BadReference::Unclosed));
        for wrong in ["${}", "${1A}", "${A-B}", "${ NAME }", "${:-x}"] {
            assert_eq!(with(wrong), Err(BadReference::NoName), "{wrong}");
        }
    }
}
