//! The command line: commands, dispatch, exit codes. Without a command it serves.

mod apply;
mod config;
mod connect;
#[cfg(feature = "demo")]
mod demo;
mod doctor;
pub(crate) mod explain;
mod healthcheck;
mod help;
mod man;
mod migrate;
mod progress;
mod runtime;
mod serve;
mod table;
mod tokens;
mod usage;
mod usage_table;
mod users;
mod version;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::admin::{Admin, AdminError};
use crate::auth::RejectionList;
use crate::catalog::default_model_error;
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Loaded, load_from_env, locale_language, operator_name};
use crate::error_text::without_os_codes;
use crate::store::{ListPage, Page, Store};
use crate::tasks::Tasks;

/// Exit code of an invalid configuration: `EX_CONFIG` of `sysexits.h`.
const EX_CONFIG: u8 = 78;
/// Exit code of an invalid command line, as clap's.
#[cfg(not(feature = "demo"))]
const EX_USAGE: u8 = 2;
/// Limit for dropping the tasks that the drain gave up on. Dropping logs and settles their requests, which takes
/// milliseconds; 200 ms leave room for a busy machine.
const RUNTIME_SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(200);
/// The actor in the audit events of these commands.
static OPERATOR: LazyLock<String> = LazyLock::new(operator_name);
/// The same for calls that take a text.
const ACTOR: &LazyLock<String> = &OPERATOR;
/// Rows of one page when a command reads a whole list; bounds the memory of one query.
const PAGE_SIZE: i64 = 1000;

/// At the end of the help.
const EXAMPLES: &str = "\
Examples:
  bedrock-proxy demo            try it without an AWS account
  bedrock-proxy config check    check the environment and .env
  bedrock-proxy doctor          check everything that serving needs
  bedrock-proxy                 serve

Exit codes:
  0   success
  1   failure, or a failed check
  2   invalid command line
  78  invalid configuration";

#[derive(Debug, Parser)]
#[command(name = "bedrock-proxy", version, about = "Proxy that gives clients of the Anthropic and OpenAI APIs access to AWS Bedrock", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try the proxy without an AWS account, with a fake Bedrock in the same process
    #[command(after_help = "Example:\n  bedrock-proxy demo --port 9000")]
    Demo {
        /// The port to serve on
        #[arg(long, default_value_t = 8081, value_parser = port)]
        port: u16,
        /// The address to serve on; 0.0.0.0 inside a container
        #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
        host: IpAddr,
    },
    /// Serve the Messages API (the default command), configured by the environment and .env; see .env.example
    #[command(after_help = "Example:\n  PORT=8081 AWS_BEDROCK_REGION=eu-west-1 bedrock-proxy serve")]
    Serve,
    /// Check everything that the server needs, with advice for each failure
    Doctor(doctor::DoctorArguments),
    /// Print the settings of a client
    Connect(connect::ConnectArguments),
    /// Issue, list and revoke tokens
    #[command(subcommand)]
    Token(tokens::TokenCommand),
    /// Manage users and their limits
    #[command(subcommand)]
    User(users::UserCommand),
    /// Manage teams, whose users share a limit
    #[command(subcommand)]
    Team(users::TeamCommand),
    /// Add, change and remove teams and users as a file describes them; prints the plan first
    Apply(apply::ApplyArguments),
    /// Report tokens and cost
    #[command(subcommand)]
    Usage(usage::UsageCommand),
    /// Show limits and what is left of them
    #[command(subcommand)]
    Quota(usage::QuotaCommand),
    /// List audit events: tokens, changes, rejected requests
    #[command(after_help = "Example:\n  bedrock-proxy events --kind auth_refused --limit 20")]
    Events(usage::EventArguments),
    /// Check or print the configuration
    Config {
        #[command(subcommand)]
        command: config::ConfigCommand,
    },
    /// Check the health of the server that this configuration describes, for the HEALTHCHECK of a container
    Healthcheck(healthcheck::HealthcheckArguments),
    /// Apply pending migrations of the database, as every start does
    Migrate(migrate::MigrateArguments),
    /// Explain an error by the code at the end of its message, such as E07, or list all errors
    #[command(after_help = "Example:\n  bedrock-proxy explain E07")]
    Explain {
        /// The code; without one, list all codes with their causes
        code: Option<String>,
        /// Print all errors as the Markdown table of docs/errors.md
        #[arg(long, conflicts_with = "code")]
        markdown: bool,
    },
    /// Print the completion script of a shell
    Completions(man::Completions),
    /// Print the manual page, or write one for each command
    Man(man::Man),
    /// Print the version
    Version(version::VersionArguments),
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "use a number from 0 to 65535".to_owned())
}

