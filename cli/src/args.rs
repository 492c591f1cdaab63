//! The whole command line, readable from top to bottom. Only what works is listed.
//!
//! Never does anything: `lib.rs` hands each command to its file in `command/`.

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

use proto::needs::Permission;
use std::time::Duration;

use crate::complete::{Want, with};
use crate::exit::Failure;
use crate::time::parse_duration;

/// Runs a Compose file on a cluster of Docker hosts, or on this machine alone.
#[derive(Debug, Parser)]
#[command(name = "ctl", version, max_term_width = 100, after_help = TOP_HELP, arg_required_else_help = true)]
#[command(subcommand_help_heading = "Commands")]
pub struct Args {
    /// Which cluster.
    #[command(flatten)]
    pub target: Target,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Args {
    /// What these words say, `ctl` itself first.
    pub fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Args, clap::Error> {
        Args::try_parse_from(words)
    }
}

/// Which cluster to talk to.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "Cluster")]
pub struct Target {
    /// Socket of the server to talk to
    #[arg(long, global = true, value_name = "PATH", env = "WHERRY_SOCKET", hide_env_values = true)]
    pub socket: Option<PathBuf>,
    /// Talk to the dev cluster of this name
    #[arg(long, global = true, value_name = "NAME", env = "WHERRY_DEV", hide_env_values = true)]
    #[arg(add = with(Want::DevClusters))]
    pub cluster: Option<String>,
    /// Talk to the cluster of this context; `ctl context add` makes one
    #[arg(long, global = true, value_name = "NAME", env = "WHERRY_CONTEXT", hide_env_values = true)]
    pub context: Option<String>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a one-node cluster on this machine
    #[command(after_help = DEV_HELP)]
    Dev(DevArgs),
    /// Create or change a project from a Compose file; wait until it runs
    #[command(after_help = APPLY_HELP)]
    Apply(ApplyArgs),
    /// Judge a Compose file, key by key, without a server
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Show what apply would do, without doing it
    #[command(after_help = PLAN_HELP)]
    Plan(PlanArgs),
    /// List projects, services, tasks, nodes, ...
    #[command(after_help = GET_HELP)]
    Get(GetArgs),
    /// List tasks: what runs where
    #[command(after_help = PS_HELP)]
    Ps(PsArgs),
    /// Show one thing in full
    #[command(after_help = DESCRIBE_HELP)]
    Describe(DescribeArgs),
    /// Explain a state: what is, why, and what happens next
    #[command(after_help = WHY_HELP, override_usage = "ctl why [OPTIONS] [KIND] <NAME>")]
    Why(WhyArgs),
    /// Tell what happened, or what happens
    #[command(after_help = EVENTS_HELP)]
    Events(EventsArgs),
    /// Print what a service's containers write
    #[command(after_help = LOGS_HELP)]
    Logs(LogsArgs),
    /// Set how many containers a service has
    #[command(after_help = SCALE_HELP)]
    Scale(ScaleArgs),
    /// Follow, pause, resume or undo the update of a service
    #[command(after_help = ROLLOUT_HELP)]
    Rollout(RolloutArgs),
    /// Remove a project or a service
    #[command(after_help = DELETE_HELP)]
    Delete(DeleteArgs),
    /// Make, list and revoke join tokens
    #[command(after_help = TOKEN_HELP)]
    Token(TokenArgs),
    /// List and revoke operators
    #[command(after_help = OPERATOR_HELP)]
    Operator(OperatorArgs),
    /// Label a node for placement, or revoke its certificate
    #[command(after_help = NODE_HELP)]
    Node(NodeArgs),
    /// Choose which servers vote, or remove one
    #[command(after_help = SERVER_HELP)]
    Server(ServerArgs),
    /// Make this host the first of a cluster, or the next; rotate its key
    #[command(name = "cluster", after_help = CLUSTER_HELP)]
    Hosts(ClusterArgs),
    /// Add, choose, list and remove clusters on other hosts
    #[command(after_help = CONTEXT_HELP)]
    Context(ContextArgs),
    /// Ask the cluster's DNS
    #[command(after_help = DNS_HELP)]
    Dns(DnsArgs),
    /// Print what teaches a shell to complete ctl's words
    #[command(after_help = COMPLETION_HELP)]
    Completion(CompletionArgs),
    /// Show the versions of ctl and of the server
    Version(VersionArgs),
    #[command(hide = true)]
    Up(Rest),
    #[command(hide = true)]
    Down(Rest),
    #[command(hide = true)]
    Run(Rest),
    #[command(hide = true)]
    Stop(Rest),
    #[command(hide = true)]
    Rm(Rest),
    #[command(hide = true)]
    Exec(Rest),
    #[command(hide = true)]
    Inspect(Rest),
    #[command(hide = true, alias = "start")]
    Restart(Rest),
    #[command(hide = true, alias = "list")]
    Ls(Rest),
    #[command(hide = true)]
    Status(Rest),
    #[command(hide = true)]
    Build(Rest),
}

/// Whatever stands behind a word of another program.
#[derive(Debug, ClapArgs)]
pub struct Rest {
    /// Ignored.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub rest: Vec<String>,
}

/// `ctl dev`.
#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DevArgs {
    /// `down`, or nothing.
    #[command(subcommand)]
    pub command: Option<DevCommand>,
    /// Compose file to apply [default: the one in this directory, if there is one]
    pub file: Option<PathBuf>,
    /// Take in the services of this profile too; `*` is all
    #[arg(long, value_name = "NAME")]
    pub profile: Vec<String>,
    /// Go on in the background
    #[arg(long, short)]
    pub detach: bool,
    /// If another build of ctl runs the cluster in the background, take its place; containers run on
    #[arg(long, requires = "detach")]
    pub upgrade: bool,
    /// How the cluster is named and run.
    #[command(flatten)]
    pub place: DevPlace,
    /// Range of the containers' addresses [default: the first free one from 10.210.0.0/16 on]
    #[arg(long, value_name = "CIDR")]
    pub range: Option<String>,
    /// What containers may ask for beyond the ordinary, separated by commas: privileged, devices, capabilities,
    /// net-raw, security-opt, engine-socket, host-pid, host-ipc, host-uts, host-userns, host-cgroup; host-paths it has
    #[arg(long, value_name = "WORDS", env = "WHERRY_ALLOW", value_delimiter = ',', hide_env_values = true)]
    pub allow: Vec<Permission>,
    /// A label of its node, for placement; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    pub labels: Vec<(String, String)>,
    /// Set by `--detach` for the process that stays.
    #[arg(long, hide = true, conflicts_with_all = ["detach", "file"])]
    pub foreground_daemon: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("write KEY=VALUE".into()),
    }
}

