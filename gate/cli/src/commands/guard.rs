//! `blueback guard`: front router and gate in one process.
//!
//! The agent talks to the gate over loopback like any other, so there is one way in which reports arrive, and the same
//! gate takes further agents.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context as _;
use blueback_agent::{Agent, Target, spans};
use blueback_gate::ask::AskConfig;
use blueback_gate::examples::TraceUrl;
use blueback_gate::tell::TellConfig;
use blueback_gate::{RulesFile, Server, ServiceConfig};
use blueback_report::{NAME_BYTES_MAX, Role, Slot};
use http::Uri;

use crate::args::{GuardArgs, read_token};
use crate::exit::{Exit, Failure};
use crate::{out, signals, words};

/// What to guard, checked.
#[derive(Clone, Debug)]
pub struct GuardConfig {
    /// Name of the service.
    pub name: String,
    /// Where clients connect; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The blue backends.
    pub blue: Vec<SocketAddr>,
    /// The green backends.
    pub green: Vec<SocketAddr>,
    /// Which of them serve now.
    pub serving: Slot,
    /// The rules of its releases.
    pub rules: RulesFile,
    /// Where the API listens; port 0 takes a free one.
    pub api: SocketAddr,
    /// Folder that keeps releases over a restart.
    pub store: Option<PathBuf>,
    /// Where a person looks at a trace.
    pub trace_url: Option<TraceUrl>,
    /// Collector that takes spans of the front agent's own.
    pub agent_otlp: Option<Uri>,
    /// Threads that carry traffic; as many as there are cores when absent.
    pub workers: Option<usize>,
    /// Makes the choice of backends repeatable.
    pub seed: Option<u64>,
    /// Path that tells whether a backend is ready.
    pub probe: Option<String>,
    /// Token that the API asks for.
    pub token: Option<String>,
    /// Whom to tell what becomes of releases.
    pub tell: TellConfig,
    /// Whom to ask what rules want to know.
    pub ask: AskConfig,
}

impl TryFrom<GuardArgs> for GuardConfig {
    type Error = Failure;

    /// Checks everything, and tells all that is wrong at once.
    fn try_from(args: GuardArgs) -> Result<Self, Failure> {
        let mut errors = Vec::new();
        let mut flag = Complaints(&mut errors);
        let listen = flag.check("--listen", words::address(&args.listen));
        let api = flag.check("--api", words::address(&args.api));
        let blue = flag.check_all("--blue", words::addresses(&args.blue));
        let green = flag.check_all("--green", words::addresses(&args.green));
        let rules = flag.check("--rules", read_rules(args.rules));
        let token = flag.check("--token-file", args.token_file.as_deref().map(read_token).transpose());
        let trace_url = args.trace_url.map(|text| text.parse().map_err(|accepted| format!("{text:?}: {accepted}")));
        let trace_url = flag.check("--trace-url", trace_url.transpose()).flatten();
        let collector = |url: String| {
            let accepted = || format!("'{url}' is none; accepted: {}", spans::COLLECTOR);
            spans::collector(&url).ok_or_else(accepted)
        };
        let agent_otlp = flag.check("--agent-otlp", args.agent_otlp.map(collector).transpose()).flatten();
        let name = flag.check("--name", check_name(args.name));
        flag.check("--probe", check_probe(args.probe.as_deref()));
        if let (Some(blue), Some(green)) = (&blue, &green) {
            for both in blue.iter().filter(|address| green.contains(address)) {
                flag.complain(
                    "--green",
                    &format!("'{both}' is blue as well; accepted: each backend in one of the two"),
                );
            }
        }
        if let (Some(listen), Some(api)) = (listen, api)
            && listen == api
            && listen.port() != 0
        {
            flag.complain("--api", &format!("'{api}' is where clients connect; accepted: another port"));
        }
        let tell = args.tell.read(&mut errors);
        let ask = args.ask.read(&mut errors);
        let mut gate = blueback_gate::Config { token: token.clone().flatten(), ..blueback_gate::Config::default() };
        gate.api = api.unwrap_or(gate.api);
        gate.rules = rules.clone().unwrap_or_default();
        gate.ask = ask.clone();
        if let Err(error) = gate.check() {
            errors.extend(error.to_string().lines().map(str::to_owned));
        }
        match (name, listen, api, blue, green, rules, token) {
            (Some(name), Some(listen), Some(api), Some(blue), Some(green), Some(rules), Some(token))
                if errors.is_empty() =>
            {
                Ok(Self {
                    name,
                    listen,
                    blue,
                    green,
                    serving: args.serving.into(),
                    rules,
                    trace_url,
                    agent_otlp,
                    api,
                    store: args.store,
                    workers: args.workers.map(usize::from),
                    seed: args.seed,
                    probe: args.probe,
                    token,
                    tell,
                    ask,
                })
            }
            _ => Err(Failure::Usage(errors)),
        }
    }
}

/// Errors by flag.
struct Complaints<'a>(&'a mut Vec<String>);