/// Runs the command of this process.
#[must_use]
pub fn run() -> ExitCode {
    let matches = help::localize(Arguments::command(), locale_language()).get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let command = arguments.command.unwrap_or(Command::Serve);
    match command {
        #[cfg(feature = "demo")]
        Command::Demo { port, host } => {
            in_runtime(async move { demo::run(host, port).await.map(|()| ExitCode::SUCCESS) })
        }
        #[cfg(not(feature = "demo"))]
        Command::Demo { .. } => {
            print_error(
                "bedrock-proxy: this binary was built without the demo; use a binary of the release, or run \
                 `cargo run --bin bedrock-proxy -- demo` in the repository\n",
            );
            ExitCode::from(EX_USAGE)
        }
        Command::Config { command } => config::run(command, &load()),
        Command::Explain { markdown: true, .. } => {
            print(&explain::markdown());
            ExitCode::SUCCESS
        }
        Command::Explain { code, .. } => explain(code.as_deref()),
        Command::Completions(arguments) => man::completions(&arguments),
        Command::Man(arguments) => man::pages(&arguments),
        Command::Version(arguments) => in_runtime(version::run(arguments)),
        Command::Doctor(arguments) => doctor::run(arguments, load()),
        Command::Connect(arguments) => with_config(load(), |config| connect::run(config, arguments)),
        Command::Token(command) => with_admin(async |admin| tokens::run(admin, command).await),
        Command::User(command) => with_admin(async |admin| users::run_user(admin, command).await),
        Command::Team(command) => with_admin(async |admin| users::run_team(admin, command).await),
        Command::Apply(arguments) => with_admin(async |admin| apply::apply(admin, arguments).await),
        Command::Usage(usage::UsageCommand::Prices(arguments)) => with_config(load(), |config| async move {
            usage::prices(&config, &arguments).map(|text| {
                print(&text);
                ExitCode::SUCCESS
            })
        }),
        Command::Usage(usage::UsageCommand::Report(arguments)) => {
            with_admin(async |admin| usage::report(admin, arguments).await)
        }
        Command::Quota(command) => with_admin(async |admin| usage::quota(admin, command).await),
        Command::Events(arguments) => with_admin(async |admin| usage::events(admin, arguments).await),
        Command::Healthcheck(arguments) => with_config(load(), |config| healthcheck::run(config, arguments)),
        Command::Migrate(arguments) => with_config(load(), |config| migrate::run(config, arguments)),
        Command::Serve => {
            let Loaded { config, source } = load();
            match config {
                Ok(config) => serve::serve_with_logging(config, source),
                Err(errors) => exit_config_error(&errors),
            }
        }
    }
}

/// The configuration of this process, whose default model is one that Bedrock can have.
fn load() -> Loaded {
    let mut loaded = load_from_env(Path::new(".env"));
    if let Ok(config) = &loaded.config
        && let Some(error) = default_model_error(&config.catalog)
    {
        loaded.config = Err(vec![error]);
    }
    loaded
}

/// Runs `work` with a valid configuration.
fn with_config<F>(loaded: Loaded, work: impl FnOnce(Config) -> F) -> ExitCode
where
    F: Future<Output = Result<ExitCode, String>>,
{
    match loaded.config {
        Ok(config) => in_runtime(work(config)),
        Err(errors) => exit_config_error(&errors),
    }
}

/// Runs `work` on the database and prints its result. It needs no running server, and a running one applies the change
/// within seconds.
fn with_admin(work: impl AsyncFnOnce(&Admin) -> Result<String, AdminError>) -> ExitCode {
    with_config(load(), |config| async move {
        let tasks = Tasks::default();
        progress::begin("opening the database", 0);
        let store = progress::show(Box::pin(Store::open(&config.database, &tasks))).await;
        let store = store.map_err(|error| error.to_string())?;
        let clock = Clock::machine();
        let rejections = Arc::new(RejectionList::open(&config.database.data_dir, clock.clone()));
        let admin = Admin::new(&config, store.clone(), rejections, clock);
        progress::begin("working", 0);
        let result = progress::show(work(&admin)).await.map_err(|error| error.to_string());
        tasks.shutdown();
        store.close().await;
        print(&result?);
        Ok(ExitCode::SUCCESS)
    })
}

/// All pages of a list.
async fn all_pages<R>(
    load: impl AsyncFnMut(&Page) -> Result<ListPage<R>, AdminError>,
) -> Result<Vec<R>, AdminError> {
    first_rows(usize::MAX, load).await
}

/// The first `max` rows of a list.
async fn first_rows<R>(
    max: usize,
    mut load: impl AsyncFnMut(&Page) -> Result<ListPage<R>, AdminError>,
) -> Result<Vec<R>, AdminError> {
    let (mut rows, mut page) = (Vec::new(), Page { after: None, limit: PAGE_SIZE });
    loop {
        page.limit = i64::try_from(max - rows.len()).unwrap_or(PAGE_SIZE).min(PAGE_SIZE);
        let found = load(&page).await?;
        progress::advance(found.rows.len());
        rows.extend(found.rows);
        if found.next.is_none() || rows.len() >= max {
            return Ok(rows);
        }
        page.after = found.next;
    }
}

fn explain(code: Option<&str>) -> ExitCode {
    match code.map_or_else(|| Some(explain::list()), explain::one) {
        Some(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        None => {
            print_error(
                "bedrock-proxy: there is no error with this code; `bedrock-proxy explain` lists all codes\n",
            );
            ExitCode::FAILURE
        }
    }
}

fn exit_config_error(errors: &[ConfigError]) -> ExitCode {
    let mut text = format!("bedrock-proxy cannot start; {} to fix:\n", errors.len());
    for error in errors {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {error}");
    }
    print_error(&text);
    ExitCode::from(EX_CONFIG)
}

fn in_runtime(work: impl Future<Output = Result<ExitCode, String>>) -> ExitCode {
    let runtime = match runtime::build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print_error(&format!("bedrock-proxy cannot start: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        tokio::select! {
            result = work => result,
            never = runtime::keep_spare_threads() => match never {},
        }
    });
    // Tasks that the drain gave up on are dropped, so that their requests are logged.
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN_TIMEOUT);
    match result {
        Ok(code) => code,
        Err(error) => {
            print_error(&format!("bedrock-proxy: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Writes to stdout. A reader may close it early (`| head`), which is no error. Each line of a CSV ends in CR and LF, the
/// last one as well.
pub(crate) fn print(text: &str) {
    let end = if text.ends_with("\r\n") { "\r\n" } else { "\n" };
    let _ = write!(std::io::stdout(), "{}{end}", text.trim_end());
}

fn print_error(text: &str) {
    let _ = write!(std::io::stderr(), "{}", without_os_codes(text));
}