/// Which dev cluster, on which engine.
#[derive(Debug, Clone, ClapArgs)]
pub struct DevPlace {
    /// Name of the cluster: several may run at once [default: default]
    #[arg(long, value_name = "NAME", add = with(Want::DevClusters))]
    pub name: Option<String>,
    /// Docker Engine to use
    #[arg(long, value_name = "SOCKET", default_value = "unix:///var/run/docker.sock", env = "DOCKER_HOST")]
    #[arg(hide_env_values = true)]
    pub docker: String,
}

/// Under `ctl dev`.
#[derive(Debug, Subcommand)]
pub enum DevCommand {
    /// Stop the dev cluster and remove what it made but named volumes
    Down(DevDownArgs),
}

/// `ctl dev down`.
#[derive(Debug, ClapArgs)]
pub struct DevDownArgs {
    /// Which one.
    #[command(flatten)]
    pub place: DevPlace,
    /// Remove named volumes too
    #[arg(long)]
    pub volumes: bool,
}

/// `ctl check`.
#[derive(Debug, ClapArgs)]
pub struct CheckArgs {
    /// Compose file, the same as `-f FILE`
    #[arg(value_name = "FILE", conflicts_with = "file")]
    pub path: Option<PathBuf>,
    /// Which manifest.
    #[command(flatten)]
    pub manifest: ManifestArgs,
    /// Only what is translated or refused
    #[arg(long, short)]
    pub quiet: bool,
    /// How.
    #[command(flatten)]
    pub output: Output,
}

/// How long to wait.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct Waiting {
    /// Return as soon as the cluster has accepted it
    #[arg(long)]
    pub no_wait: bool,
    /// Wait at most so long
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// Which manifest.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct ManifestArgs {
    /// Compose file, `-` for standard input; several are merged, each over those before it [default: the one in this
    /// directory, with compose.override.yaml over it]
    #[arg(long, short, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// Name of the project [default: the file's, or its directory's]
    #[arg(long, short, value_name = "NAME")]
    pub project: Option<String>,
    /// Take in the services of this profile too; `*` is all
    #[arg(long, value_name = "NAME")]
    pub profile: Vec<String>,
}

impl ManifestArgs {
    /// A file, or that of the directory, and nothing else.
    pub fn of(file: Option<&PathBuf>) -> ManifestArgs {
        ManifestArgs { file: file.into_iter().cloned().collect(), ..ManifestArgs::default() }
    }
}