impl Complaints<'_> {
    fn complain(&mut self, flag: &str, error: &str) {
        self.0.push(format!("{flag}: {error}"));
    }

    fn check<T>(&mut self, flag: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|error| self.complain(flag, &error)).ok()
    }

    fn check_all<T>(&mut self, flag: &str, value: Result<T, Vec<String>>) -> Option<T> {
        value.map_err(|errors| errors.iter().for_each(|error| self.complain(flag, error))).ok()
    }
}

fn read_rules(file: Option<PathBuf>) -> Result<RulesFile, String> {
    file.map_or_else(|| Ok(RulesFile::default()), |file| RulesFile::read(&file).map_err(|error| format!("{error:#}")))
}

fn check_name(name: String) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_plain) {
        return Err(format!("'{name}'; accepted: letters, digits, '-', '.' and '_', 1 to {NAME_BYTES_MAX} of them"));
    }
    Ok(name)
}

fn check_probe(path: Option<&str>) -> Result<(), String> {
    match path {
        Some(path) if !path.starts_with('/') || path.parse::<http::uri::PathAndQuery>().is_err() => {
            Err(format!("'{path}'; accepted: a path that begins with '/', such as /healthz"))
        }
        _ => Ok(()),
    }
}

/// A running guard.
pub struct Guard {
    server: Server,
    agent: Agent,
}

impl Guard {
    /// Starts the gate, then the agent in front of the backends.
    ///
    /// # Errors
    /// When an address cannot be bound or the store cannot be opened.
    pub async fn start(config: GuardConfig) -> anyhow::Result<Self> {
        let server = Server::start(blueback_gate::Config {
            api: config.api,
            store: config.store,
            rules: config.rules,
            services: vec![ServiceConfig { name: config.name.clone(), serving: config.serving }],
            token: config.token,
            tell: config.tell,
            ask: config.ask,
            trace_url: config.trace_url,
            ..blueback_gate::Config::default()
        })
        .await
        .context("start the gate")?;
        let targets = [(Slot::Blue, config.blue), (Slot::Green, config.green)]
            .into_iter()
            .flat_map(|(slot, addresses)| addresses.into_iter().map(move |address| (slot, address)))
            .map(|(slot, address)| Target { slot, address, pod: address.to_string() })
            .collect();
        let gate = format!("http://{}", reachable(server.addr())).parse().context("URL of the gate")?;
        let mut front = blueback_agent::Config::new(&config.name, Role::Front, config.listen, targets);
        front.gate = Some(gate);
        front.serving = config.serving;
        front.workers = config.workers.unwrap_or_else(cores);
        front.seed = config.seed;
        front.probe = config.probe;
        front.otlp = config.agent_otlp;
        let agent = Agent::start(front).await;
        match agent.context("start the front router") {
            Ok(agent) => Ok(Self { server, agent }),
            Err(error) => {
                server.shutdown().await;
                Err(error)
            }
        }
    }

    /// Where clients connect.
    #[must_use]
    pub fn listen_addr(&self) -> SocketAddr {
        self.agent.listen_addr()
    }

    /// Where the API can be reached from this machine.
    #[must_use]
    pub fn api_addr(&self) -> SocketAddr {
        reachable(self.server.addr())
    }

    /// Finishes what is in flight, delivers the last report, and ends.
    pub async fn drain(self) {
        self.agent.drain().await;
        self.server.shutdown().await;
    }
}

/// The address to connect to, for an address that may stand for all interfaces.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

pub(super) async fn run(args: GuardArgs) -> Result<Exit, Failure> {
    let config = GuardConfig::try_from(args)?;
    let name = config.name.clone();
    let guard = Guard::start(config).await?;
    let asked_to_end = signals::asked_to_end();
    out::story(&format!("guarding {name}; `blueback status --gate http://{}` shows it", guard.api_addr()));
    out::result(&format!("listening on {}", guard.listen_addr()));
    out::result(&format!("api on http://{}", guard.api_addr()));
    asked_to_end.await;
    out::story("draining; once more ends at once");
    tokio::select! {
        () = guard.drain() => (),
        () = signals::asked_to_end() => out::story("ended before it was drained"),
    }
    Ok(Exit::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_is_reached_over_loopback() {
        for (bound, reached) in
            [("0.0.0.0:7070", "127.0.0.1:7070"), ("[::]:7070", "[::1]:7070"), ("127.0.0.2:1", "127.0.0.2:1")]
        {
            let bound = bound.parse().expect("an address");
            assert_eq!(reachable(bound).to_string(), reached);
        }
    }

    #[test]
    fn names_are_plain() {
        for name in ["app", "shop-1.cart_a"] {
            assert_eq!(check_name(name.to_owned()).as_deref(), Ok(name));
        }
        for name in ["", "a b", "shop/cart", "ü", &"a".repeat(NAME_BYTES_MAX + 1)] {
            assert!(check_name(name.to_owned()).is_err_and(|error| error.contains("accepted")), "{name}");
        }
    }

    #[test]
    fn probes_are_paths() {
        assert_eq!(check_probe(None), Ok(()));
        assert_eq!(check_probe(Some("/healthz?full=1")), Ok(()));
        for path in ["healthz", "", "/a b"] {
            assert!(check_probe(Some(path)).is_err(), "{path}");
        }
    }
}
