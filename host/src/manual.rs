//! Man pages and completions of the command line, as text.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

/// Prints a completion script.
pub(crate) fn completions(mut command: Command, shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "llm-osd", &mut script);
    done(io::stdout().write_all(&script))
}

/// Writes a page for the program and one for each of its commands into a directory, or the program's to stdout.
pub(crate) fn pages(command: Command, directory: Option<&Path>) -> ExitCode {
    done(match directory {
        Some(directory) => {
            std::fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(command, directory))
        }
        // The pages in a directory are without it too: clap's own `help` has none.
        None => clap_mangen::Man::new(command.disable_help_subcommand(true)).render(&mut io::stdout()),
    })
}

fn done(written: io::Result<()>) -> ExitCode {
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("cannot write: {error}");
            ExitCode::FAILURE
        }
    }
}