/// `ctl apply`.
#[derive(Debug, ClapArgs)]
pub struct ApplyArgs {
    /// Which manifest.
    #[command(flatten)]
    pub manifest: ManifestArgs,
    /// Remove services of the project that the file no longer has
    #[arg(long)]
    pub prune: bool,
    /// Show what it would do, without doing it: `ctl plan`
    #[arg(long, conflicts_with_all = ["no_wait", "expect_release"])]
    pub dry_run: bool,
    /// Refuse unless N is the present release (0: the project is new), as `ctl plan` printed it
    #[arg(long, value_name = "N")]
    pub expect_release: Option<u64>,
    /// How long to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

impl ApplyArgs {
    /// The same as `ctl plan`.
    pub fn plan(&self) -> PlanArgs {
        PlanArgs { manifest: self.manifest.clone(), prune: self.prune, exit_code: false, output: Output::default() }
    }
}

/// `ctl plan`.
#[derive(Debug, ClapArgs)]
pub struct PlanArgs {
    /// Which manifest.
    #[command(flatten)]
    pub manifest: ManifestArgs,
    /// Plan to remove services of the project that the file no longer has
    #[arg(long)]
    pub prune: bool,
    /// Exit with 1 if something would change or cannot be placed
    #[arg(long)]
    pub exit_code: bool,
    /// How.
    #[command(flatten)]
    pub output: Output,
}

/// Which project a name is looked for in.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct InProject {
    /// Only this project
    #[arg(long, short, value_name = "NAME", add = with(Want::Projects))]
    pub project: Option<String>,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// JSON, stable.
    Json,
    /// The same as YAML.
    Yaml,
    /// Names only.
    Name,
}

/// `-o`.
#[derive(Debug, Clone, Copy, Default, ClapArgs)]
pub struct Output {
    /// Form of the output: table, wide, json, yaml or name
    #[arg(long = "output", short = 'o', value_name = "FORM", value_enum, default_value_t)]
    #[arg(hide_default_value = true, hide_possible_values = true)]
    pub format: Format,
}

/// What can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Projects.
    #[value(alias = "project", alias = "proj")]
    Projects,
    /// Services.
    #[value(alias = "service", alias = "svc")]
    Services,
    /// Tasks.
    #[value(alias = "task", alias = "ps")]
    Tasks,
    /// Nodes.
    #[value(alias = "node", alias = "no")]
    Nodes,
    /// Servers.
    #[value(alias = "server")]
    Servers,
    /// Volumes.
    #[value(alias = "volume", alias = "vol")]
    Volumes,
    /// Events.
    #[value(alias = "event", alias = "ev")]
    Events,
    /// The audit.
    Audit,
    /// All of a project's.
    All,
}

/// `ctl get`.
#[derive(Debug, ClapArgs)]
pub struct GetArgs {
    /// What to list
    #[arg(value_enum, hide_possible_values = true, value_name = "KIND")]
    pub kind: Kind,
    /// Only the one of this name
    #[arg(add = with(Want::OfKind))]
    pub name: Option<String>,
    /// Where.
    #[command(flatten)]
    pub scope: InProject,
    /// How.
    #[command(flatten)]
    pub output: Output,
    /// Show it again whenever it changes
    #[arg(long, short)]
    pub watch: bool,
    /// As the server that is asked knows it, be it old: also when no server leads
    #[arg(long, conflicts_with = "watch")]
    pub stale: bool,
    /// Of events and audit: only of this last span of time, such as 5m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub since: Option<Duration>,
    /// Of events and audit: only the newest so many [default: 200]
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
    /// Of the audit: the records that follow this number, the oldest first
    #[arg(long, value_name = "NUMBER")]
    pub after: Option<u64>,
}

impl GetArgs {
    /// The same as `ctl events`.
    pub fn events(&self) -> EventsArgs {
        EventsArgs {
            name: self.name.clone(),
            scope: self.scope.clone(),
            watch: self.watch,
            since: self.since,
            tail: self.limit,
            output: self.output,
        }
    }
}

/// `ctl ps`.
#[derive(Debug, ClapArgs)]
pub struct PsArgs {
    /// Only this service's tasks
    #[arg(add = with(Want::Slots))]
    pub name: Option<String>,
    /// Where.
    #[command(flatten)]
    pub scope: InProject,
    /// Tasks of all projects, also in the directory of a Compose file
    #[arg(long, short, conflicts_with = "project")]
    pub all: bool,
    /// How.
    #[command(flatten)]
    pub output: Output,
    /// Show it again whenever it changes
    #[arg(long, short)]
    pub watch: bool,
    /// As the server that is asked knows it, be it old: also when no server leads
    #[arg(long, conflicts_with = "watch")]
    pub stale: bool,
}

/// `ctl describe`.
#[derive(Debug, ClapArgs)]
pub struct DescribeArgs {
    /// What it is: project, service, task, node, server or volume
    #[arg(value_enum, hide_possible_values = true, value_name = "KIND")]
    pub kind: Kind,
    /// Its name, such as shop/web or shop/web.1
    #[arg(add = with(Want::OfKind))]
    pub name: String,
    /// Where.
    #[command(flatten)]
    pub scope: InProject,
}

