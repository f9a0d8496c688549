//! `as2hook hash-token`: the digest of an API token, to put in the config.

use std::{
    io::{self, BufRead, Read as _, Write},
    process::ExitCode,
};

use openssl::sha::sha256;

/// Reads a token on stdin and prints the digest to put in the config.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct HashToken {}

/// Shorter ones can be found by trial, since the digest is a fast one.
const SHORTEST: usize = 16;
/// No client sends a longer header.
const LONGEST: usize = 4096;

/// Why a token is not taken. Says nothing of the token itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum BadToken {
    #[error("no token came on stdin; try: openssl rand -hex 32 | tee token | as2hook hash-token")]
    Empty,
    #[error(
        "the token is shorter than {SHORTEST} characters and could be guessed; make one with: \
         openssl rand -hex 32"
    )]
    Short,
    #[error("the token is longer than {LONGEST} characters; no client could send it")]
    Long,
    #[error(
        "the token holds blanks, control characters or letters beyond ASCII, which an \
         Authorization header cannot carry; make one with: openssl rand -hex 32"
    )]
    Unsendable,
}

// === impl HashToken ===

impl HashToken {
    /// Reads one line of `input`; the digest goes to `out`.
    ///
    /// # Errors
    /// When `input` cannot be read, or `out` or `err` not be written to.
    pub fn run(
        self,
        input: &mut dyn BufRead,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> io::Result<ExitCode> {
        let mut line = Vec::new();
        input.take(LONGEST as u64 + 3).read_until(b'\n', &mut line)?;
        match digest(&line) {
            Ok(digest) => {
                writeln!(out, "{digest}")?;
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => {
                writeln!(err, "{error}")?;
                Ok(ExitCode::FAILURE)
            }
        }
    }
}

fn digest(line: &[u8]) -> Result<String, BadToken> {
    let token = line.strip_suffix(b"\n").unwrap_or(line);
    let token = token.strip_suffix(b"\r").unwrap_or(token);
    match token {
        [] => Err(BadToken::Empty),
        _ if token.len() > LONGEST => Err(BadToken::Long),
        _ if !token.iter().all(u8::is_ascii_graphic) => Err(BadToken::Unsendable),
        _ if token.len() < SHORTEST => Err(BadToken::Short),
        _ => Ok(as2hook_as2::hex::encode(&sha256(token))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(input: &str) -> (ExitCode, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = HashToken {}.run(&mut input.as_bytes(), &mut out, &mut err).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn prints_the_digest_of_the_line_without_its_end() {
        let digest = "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f\n";
        for input in ["0123456789abcdef", "0123456789abcdef\n", "0123456789abcdef\r\nmore\n"] {
            assert_eq!(run(input), (ExitCode::SUCCESS, digest.to_owned(), String::new()));
        }
    }

    #[test]
    fn what_is_refused_is_not_repeated() {
        let long = "x".repeat(LONGEST + 1);
        for (input, error) in [
            ("", BadToken::Empty),
            ("\n", BadToken::Empty),
            ("tooshort", BadToken::Short),
            ("a token with blanks", BadToken::Unsendable),
            ("tökentökentöken1", BadToken::Unsendable),
            (&long, BadToken::Long),
        ] {
            let (code, out, err) = run(input);
            assert_eq!((code, out.as_str()), (ExitCode::FAILURE, ""), "{input}");
            assert_eq!(err, format!("{error}\n"));
            assert!(input.trim().is_empty() || !err.contains(input));
        }
    }

    #[test]
    fn the_longest_token_fits() {
        assert_eq!(run(&format!("{}\r\n", "x".repeat(LONGEST))).0, ExitCode::SUCCESS);
    }
}
