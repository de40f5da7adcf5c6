//! Flags and environment become a client.

use std::time::Duration;

use client::{Client, Config, Credentials, Error, Method, Remarks, TlsOptions, discover};
use prost::Message;
use tokio::time::Instant;

use crate::args::Call;
use crate::exit::{BAD_CONNECTION, ERROR, Failure};
use crate::journal::{self, Text, line};
use crate::output::Printer;
use crate::spec::Does;
use crate::values::{Value, read};

/// Everything the global flags decide.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How to reach the cluster.
    pub config: Config,
    /// How answers look.
    pub printer: Printer,
    /// How long a command may take.
    pub command_timeout: Duration,
    /// Somebody said so; then also commands heed it that else have all the time in the world.
    pub timeout_is_said: bool,
    /// Nobody said where the cluster is.
    pub endpoints_by_default: bool,
}

/// A client, and the time until which it is used.
#[derive(Clone, Debug)]
pub struct Session {
    /// Without deadline: for what goes on until somebody ends it.
    pub patient: Client,
    /// With the command's deadline.
    pub client: Client,
    /// How answers look.
    pub printer: Printer,
    endpoints_by_default: bool,
    /// The command's time, if somebody said it.
    said_timeout: Option<Duration>,
}

impl Settings {
    /// Reads the environment into the flags nobody typed, then all flags.
    pub fn of(call: &mut Call) -> Result<Settings, Failure> {
        environment(call)?;
        let values = &call.values;
        if values.truth("debug") {
            for flag in call.inherited() {
                let value = values.value(flag.name).show();
                crate::output::complain(&format!("{}={value}\n", flag.variable()));
            }
        }
        let endpoints = endpoints(call)?;
        let size = |name| usize::try_from(values.int(name)).unwrap_or(0);
        let tls = tls(call)?;
        let config = Config {
            endpoints,
            dial_timeout: values.duration("dial-timeout"),
            keepalive_time: values.duration("keepalive-time"),
            keepalive_timeout: values.duration("keepalive-timeout"),
            request_bytes_max: size("max-request-bytes"),
            receive_bytes_max: size("max-recv-bytes"),
            tls,
            credentials: credentials(call)?,
            remarks: Remarks::to(|remark| journal::remark("etcd-client", remark)),
            ..Config::default()
        };
        let printer = Printer::of(values.text("write-out"), values.truth("hex"))?;
        let command_timeout = values.duration("command-timeout");
        let endpoints_by_default =
            !values.is_said("endpoints") && values.text("discovery-srv").is_empty();
        let timeout_is_said = values.is_said("command-timeout");
        Ok(Settings { config, printer, command_timeout, timeout_is_said, endpoints_by_default })
    }

    /// The same, for one endpoint.
    pub fn at(&self, endpoint: &str) -> Settings {
        let mut settings = self.clone();
        settings.config.endpoints = vec![endpoint.to_owned()];
        settings
    }

    /// When a command that starts now must have ended.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.command_timeout
    }

    /// Connects.
    pub async fn connect(&self) -> Result<Session, Failure> {
        let deadline = self.deadline();
        if let Err(error) = self.config.tls.config() {
            return Err(Failure::bad_args(error.to_string()));
        }
        let patient = match Client::connect(self.config.clone()).await {
            Ok(client) => client,
            Err(error) => {
                let hint = self.endpoints_by_default.then(|| unreachable_hint(None)).flatten();
                return Err(Failure { hint, ..Failure::new(BAD_CONNECTION, error.to_string()) });
            }
        };
        Ok(Session {
            client: patient.until(Some(deadline)),
            patient,
            printer: self.printer,
            endpoints_by_default: self.endpoints_by_default,
            said_timeout: self.timeout_is_said.then_some(self.command_timeout),
        })
    }

    /// Connects for a command that may go on for ever: a time that was said is what it may take until
    /// somebody is there. etcdctl waits for ever then.
    pub async fn connect_to_stay(&self) -> Result<Session, Failure> {
        let session = self.connect().await?;
        if self.timeout_is_said {
            let connected = session.client.connected().await;
            connected.map_err(|error| session.unanswered(ERROR, &error))?;
        }
        Ok(session)
    }
}

impl Session {
    /// Calls a method within the command's time.
    pub async fn call<Q, R>(&self, method: Method<Q, R>, request: Q) -> Result<R, Failure>
    where
        Q: Message,
        R: Message + Default,
    {
        self.client.call(method, &request).await.map_err(|error| self.failure(ERROR, &error))
    }

    /// The client for what may take long: in the time that was said, from now on, or without end.
    pub fn unhurried(&self) -> Client {
        self.patient.until(self.said_timeout.map(|timeout| Instant::now() + timeout))
    }

    /// Calls a method, however long it takes if nobody said how long it may take.
    pub async fn call_patiently<Q, R>(
        &self,
        code: u8,
        method: Method<Q, R>,
        request: Q,
    ) -> Result<R, Failure>
    where
        Q: Message,
        R: Message + Default,
    {
        self.unhurried().call(method, &request).await.map_err(|error| self.failure(code, &error))
    }

    /// What to say about an error where nothing was logged on the way: who was asked, and what came of it.
    pub fn unanswered(&self, code: u8, error: &Error) -> Failure {
        let failure = self.failure(code, error);
        if *error != Error::DeadlineExceeded || failure.hint.is_some() {
            return failure;
        }
        let failures = self.client.channel().failures();
        let told: Vec<String> =
            failures.iter().map(|(endpoint, why)| format!("{endpoint}: {why}")).collect();
        let hint = (!told.is_empty()).then(|| told.join("; "));
        Failure { hint, ..failure }
    }