/// `ctl why`.
#[derive(Debug, ClapArgs)]
pub struct WhyArgs {
    /// A service, a slot, a project or a node; in front of it its kind, where two have one name
    #[arg(required = true, num_args = 1..=2, value_name = "NAME", add = with(Want::Anything))]
    pub words: Vec<String>,
    /// Where.
    #[command(flatten)]
    pub scope: InProject,
}

/// What can be asked why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyKind {
    /// A service or a slot.
    Service,
    /// A project.
    Project,
    /// A node.
    Node,
}

impl WhyArgs {
    /// The kind, if one was named, and the name.
    pub fn asked(&self) -> Result<(Option<WhyKind>, &str), Failure> {
        match self.words.as_slice() {
            [name] => Ok((None, name)),
            [kind, name] => match kind.as_str() {
                "service" | "svc" | "task" => Ok((Some(WhyKind::Service), name)),
                "project" | "proj" => Ok((Some(WhyKind::Project), name)),
                "node" | "no" => Ok((Some(WhyKind::Node), name)),
                other => Err(Failure::usage(format!("`{other}` is no kind that can be asked why"))
                    .hint("write service, project or node, or the name alone")),
            },
            _ => Err(Failure::usage("name one service, project or node")),
        }
    }
}

/// `ctl events`.
#[derive(Debug, ClapArgs)]
pub struct EventsArgs {
    /// Only about this and its parts: a service, a slot, a project or a node
    #[arg(add = with(Want::Anything))]
    pub name: Option<String>,
    /// Where.
    #[command(flatten)]
    pub scope: InProject,
    /// Go on as they happen: each once, in order
    #[arg(long, short)]
    pub watch: bool,
    /// Only what happened in this last span of time, such as 5m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub since: Option<Duration>,
    /// Of what happened before only the last so many [default: 200]
    #[arg(long, short = 'n', value_name = "N")]
    pub tail: Option<u32>,
    /// How.
    #[command(flatten)]
    pub output: Output,
}

/// `ctl logs`.
#[derive(Debug, ClapArgs)]
pub struct LogsArgs {
    /// [PROJECT/]SERVICE[.SLOT]; several are interleaved
    #[arg(required = true, add = with(Want::Slots))]
    pub names: Vec<String>,
    /// Where.
    #[command(flatten)]
    pub scope: InProject,
    /// Go on as they write
    #[arg(long, short)]
    pub follow: bool,
    /// Only the last so many lines of each container
    #[arg(long, short = 'n', value_name = "N")]
    pub tail: Option<u64>,
    /// Only what was written in this last span of time, such as 5m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub since: Option<Duration>,
    /// Put the time in front of each line
    #[arg(long, short)]
    pub timestamps: bool,
}

/// `ctl scale`.
#[derive(Debug, ClapArgs)]
pub struct ScaleArgs {
    /// [PROJECT/]SERVICE=N
    #[arg(required = true, value_name = "SERVICE=N", add = with(Want::Scaled))]
    pub changes: Vec<String>,
    /// Where.
    #[command(flatten)]
    pub scope: InProject,
    /// How long to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// `ctl rollout`.
#[derive(Debug, ClapArgs)]
#[command(arg_required_else_help = true)]
pub struct RolloutArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: RolloutCommand,
}

/// Under `ctl rollout`.
#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    /// Show how far the last change of a service has come, slot by slot
    Status(RolloutShowArgs),
    /// List the releases that changed a service, and how each ended
    History(RolloutShowArgs),
    /// Give a service the spec of an earlier release again, as a new release; wait until it runs
    Undo(RolloutUndoArgs),
    /// Let no further slot begin
    Pause(RolloutSteerArgs),
    /// Go on; what failed so far is forgiven
    Resume(RolloutSteerArgs),
}

/// `ctl rollout status` and `history`.
#[derive(Debug, ClapArgs)]
pub struct RolloutShowArgs {
    /// [PROJECT/]SERVICE
    #[arg(add = with(Want::Services))]
    pub service: String,
    /// Where.
    #[command(flatten)]
    pub scope: InProject,
    /// How.
    #[command(flatten)]
    pub output: Output,
}

/// `ctl rollout undo`.
#[derive(Debug, ClapArgs)]
pub struct RolloutUndoArgs {
    /// [PROJECT/]SERVICE
    #[arg(add = with(Want::Services))]
    pub service: String,
    /// The release whose spec it gets [default: the last one in which it was another]
    #[arg(long, value_name = "N")]
    pub to_release: Option<u64>,
    /// Where.
    #[command(flatten)]
    pub scope: InProject,
    /// How long to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// `ctl rollout pause` and `resume`.
#[derive(Debug, ClapArgs)]
pub struct RolloutSteerArgs {
    /// [PROJECT/]SERVICE
    #[arg(add = with(Want::Services))]
    pub service: String,
    /// Where.
    #[command(flatten)]
    pub scope: InProject,
}

/// What can be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Deletable {
    /// A project.
    #[value(alias = "projects", alias = "proj")]
    Project,
    /// A service.
    #[value(alias = "services", alias = "svc")]
    Service,
}

