//! The command line of the manager.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use manager::cli::{
    self, AccessCommand, AuditArgs, CompletionsArgs, DumpArgs, EventsArgs, ImageCommand, JoinArgs,
    MaintenanceCommand, ManArgs, Output, PlanCommand, RevokeArgs, ServiceCommand, StatusArgs, SwitchoverArgs,
    TokenArgs, TopArgs, VmCommand,
};
use manager::config::Config;
use manager::faults::{KeeperArgs, STOPPED_FOR, SUBCOMMAND as KEEPER, keep, wait_out};
use manager::ports::namespaces::{BootArgs, InitArgs, SUBCOMMAND, SpareArgs, boot, boot_spare, init, spare};

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 bad input; `status --exit-code` also 3 (something is missing) \
    and 4 (a public address is not held). NO_COLOR turns colours off.";

/// Keeps the machines of one host alive.
#[derive(Parser)]
#[command(name = "manager", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Common {
    /// This host's configuration file.
    #[arg(long, global = true, env = "HOLDFAST_CONFIG", default_value = "/etc/holdfast/manager.toml")]
    config: PathBuf,
    /// The manager to ask, such as http://192.168.10.1:8080; else the one of the configuration file, by its
    /// socket where that is on this host. With https://, the token in HOLDFAST_TOKEN is shown, and HOLDFAST_CA
    /// names the file with the cluster's CA (PEM).
    #[arg(long, global = true, env = "HOLDFAST_MANAGER")]
    manager: Option<String>,
    /// How answers are printed.
    #[arg(long, short, global = true, default_value = "table")]
    output: Output,
}

#[derive(Subcommand)]
enum Command {
    /// Run the manager of this host.
    Run {
        /// Only say whether the configuration is valid.
        #[arg(long)]
        check: bool,
        /// Wait for so long first: the manager was stopped by order.
        #[arg(long = STOPPED_FOR, value_name = "MS", hide = true)]
        stopped_for_ms: Option<u64>,
    },
    /// Say whether the configuration is valid and whether this host can be run with it.
    Check,
    /// Make a new cluster: its CA, and this host as its first.
    Init(cli::InitArgs),
    /// Print a token that lets one host into the cluster, once.
    Token(TokenArgs),
    /// Bring this host into a cluster, with a token from `manager token` there.
    Join(JoinArgs),
    /// Take a host out of the cluster: nobody believes it any more.
    Revoke(RevokeArgs),
    /// Show hosts, machines and public addresses.
    Status(StatusArgs),
    /// Show what the balancers do right now: requests a second, latencies, and how each upstream does.
    Top(TopArgs),
    /// List, create, delete and replace machines, and read their consoles.
    #[command(subcommand)]
    Vm(VmCommand),
    /// List, show, define and take away services.
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Have balancers send a machine nothing new; what it was sent it ends, and it lives on.
    Drain {
        /// The machine's name.
        id: String,
    },
    /// Have balancers send a drained machine requests again.
    Undrain {
        /// The machine's name.
        id: String,
    },
    /// Bring new images to the machines of the whole cluster.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Move the public addresses to another host's balancer without failing a request.
    Switchover(SwitchoverArgs),
    /// Work out what a cluster would need, without asking any manager.
    #[command(subcommand)]
    Plan(PlanCommand),
    /// Give, show and take away access from elsewhere. On the manager's own host only.
    #[command(subcommand)]
    Access(AccessCommand),
    /// Show who changed what, and who was refused to.
    Audit(AuditArgs),
    /// Have the manager watch its machines and leave them alone, or keep them again.
    #[command(subcommand)]
    Maintenance(MaintenanceCommand),
    /// Show what happened lately; with `--follow` also what happens, as it happens.
    Events(EventsArgs),
    /// Take a host that is gone for good out of the cluster, on the manager that is asked.
    Forget {
        /// The host's name, or its address where its name was never heard.
        host: String,
    },
    /// Write what somebody who is to help wants to see into one file, without secrets.
    SupportDump(DumpArgs),
    /// Print what completes this command line in a shell.
    Completions(CompletionsArgs),
    /// Write this command's manual pages into a directory.
    Man(ManArgs),
    /// The inner side of namespace machines.
    #[command(name = SUBCOMMAND, hide = true, subcommand)]
    NamespaceMachine(NamespaceMachine),
    /// Undoes a fault.
    #[command(name = KEEPER, hide = true)]
    FaultKeeper(KeeperArgs),
}

