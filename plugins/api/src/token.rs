//! Bearer tokens, stored as SHA-256 digests only.

use std::{fmt, sync::Arc};

use openssl::{memcmp, sha::sha256};

/// The tokens in force, and the site whose admins may reload.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// All tokens.
    pub all: Arc<[Token]>,
    /// The gateway's own site.
    pub default_site: String,
}

/// One token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Its name in the config.
    pub name: String,
    /// SHA-256 of the token.
    pub digest: [u8; 32],
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The tenant it belongs to.
    pub site: String,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Read.
    Read,
    /// Configure webhooks.
    Write,
    /// Administer the gateway.
    Admin,
}

// === impl Tokens ===

impl Tokens {
    /// Returns the presented token. Every token is compared, each in constant time.
    pub fn find(&self, presented: &str) -> Option<&Token> {
        let digest = sha256(presented.as_bytes());
        let mut found = None;
        for token in self.all.iter() {
            if memcmp::eq(&token.digest, &digest) {
                found = Some(token);
            }
        }
        found
    }
}

// === impl Token ===

impl Token {
    /// Whether it has this scope.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .field("site", &self.site)
            .finish_non_exhaustive()
    }
}

// === impl Scope ===

impl Scope {
    /// Returns the word in the config and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_digest_alone() {
        let token = Token {
            name: "erp".into(),
            digest: sha256(b"a-token-that-is-long-enough"),
            scopes: vec![Scope::Read],
            site: "main".into(),
        };
        let tokens = Tokens { all: [token].into(), default_site: "main".into() };
        assert_eq!(tokens.find("a-token-that-is-long-enough").unwrap().name, "erp");
        assert!(tokens.find("a-token-that-is-long-enougH").is_none());
        assert!(tokens.find("").is_none());
        assert!(!format!("{tokens:?}").contains("digest"));
    }
}