/// `ctl delete`.
#[derive(Debug, ClapArgs)]
pub struct DeleteArgs {
    /// What it is: project or service
    #[arg(value_enum, hide_possible_values = true, required_unless_present = "file", requires = "name")]
    pub kind: Option<Deletable>,
    /// Its name
    #[arg(add = with(Want::OfKind))]
    pub name: Option<String>,
    /// The project of this Compose file
    #[arg(long, short, value_name = "FILE", conflicts_with = "kind")]
    pub file: Option<PathBuf>,
    /// Where.
    #[command(flatten)]
    pub scope: InProject,
    /// Remove its named volumes too
    #[arg(long)]
    pub volumes: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// How long to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// `ctl token`.
#[derive(Debug, ClapArgs)]
#[command(arg_required_else_help = true)]
pub struct TokenArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// Under `ctl token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a join token and print it: it is told once
    #[command(after_help = TOKEN_CREATE_HELP)]
    Create(TokenCreateArgs),
    /// List join tokens, without their secrets
    List(ListArgs),
    /// Forget a join token: nobody joins by it any more
    Revoke(TokenRevokeArgs),
}

/// Who may join by a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Joining {
    /// A host that runs containers.
    Agent,
    /// A person or program that operates the cluster.
    Operator,
    /// A member of the control plane.
    Server,
}

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Everything.
    Admin,
    /// Change and see projects.
    Deployer,
    /// See projects.
    Viewer,
}

/// `ctl token create`.
#[derive(Debug, ClapArgs)]
pub struct TokenCreateArgs {
    /// Who joins by it: agent, operator or server
    #[arg(value_enum, hide_possible_values = true)]
    pub kind: Joining,
    /// How many may join by it
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub uses: u32,
    /// How long it can be used
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    pub expires: Duration,
    /// An operator's role: admin, deployer or viewer [default: viewer]
    #[arg(long, value_enum, hide_possible_values = true)]
    pub role: Option<Role>,
    /// The only project a deployer or viewer sees [default: all]
    #[arg(long, short, value_name = "NAME")]
    pub project: Option<String>,
    /// The operator's name, as `ctl operator list` shows it [default: one is made]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// A list.
#[derive(Debug, ClapArgs)]
pub struct ListArgs {
    /// How.
    #[command(flatten)]
    pub output: Output,
}

/// `ctl token revoke`.
#[derive(Debug, ClapArgs)]
pub struct TokenRevokeArgs {
    /// Its id, as `ctl token list` shows it
    pub id: String,
}

/// `ctl operator`.
#[derive(Debug, ClapArgs)]
#[command(arg_required_else_help = true)]
pub struct OperatorArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub command: OperatorCommand,
}

/// Under `ctl operator`.
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// List operators and what they may do
    List(ListArgs),
    /// Refuse an operator's certificate from now on, and end its streams
    Revoke(OperatorRevokeArgs),
}

/// `ctl operator revoke`.
#[derive(Debug, ClapArgs)]
pub struct OperatorRevokeArgs {
    /// Its name, as `ctl operator list` shows it
    pub name: String,
}

/// `ctl node`.
#[derive(Debug, ClapArgs)]
#[command(arg_required_else_help = true)]
pub struct NodeArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: NodeCommand,
}

/// Under `ctl node`.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Give a node labels for placement, and take some away, while its agent runs
    #[command(after_help = NODE_LABEL_HELP)]
    #[command(override_usage = "ctl node label [OPTIONS] <NODE> <KEY=VALUE|KEY->...")]
    Label(NodeLabelArgs),
    /// Refuse a node's certificate from now on; a fresh token lets it back in, with another key if need be
    Revoke(NodeRevokeArgs),
}

/// `ctl node label`.
#[derive(Debug, ClapArgs)]
pub struct NodeLabelArgs {
    /// Host name or id, as `ctl get nodes` shows it
    #[arg(add = with(Want::Nodes))]
    pub node: String,
    /// KEY=VALUE sets a label, KEY- removes one
    #[arg(value_name = "KEY=VALUE|KEY-")]
    pub labels: Vec<String>,
    /// Refuse unless this revision was the last that changed them (0: none has), as `ctl describe node` shows it
    #[arg(long, value_name = "REVISION")]
    pub expect: Option<u64>,
}

/// `ctl node revoke`.
#[derive(Debug, ClapArgs)]
pub struct NodeRevokeArgs {
    /// Host name or id, as `ctl get nodes` shows it
    #[arg(add = with(Want::Nodes))]
    pub node: String,
}

/// `ctl server`.
#[derive(Debug, ClapArgs)]
#[command(arg_required_else_help = true)]
pub struct ServerArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: ServerCommand,
}

