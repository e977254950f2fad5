//! `completions` and `man`: what shells and `man` have to know, made of the command line itself.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Arguments as CommandLine, complain, say};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bedrock-proxy completions bash > /etc/bash_completion.d/bedrock-proxy")]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bedrock-proxy man | man -l -\n  bedrock-proxy man --dir /usr/local/share/man/man1"
)]
pub(super) struct Man {
    /// Write the page of every command into this folder instead, which is made if it is missing
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(super) fn completions(arguments: &Completions) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut CommandLine::command(), "bedrock-proxy", &mut script);
    say(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}

pub(super) fn pages(arguments: &Man) -> ExitCode {
    let written = match &arguments.dir {
        None => main_page().map(|page| say(&page)),
        Some(dir) => std::fs::create_dir_all(dir)
            .and_then(|()| clap_mangen::generate_to(CommandLine::command(), dir))
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", dir.display()))),
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("bedrock-proxy: the manual cannot be written: {error}\n"));
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

    /// The names of a command and of those below it, `token issue` as both words.
    fn names(command: &Command) -> Vec<String> {
        let below = command.get_subcommands().flat_map(|inner| {
            let name = inner.get_name().to_owned();
            std::iter::once(name.clone())
                .chain(names(inner).into_iter().map(move |rest| format!("{name} {rest}")))
        });
        below.collect()
    }

    #[test]
    fn every_command_that_does_something_shows_an_example() {
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
    fn the_command_line_makes_sense() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn completions_of_every_shell_know_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut CommandLine::command(), "bedrock-proxy", &mut script);
            let script = String::from_utf8(script).unwrap();
            for name in names(&CommandLine::command()) {
                let last = name.rsplit(' ').next().unwrap();
                assert!(script.contains(last), "{shell} does not know {name}");
            }
        }
    }

    #[test]
    fn there_is_a_page_for_every_command() {
        let page = main_page().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("man1");
        assert_eq!(pages(&Man { dir: Some(inner.clone()) }), ExitCode::SUCCESS);
        for command in CommandLine::command().get_subcommands() {
            assert!(page.contains(&command.get_name().replace('-', "\\-")), "{}", command.get_name());
        }
        for name in names(&CommandLine::command()) {
            let file = inner.join(format!("bedrock-proxy-{}.1", name.replace(' ', "-")));
            assert!(std::fs::read_to_string(&file).unwrap().contains(".TH"), "{}", file.display());
        }
    }
}