#[derive(Subcommand)]
enum NamespaceMachine {
    Boot(BootArgs),
    Init(InitArgs),
    BootSpare(SpareArgs),
    Spare(SpareArgs),
}

fn main() -> ExitCode {
    kit::telemetry::init();
    let Cli { common, command } = Cli::parse();
    // Before any thread is started: namespaces are a thread's own.
    let result = match command {
        Command::NamespaceMachine(NamespaceMachine::Boot(args)) => boot(&args),
        Command::NamespaceMachine(NamespaceMachine::Init(args)) => init(&args),
        Command::NamespaceMachine(NamespaceMachine::BootSpare(args)) => boot_spare(&args),
        Command::NamespaceMachine(NamespaceMachine::Spare(args)) => spare(&args),
        Command::FaultKeeper(args) => load(&common).and_then(|config| keep(&config, &args)),
        Command::Run { check: true, .. } => {
            load(&common).map(|_| println!("{}: valid", common.config.display()))
        }
        Command::Run { check: false, stopped_for_ms } => {
            stopped_for_ms.into_iter().for_each(|time| wait_out(Duration::from_millis(time)));
            load(&common).and_then(|config| manager::daemon::run(config, &common.config))
        }
        Command::Check => load(&common).and_then(|config| cli::check(&common.config, &config)),
        Command::Init(args) => load(&common).and_then(|config| cli::init(&config, &args)),
        Command::Token(args) => load(&common).and_then(|config| cli::token(&config, &args, common.output)),
        Command::Join(args) => load(&common).and_then(|config| cli::join(&config, &args)),
        Command::Revoke(args) => load(&common).and_then(|config| cli::revoke(&config, &args)),
        Command::Status(args) => client(&common).and_then(|client| client.status(&args)),
        Command::Top(args) => client(&common).and_then(|client| client.top(&args)),
        Command::Vm(command) => client(&common).and_then(|client| client.vm(&command)),
        Command::Service(command) => client(&common).and_then(|client| client.service(&command)),
        Command::Drain { id } => client(&common).and_then(|client| client.drain(&id, true)),
        Command::Undrain { id } => client(&common).and_then(|client| client.drain(&id, false)),
        Command::Image(command) => client(&common).and_then(|client| client.image(&command)),
        Command::Forget { host } => client(&common).and_then(|client| client.forget(&host)),
        Command::Switchover(args) => client(&common).and_then(|client| client.switchover(&args)),
        Command::Plan(command) => cli::plan(&command, common.output),
        Command::Access(command) => client(&common).and_then(|client| client.access(&command)),
        Command::Audit(args) => client(&common).and_then(|client| client.audit(&args)),
        Command::Maintenance(command) => client(&common).and_then(|client| client.maintenance(&command)),
        Command::Events(args) => client(&common).and_then(|client| client.events(&args)),
        Command::SupportDump(args) => client(&common).and_then(|client| client.dump(&args, &common.config)),
        Command::Completions(args) => cli::completions(Cli::command(), &args),
        Command::Man(args) => cli::man(Cli::command(), &args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(not_well) = error.downcast_ref::<cli::NotWell>() {
                return ExitCode::from(not_well.code());
            }
            complain(&format!("{error:#}"));
            // What was typed or written wrongly is told apart from what went wrong.
            let usage = error.is::<kit::config::ConfigError>() || error.is::<cli::Usage>();
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

fn load(common: &Common) -> anyhow::Result<Config> {
    Ok(Config::load(&common.config)?)
}

fn client(common: &Common) -> anyhow::Result<cli::Client> {
    cli::Client::new(common.manager.as_deref(), &common.config, common.output)
}

#[allow(clippy::print_stderr)]
fn complain(message: &str) {
    eprintln!("manager: {message}");
}