/// Under `ctl server`.
#[derive(Debug, Subcommand)]
pub enum ServerCommand {
    /// Let a server vote, in the place of another if there are enough; an odd number votes by itself
    Promote(ServerNameArgs),
    /// Remove a server for good; refused if those that stay could not decide
    Remove(ServerNameArgs),
}

/// A server.
#[derive(Debug, ClapArgs)]
pub struct ServerNameArgs {
    /// Host name or id, as `ctl get servers` shows it
    pub server: String,
}

/// `ctl cluster`.
#[derive(Debug, ClapArgs)]
#[command(arg_required_else_help = true)]
pub struct ClusterArgs {
    /// What this host becomes, or what is done to the cluster as a whole.
    #[command(subcommand)]
    pub command: ClusterCommand,
}

/// Under `ctl cluster`.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Start a server and an agent here; print the line that the next host pastes
    Init(ClusterInitArgs),
    /// Start an agent here that joins by a token
    Join(ClusterJoinArgs),
    /// Seal all secrets with a new key and forget the one before; run again, it goes on where it was
    #[command(name = "rotate-key", after_help = ROTATE_KEY_HELP)]
    RotateKey(RotateKeyArgs),
}

/// `ctl cluster rotate-key`.
#[derive(Debug, ClapArgs)]
pub struct RotateKeyArgs {
    /// How long to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// How a host's programs are run.
#[derive(Debug, ClapArgs)]
pub struct HostArgs {
    /// Keep all of it below this directory and start plain processes, also where systemd runs
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The Docker Engine [default: unix:///var/run/docker.sock]
    #[arg(long, value_name = "URL", env = "DOCKER_HOST", hide_env_values = true)]
    pub docker: Option<String>,
    /// What containers on this host may ask for, as of `agent`
    #[arg(long, value_name = "WORDS", env = "WHERRY_ALLOW", value_delimiter = ',', hide_env_values = true)]
    pub allow: Vec<Permission>,
    /// A label of this node, for placement; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    pub labels: Vec<(String, String)>,
}

/// `ctl cluster init`.
#[derive(Debug, ClapArgs)]
pub struct ClusterInitArgs {
    /// The address that other hosts reach this one by [default: that of the way out]
    #[arg(long, value_name = "IP", env = "WHERRY_LISTEN", hide_env_values = true)]
    pub listen: Option<std::net::IpAddr>,
    /// How many hosts may join by the line that is printed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub uses: u32,
    /// How it is run.
    #[command(flatten)]
    pub host: HostArgs,
}

/// `ctl cluster join`.
#[derive(Debug, ClapArgs)]
pub struct ClusterJoinArgs {
    /// Servers, HOST or HOST:PORT, separated by commas
    #[arg(required = true, value_name = "SERVER", value_delimiter = ',')]
    pub servers: Vec<String>,
    /// File with the join token, `-` for standard input [default: the variable WHERRY_TOKEN]
    #[arg(long, value_name = "FILE", env = "WHERRY_TOKEN_FILE", hide_env_values = true)]
    pub token_file: Option<PathBuf>,
    /// How it is run.
    #[command(flatten)]
    pub host: HostArgs,
}

/// `ctl context`.
#[derive(Debug, ClapArgs)]
#[command(arg_required_else_help = true)]
pub struct ContextArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub command: ContextCommand,
}

/// Under `ctl context`.
#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// Join a cluster as an operator, by a token
    #[command(after_help = CONTEXT_ADD_HELP)]
    Add(ContextAddArgs),
    /// Talk to this one when none is named
    Use(ContextNameArgs),
    /// List contexts
    List(ListArgs),
    /// Forget a context and its key
    Remove(ContextNameArgs),
}

/// `ctl context add`.
#[derive(Debug, ClapArgs)]
pub struct ContextAddArgs {
    /// How you want to call it
    pub name: String,
    /// The cluster's servers, separated by commas; the port is 7420 unless written
    #[arg(long, value_name = "HOST[:PORT]", required = true, value_delimiter = ',')]
    pub server: Vec<String>,
    /// File with the join token, `-` for standard input [default: the variable WHERRY_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// `ctl context use`, `ctl context remove`.
#[derive(Debug, ClapArgs)]
pub struct ContextNameArgs {
    /// Which, as `ctl context list` shows it
    pub name: String,
}

/// `ctl dns`.
#[derive(Debug, ClapArgs)]
#[command(arg_required_else_help = true)]
pub struct DnsArgs {
    /// `lookup`.
    #[command(subcommand)]
    pub command: DnsCommand,
}

/// Under `ctl dns`.
#[derive(Debug, Subcommand)]
pub enum DnsCommand {
    /// Look a name up as a container would, and print the answers
    Lookup(LookupArgs),
}

/// Kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum RecordKind {
    /// IPv4 addresses.
    #[value(alias = "a")]
    A,
    /// IPv6 addresses.
    #[value(alias = "aaaa")]
    Aaaa,
    /// Ports and targets.
    #[value(alias = "srv")]
    Srv,
    /// Names of an address.
    #[value(alias = "ptr")]
    Ptr,
    /// Texts.
    #[value(alias = "txt")]
    Txt,
}

