//! The `mercuriale` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    mercuriale::cli::main()
}
