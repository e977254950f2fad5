//! `completions` and `man`: completion scripts and manual pages, generated from the command line.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Arguments as CommandLine, print, print_error};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bedrock-proxy completions bash > /etc/bash_completion.d/bedrock-proxy")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bedrock-proxy man | man -l -\n  bedrock-proxy man --dir /usr/local/share/man/man1"
)]
pub(super) struct Man {
    /// Write the page of every command into this directory, which is created if missing
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(super) fn completions(arguments: &Completions) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut CommandLine::command(), "bedrock-proxy", &mut script);
    print(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}

pub(super) fn pages(arguments: &Man) -> ExitCode {
    let written = match &arguments.dir {
        None => main_page().map(|page| print(&page)),
        Some(dir) => std::fs::create_dir_all(dir)
            .and_then(|()| clap_mangen::generate_to(CommandLine::command(), dir))
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", dir.display()))),
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&format!("bedrock-proxy: cannot write the manual: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn main_page() -> io::Result<String> {
    let mut page = Vec::new();
    clap_mangen::Man::new(CommandLine::command()).render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &Command) {
            if command.get_subcommands().next().is_none() {
                let help = command.clone().render_help().to_string();
                assert!(help.contains("Example"), "{help}");
            }
            command.get_subcommands().for_each(check);
        }
        check(&CommandLine::command());
    }

    #[test]
    fn clap_definition_is_valid() {
        CommandLine::command().debug_assert();
    }
}