/// `ctl dns lookup`.
#[derive(Debug, ClapArgs)]
pub struct LookupArgs {
    /// web, web.shop, 1.web, _http._tcp.web, an address, or a name that ends in a dot
    #[arg(add = with(Want::Services))]
    pub name: String,
    /// Where.
    #[command(flatten)]
    pub scope: InProject,
    /// A, AAAA, SRV, PTR or TXT [default: A; SRV for _service._proto; PTR for an address]
    #[arg(long = "type", short = 't', value_enum, value_name = "TYPE", hide_possible_values = true)]
    pub kind: Option<RecordKind>,
    /// Node to ask [default: the first that is ready]
    #[arg(long, add = with(Want::Nodes))]
    pub node: Option<String>,
}

/// Shells that can be taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash, 4.4 or later.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
}

/// `ctl completion`.
#[derive(Debug, ClapArgs)]
pub struct CompletionArgs {
    /// bash, zsh or fish
    #[arg(value_enum, hide_possible_values = true)]
    pub shell: Shell,
}

/// `ctl version`.
#[derive(Debug, ClapArgs)]
pub struct VersionArgs {
    /// Do not ask the server
    #[arg(long)]
    pub client: bool,
    /// How.
    #[command(flatten)]
    pub output: Output,
}

const TOP_HELP: &str = "\
EXAMPLES
  ctl dev                      a cluster on this machine, with ./compose.yaml
  ctl apply                    apply ./compose.yaml, wait until it runs
  ctl ps                       what runs where
  ctl why web                  why a service is in the state it is in
  ctl logs -f web              follow its output

EXIT CODES
  0 done   1 refused or failed   2 wrong command line   3 no server answers
  4 timed out or outcome unknown   5 rolled back   130 interrupted while waiting

A name is [PROJECT/]SERVICE[.SLOT]; PROJECT defaults to that of the Compose
file in this directory.";

const DEV_HELP: &str = "\
EXAMPLES
  ctl dev                      with ./compose.yaml if there is one; Ctrl-C stops
  ctl dev --detach             the same in the background
  ctl dev shop.yaml --name b   a second cluster beside the first
  ctl dev down                 stop and remove it; named volumes stay";

const APPLY_HELP: &str = "\
EXAMPLES
  ctl apply                    the Compose file in this directory
  ctl apply -f shop.yaml -f prod.yaml --timeout 2m
  ctl apply --profile debug    and the services of that profile
  ctl apply --prune            and remove what the file no longer has
  cat shop.yaml | ctl apply -f - -p shop --no-wait";

const CHECK_HELP: &str = "\
Each key is honoured, translated (it means something else here, or nothing) or
refused, with its place and what to write instead. Exit 0 if `ctl apply` would
take the file, 1 if not.

EXAMPLES
  ctl check                    the Compose file in this directory
  ctl check shop.yaml --quiet  only what is not honoured as written
  ctl check -f shop.yaml -f prod.yaml --profile debug
  ctl check shop.yaml -o json";

const PLAN_HELP: &str = "\
EXAMPLES
  ctl plan                     the Compose file in this directory
  ctl plan -f shop.yaml --prune -o wide
  ctl plan --exit-code         for scripts: 0 nothing to do, 1 something

The first step is what apply then does at once; the later ones follow if what
is begun succeeds. Nothing is uploaded and nothing is built. Values that may be
secrets are not shown.";

const GET_HELP: &str = "\
KINDS
  projects, services (svc), tasks, nodes (no), servers, volumes (vol),
  events (ev), audit, all

EXAMPLES
  ctl get services             of all projects
  ctl get svc web -o wide
  ctl get tasks -p shop -o json
  ctl get events --watch
  ctl get servers --stale      also when no server leads: what this one knows
  ctl get audit --since 1d     who changed what, who got which secret, what was
                               refused; admins only
  ctl get audit alice -p shop -o json";

const PS_HELP: &str = "\
EXAMPLES
  ctl ps                       of the project in this directory, else of all
  ctl ps web --watch
  ctl ps --all -o wide";

const DESCRIBE_HELP: &str = "\
EXAMPLES
  ctl describe service web
  ctl describe task shop/web.1
  ctl describe node alpha";

const WHY_HELP: &str = "\
EXAMPLES
  ctl why web                  the service as a whole
  ctl why shop/web.2           its second container
  ctl why shop                 a project: what is not as wanted, by service
  ctl why node alpha           a node: how it is, what runs there, what cannot";