    /// What to say about an error of a call.
    pub fn failure(&self, code: u8, error: &Error) -> Failure {
        let lonely = self.endpoints_by_default && *error == Error::DeadlineExceeded;
        let failure = lonely.then(|| self.client.channel().last_failure()).flatten();
        let hint = failure.and_then(|why| unreachable_hint(Some(&why)));
        Failure { hint, ..Failure::new(code, error.to_string()) }
    }
}

/// For somebody who did not say where the cluster is, and it is not here.
fn unreachable_hint(failure: Option<&str>) -> Option<String> {
    let why = match failure {
        Some(text) if text.contains("connection refused") => {
            "127.0.0.1:2379 refused the connection"
        }
        Some(_) => "127.0.0.1:2379 cannot be reached",
        None => return None,
    };
    Some(format!(
        "{why}: no endpoint was given, so the default was tried. Is etcd running here? Name the \
         cluster with --endpoints=HOST:2379 or ETCDCTL_ENDPOINTS; if it wants TLS, write https:// and \
         give --cacert, --cert and --key."
    ))
}

/// Flags that nobody typed may be set by variables.
fn environment(call: &mut Call) -> Result<(), Failure> {
    let mut used = Vec::new();
    let mut typed = Vec::new();
    for flag in call.inherited() {
        let variable = flag.variable();
        if call.values.is_said(flag.name) {
            typed.push(variable);
            continue;
        }
        let Ok(text) = std::env::var(&variable) else { continue };
        if text.is_empty() {
            continue;
        }
        // etcd does not complain about a value it cannot read here, it goes on without.
        if let Ok(value) = read(flag, &text) {
            call.values.say(flag, value);
        }
        used.push(variable);
    }
    if call.path.last().is_some_and(|command| command.does == Some(Does::Watch)) {
        used.extend(["ETCDCTL_WATCH_KEY", "ETCDCTL_WATCH_RANGE_END"].map(str::to_owned));
    }
    for (name, value) in std::env::vars_os() {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        if used.iter().any(|used| *used == name) {
            continue;
        }
        if typed.iter().any(|typed| *typed == name) {
            let message = "conflicting environment variable is shadowed by corresponding \
                           command-line flag (either unset environment variable or disable flag))";
            let fields = [("environment-variable", Text::Quoted(&name))];
            line("fatal", "", "etcdctl/settings.rs", message, &fields);
            return Err(Failure::silent(ERROR));
        }
        if name.starts_with("ETCDCTL_") {
            let variable = format!("{name}={value}");
            let fields = [("environment-variable", Text::Quoted(variable.as_str()))];
            let message = "unrecognized environment variable";
            line("warn", "", "etcdctl/settings.rs", message, &fields);
        }
    }
    Ok(())
}

fn endpoints(call: &Call) -> Result<Vec<String>, Failure> {
    let values = &call.values;
    let domain = values.text("discovery-srv");
    if !domain.is_empty() {
        let found = discover(domain, values.text("discovery-srv-name"));
        let mut found = found.map_err(|why| Failure::new(ERROR, why))?.endpoints;
        if !values.truth("insecure-discovery") {
            found.retain(|endpoint| {
                let insecure = endpoint.starts_with("http://");
                if insecure {
                    let text = format!("ignoring discovered insecure endpoint \"{endpoint}\"\n");
                    crate::output::complain(&text);
                }
                !insecure
            });
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(values.texts("endpoints").iter().map(|text| text.trim().to_owned()).collect())
}

fn tls(call: &Call) -> Result<TlsOptions, Failure> {
    let values = &call.values;
    let file = |name: &str| match values.value(name) {
        Value::Text(path) if path.is_empty() && values.is_said(name) => {
            Err(Failure::bad_args(format!("empty string is passed to --{name} option")))
        }
        _ => Ok(values.text(name).to_owned()),
    };
    let server_name = match values.truth("insecure-discovery") {
        true => String::new(),
        false => values.text("discovery-srv").to_owned(),
    };
    Ok(TlsOptions {
        cert: file("cert")?,
        key: file("key")?,
        cacert: file("cacert")?,
        server_name,
        insecure_transport: values.truth("insecure-transport"),
        skip_verify: values.truth("insecure-skip-tls-verify"),
    })
}

fn credentials(call: &Call) -> Result<Credentials, Failure> {
    let values = &call.values;
    let token = values.text("auth-jwt-token");
    if !token.is_empty() {
        return Ok(Credentials::Token(token.to_owned()));
    }
    password_for(values.text("user"), values.text("password"), "Password: ")
}

/// `user` may hold the password; if nobody said it, it is asked for.
pub fn password_for(user: &str, password: &str, question: &str) -> Result<Credentials, Failure> {
    if user.is_empty() {
        return Ok(Credentials::None);
    }
    let (user, password) = match (password, user.split_once(':')) {
        ("", Some((user, password))) => (user.to_owned(), password.to_owned()),
        ("", None) => {
            let asked = crate::prompt::secret(question);
            let password = asked.map_err(|error| Failure::new(ERROR, error.to_string()))?;
            (user.to_owned(), password)
        }
        (password, _) => (user.to_owned(), password.to_owned()),
    };
    if user.is_empty() || password.is_empty() {
        return Ok(Credentials::None);
    }
    Ok(Credentials::Password { user, password })
}
