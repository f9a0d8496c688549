//! The binary's other commands: run to their end, their output kept.

use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::thread;

use super::built_binary;

/// What a command came to.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
}

/// Runs `as2hook` with these arguments and nothing on its standard input.
pub fn as2hook<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Ran {
    as2hook_with(arguments, b"")
}

/// Runs `as2hook` with these arguments and this input.
pub fn as2hook_with<S: AsRef<std::ffi::OsStr>>(arguments: &[S], input: &[u8]) -> Ran {
    let mut command = Command::new(built_binary());
    command.args(arguments);
    run(&mut command, input).expect("the binary is built and can be run")
}

fn run(command: &mut Command, input: &[u8]) -> io::Result<Ran> {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn()?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let input = input.to_vec();
    // Written beside reading, so that neither side waits for the other. A command that ends without
    // having read it all is within its rights.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output()?;
    drop(writer.join());
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ran {
        status: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    })
}

// === impl Ran ===

impl Ran {
    /// Standard output as JSON. Panics, with all that was said, when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_both_outputs_and_the_status() {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg("cat; echo wrong >&2; exit 2");
        let ran = run(&mut shell, b"{\"a\":1}").unwrap();
        assert_eq!((ran.status, ran.stderr.as_str()), (Some(2), "wrong\n"));
        assert_eq!(ran.json()["a"], 1);
    }
}
