//! Help of the command line in the reader's language.

use clap::builder::StyledStr;
use clap::{Arg, Command};

use crate::language::{HELP, Language};

/// Layout of the help in Spanish: that of clap, with the word before the usage.
const SPANISH_TEMPLATE: &str = "{before-help}{about-with-newline}\nUso: {usage}\n\n{all-args}{after-help}";

/// `command` with its help in `language`.
pub(super) fn localize(mut command: Command, language: Language) -> Command {
    match language {
        Language::English => command,
        Language::Spanish => {
            // Adds what clap brings: --help, --version and the command `help`.
            command.build();
            spanish(command)
        }
    }
}

fn spanish(mut command: Command) -> Command {
    for subcommand in command.get_subcommands_mut() {
        *subcommand = spanish(std::mem::take(subcommand));
    }
    let spanish_of = |text: Option<&StyledStr>| text.map(|text| translated(&text.to_string()));
    if let Some(text) = spanish_of(command.get_about()) {
        command = command.about(text);
    }
    if let Some(text) = spanish_of(command.get_long_about()) {
        command = command.long_about(text);
    }
    if let Some(text) = spanish_of(command.get_after_help()) {
        command = command.after_help(text);
    }
    if let Some(text) = spanish_of(command.get_after_long_help()) {
        command = command.after_long_help(text);
    }
    let command = command
        .help_template(SPANISH_TEMPLATE)
        .subcommand_help_heading("Órdenes")
        .subcommand_value_name("ORDEN")
        .mut_args(spanish_argument);
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage:").unwrap_or(&usage).trim().replace("[OPTIONS]", "[OPCIONES]");
    command.override_usage(usage)
}

fn spanish_argument(argument: Arg) -> Arg {
    let help = argument.get_help().map(|help| translated(&help.to_string())).unwrap_or_default();
    let values: Vec<_> = if argument.is_hide_possible_values_set() || !argument.get_action().takes_values() {
        Vec::new()
    } else {
        let values = argument.get_possible_values();
        values.iter().filter(|value| !value.is_hide_set()).map(describe_value).collect()
    };
    let defaults: Vec<_> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    let mut help = help;
    if !values.is_empty() {
        help = format!("{help} [valores: {}]", values.join(", "));
    }
    if !defaults.is_empty() && argument.get_action().takes_values() && !argument.is_hide_default_value_set() {
        help = format!("{help} [por defecto: {}]", defaults.join(", "));
    }
    let heading = if argument.is_positional() { "Argumentos" } else { "Opciones" };
    let argument = match argument.get_long_help().map(|help| translated(&help.to_string())) {
        Some(long_help) => argument.long_help(long_help),
        None => argument,
    };
    argument
        .help(help.trim().to_owned())
        .help_heading(heading)
        .hide_possible_values(true)
        .hide_default_value(true)
}

fn describe_value(value: &clap::builder::PossibleValue) -> String {
    match value.get_help() {
        Some(help) => format!("{} ({})", value.get_name(), translated(&help.to_string())),
        None => value.get_name().to_owned(),
    }
}

/// The Spanish text; the English one if there is none, which a test does not allow.
fn translated(text: &str) -> String {
    HELP.translate(text).unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Arguments;

    /// All texts of the help of `command` and of the commands below it.
    fn texts(command: &Command, found: &mut BTreeSet<String>) {
        let about = [
            command.get_about(),
            command.get_long_about(),
            command.get_after_help(),
            command.get_after_long_help(),
        ];
        found.extend(about.into_iter().flatten().map(ToString::to_string));
        for argument in command.get_arguments() {
            let help = [argument.get_help(), argument.get_long_help()];
            found.extend(help.into_iter().flatten().map(ToString::to_string));
            let values = argument.get_possible_values();
            found.extend(values.iter().filter_map(|value| value.get_help()).map(ToString::to_string));
        }
        command.get_subcommands().for_each(|subcommand| texts(subcommand, found));
    }

    #[test]
    fn every_command_and_option_has_spanish_help() {
        let mut command = Arguments::command();
        command.build();
        let mut english = BTreeSet::new();
        texts(&command, &mut english);
        let missing: Vec<_> = english.iter().filter(|text| HELP.translate(text).is_none()).collect();
        assert!(missing.is_empty(), "add these to language/help.es.po: {missing:#?}");
        let is_unused = |text: &&str| !text.contains('}') && !english.contains(*text);
        let unused: Vec<_> = HELP.pairs().map(|(text, _)| text).filter(is_unused).collect();
        assert!(unused.is_empty(), "remove these from language/help.es.po: {unused:#?}");
    }

    #[test]
    fn spanish_help_has_no_english_headings() {
        fn check(command: &Command) {
            let help = command.clone().render_long_help().to_string();
            for word in [
                "Usage:",
                "OPTIONS",
                "Commands:",
                "Options:",
                "Arguments:",
                "[default",
                "possible values",
                "Print ",
                "Example",
            ] {
                assert!(!help.contains(word), "{word} in {help}");
            }
            command.get_subcommands().for_each(check);
        }
        check(&localize(Arguments::command(), Language::Spanish));
    }

    #[test]
    fn spanish_help_names_the_same_options() {
        let english = Arguments::command();
        let spanish = localize(Arguments::command(), Language::Spanish);
        spanish.clone().debug_assert();
        for command in english.get_subcommands() {
            let other = spanish.find_subcommand(command.get_name()).unwrap();
            for argument in command.get_arguments() {
                assert!(other.get_arguments().any(|found| found.get_id() == argument.get_id()));
            }
        }
    }
}