const EVENTS_HELP: &str = "\
EXAMPLES
  ctl events                   the last 200 of the whole cluster
  ctl events web --since 10m
  ctl events -p shop --watch
  ctl events --watch -o json   a line of JSON for each

While watching none is told twice and none is left out; if more happened
than the cluster keeps (10 000), it says how many were missed.";

const LOGS_HELP: &str = "\
EXAMPLES
  ctl logs web
  ctl logs -f --tail 20 web db
  ctl logs --since 5m --timestamps shop/web.1";

const SCALE_HELP: &str = "\
EXAMPLES
  ctl scale web=3
  ctl scale shop/web=3 shop/api=2 --no-wait

The next `ctl apply` sets the number of the Compose file again.";

const ROLLOUT_HELP: &str = "\
EXAMPLES
  ctl rollout status web       which slots are done, and what holds the others up
  ctl rollout history shop/web
  ctl rollout undo web
  ctl rollout undo web --to-release 3";

const DELETE_HELP: &str = "\
EXAMPLES
  ctl delete project shop      named volumes stay
  ctl delete service shop/web
  ctl delete -f compose.yaml --volumes --yes";

const DNS_HELP: &str = "\
EXAMPLES
  ctl dns lookup web
  ctl dns lookup 1.web.shop
  ctl dns lookup _http._tcp.web
  ctl dns lookup example.com.";

const COMPLETION_HELP: &str = "\
EXAMPLES
  source <(ctl completion bash)     in ~/.bashrc
  source <(ctl completion zsh)      in ~/.zshrc, after compinit
  ctl completion fish | source      in ~/.config/fish/config.fish

Names of services, slots, projects and nodes come from the cluster that the
words on the line lead to; without an answer there are none.";

const CLUSTER_HELP: &str = "\
EXAMPLES
  wherry cluster init                   on the first host; prints the line for
                                        the next
  wherry cluster init --listen 10.0.0.1 --uses 20 > line

With systemd, the packaged units are installed and started; elsewhere, and with
--dir, plain processes that outlive the terminal, but not a boot: run the same
line again after one. With a new build it takes the place of the one that runs;
no container is touched.";

const ROTATE_KEY_HELP: &str = "\
EXAMPLES
  ctl cluster rotate-key                prints the new key's id
  ctl cluster rotate-key --no-wait      the cluster does it by itself

Every server has to take the new key in: one that is away holds it up until it
is back, or removed. No container is restarted. Copy the key file of a server
into your backup afterwards.";

const TOKEN_HELP: &str = "\
EXAMPLES
  ctl token create agent       for one host, within the hour
  ctl token create operator --role deployer --project shop --name alice
  ctl token list
  ctl token revoke 4f1d2c3b5a697887";

const TOKEN_CREATE_HELP: &str = "\
EXAMPLES
  ctl token create agent > token        then, on the other host:
    agent --join SERVER:7421 --token-file token
  ctl token create agent --uses 20 --expires 1d
  ctl token create operator --role admin --name alice > token      then, there:
    ctl context add prod --server SERVER --token-file token
  ctl token create server > token       then, on the other host:
    orchestrator --listen IP --join SERVER:7421 --token-file token

The token is a secret until it is used up or has expired; hand it over as one.";

const SERVER_HELP: &str = "\
EXAMPLES
  ctl get servers
  ctl server remove host2
  ctl server promote host4

An odd number of servers votes, five at most; the others are spares and step in. A server joins with a token:
`ctl token create server`.";

const OPERATOR_HELP: &str = "\
EXAMPLES
  ctl operator list
  ctl operator revoke alice";

const NODE_HELP: &str = "\
EXAMPLES
  ctl node label host-b disk=ssd
  ctl node revoke host-b       its agent is refused; what runs there goes on

Tasks of a revoked node are replaced elsewhere once its lease has ended.";

const NODE_LABEL_HELP: &str = "\
EXAMPLES
  ctl node label host-b disk=ssd zone=b    for `node.labels.disk==ssd`
  ctl node label host-b zone=c rack-       another zone, no rack any more
  ctl node label host-b zone=d --expect 4711

A label wins over one of the agent's own command line (`agent --label`), which
counts again once it is removed. What waits for a node with such a label is
placed at once; a global service follows its nodes; other tasks stay where they
are.";

const CONTEXT_HELP: &str = "\
EXAMPLES
  ctl context add prod --server 10.0.0.1,10.0.0.2 --token-file token
  ctl context use prod
  ctl --context prod ps";

const CONTEXT_ADD_HELP: &str = "\
The key is made here and stays here. A certificate of 30 days comes with the
token and is renewed by use; after 30 days without use, add the context again
with a fresh token, and the key is the same.

EXAMPLES
  ctl context add prod --server 10.0.0.1,10.0.0.2 --token-file token
  ssh host-a ctl token create operator --name alice \\
    | ctl context add prod --server host-a --token-file -";
