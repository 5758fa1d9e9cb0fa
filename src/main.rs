//! The `rowcast` command; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    rowcast::cli::main()
}
