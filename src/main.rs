//! The `as2hook` command; everything is in the library.

use std::process::ExitCode;

use as2hook::Gateway;

fn main() -> ExitCode {
    Gateway::builder().run()
}
