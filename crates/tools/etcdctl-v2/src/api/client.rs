//! Which member is asked, and which one next when it does not answer.
//!
//! As Go's client of API v2: the endpoints are shuffled, the first that answers stays the one that is asked, and each
//! of the others is tried once. What must not be done twice is asked once.
//!
//! Circle: the parts of one client: a round of asking ends with a fault or with an answer about keys.

use std::cell::{Cell, OnceCell, RefCell};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use rustls::ClientConfig;

use crate::api::round::round;
use crate::api::{Answer, Ask, Credentials, Fault};
use crate::exit::complain;
use crate::url::{Url, canonical};

/// More redirections than this lead nowhere.
const REDIRECTS_MAX: usize = 10;

/// What a client is made of.
#[derive(Debug)]
pub struct Config {
    /// Where members are.
    pub endpoints: Vec<Url>,
    /// Who asks.
    pub credentials: Option<Credentials>,
    /// How long the beginning of an answer may take.
    pub head_duration_max: Option<Duration>,
    /// For `https`.
    pub tls: Arc<ClientConfig>,
    /// Requests are shown on stderr, as lines for `curl`.
    pub shows_curl: bool,
}

/// A client of a cluster.
#[derive(Debug)]
pub struct Client {
    endpoints: RefCell<Vec<Url>>,
    pinned: Cell<usize>,
    config: Config,
    dice: OnceCell<RandomState>,
}

/// What is asked of whoever answers.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What is done.
    pub method: Method,
    /// Behind the endpoint's own path.
    pub path: String,
    /// Behind the path.
    pub query: String,
    /// What is sent, and what kind of thing it is.
    pub body: Option<(&'static str, String)>,
    /// As [`Ask::waits`].
    pub waits: bool,
    /// Nobody else is asked when one has not answered: it may have done it.
    pub once: bool,
}

impl Wanted {
    /// Something that is only looked at.
    pub fn get(path: impl Into<String>) -> Wanted {
        Wanted {
            method: Method::GET,
            path: path.into(),
            query: String::new(),
            body: None,
            waits: false,
            once: false,
        }
    }
}

impl Client {
    /// A client of these endpoints.
    pub fn new(config: Config) -> Client {
        let client = Client {
            endpoints: RefCell::default(),
            pinned: Cell::new(0),
            config,
            dice: OnceCell::new(),
        };
        client.endpoints.replace(client.shuffled(client.config.endpoints.clone()));
        client
    }

    /// The endpoints, as they are written.
    pub fn endpoints(&self) -> Vec<String> {
        self.endpoints.borrow().iter().map(Url::to_string).collect()
    }

    /// Asks the cluster which members it has, and asks these from now on.
    ///
    /// # Errors
    /// [`Fault`]; the endpoints stay as they were.
    pub async fn sync(&self) -> Result<(), Fault> {
        let members = self.members().await.map_err(|fault| fault.0)?;
        let urls = members.iter().flat_map(|member| &member.client_urls);
        let urls: Result<Vec<Url>, String> = urls.map(|url| Url::parse(url)).collect();
        let urls = urls.map_err(Fault::Said)?;
        if urls.is_empty() {
            return Err(Fault::NoEndpoints);
        }
        let sorted = |mut urls: Vec<Url>| {
            urls.sort();
            urls
        };
        if sorted(urls.clone()) != sorted(self.endpoints.borrow().clone()) {
            self.endpoints.replace(self.shuffled(urls));
            self.pinned.set(0);
        }
        Ok(())
    }

    /// So that not everybody asks the same member first.
    fn shuffled(&self, mut urls: Vec<Url>) -> Vec<Url> {
        let dice = self.dice.get_or_init(RandomState::new);
        for last in (1..urls.len()).rev() {
            let mut hasher = dice.build_hasher();
            hasher.write_usize(last);
            let other = usize::try_from(hasher.finish() % (last as u64 + 1)).unwrap_or(0);
            urls.swap(last, other);
        }
        urls
    }

    /// Asks one member after the other until one answers.
    ///
    /// # Errors
    /// [`Fault`]: of the only one that was asked, or of all.
    pub async fn ask(&self, wanted: &Wanted) -> Result<Answer, Fault> {
        let endpoints = self.endpoints.borrow().clone();
        let (count, pinned) = (endpoints.len(), self.pinned.get());
        let mut faults = Vec::new();
        for place in (pinned..pinned + count).map(|place| place % count) {
            let endpoint = &endpoints[place];
            let fault = match self.ask_one(endpoint, wanted).await {
                Ok(answer) if !answer.status.is_server_error() => {
                    self.pinned.set(place);
                    return Ok(answer);
                }
                Ok(answer) => Fault::Said(server_error(endpoint, answer.status)),
                Err(fault) => fault,
            };
            if wanted.once {
                self.pinned.set((place + 1) % count);
                return Err(fault);
            }
            faults.push(fault);
        }
        Err(Fault::Cluster(faults))
    }

    async fn ask_one(&self, endpoint: &Url, wanted: &Wanted) -> Result<Answer, Fault> {
        let path = canonical(&format!("{}{}", endpoint.path, wanted.path));
        let mut ask = Ask {
            method: wanted.method.clone(),
            url: endpoint.at(path, wanted.query.clone()),
            body: wanted.body.clone(),
            waits: wanted.waits,
        };
        for _ in 0..REDIRECTS_MAX {
            let answer = self.round(&ask, endpoint).await?;
            if !answer.status.is_redirection() {
                return Ok(answer);
            }
            let location = answer.location.unwrap_or_default();
            if location.is_empty() {
                return Err(Fault::Said("location header not set".to_owned()));
            }
            ask.url = Url::parse(&location)
                .map_err(|_| Fault::Said(format!("location header not valid URL: {location}")))?;
        }
        Err(Fault::Said("client: too many redirects".to_owned()))
    }

    async fn round(&self, ask: &Ask, endpoint: &Url) -> Result<Answer, Fault> {
        if self.config.shows_curl {
            let body = ask.body.as_ref().map(|(_, body)| format!(" -d {}", go::quote(body)));
            let body = body.unwrap_or_default();
            complain(&format!("cURL Command: curl -X {} {}{body}\n", ask.method, ask.url));
        }
        let Config { credentials, head_duration_max, tls, .. } = &self.config;
        round(ask, tls, credentials.as_ref(), *head_duration_max, endpoint).await
    }

    /// One question to one place, which is not asked in the cluster's name.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn look(&self, url: &Url) -> Result<Answer, Fault> {
        let ask = Ask { method: Method::GET, url: url.clone(), body: None, waits: false };
        round(&ask, &self.config.tls, None, None, url).await
    }
}

fn server_error(endpoint: &Url, status: StatusCode) -> String {
    match status {
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::SERVICE_UNAVAILABLE => {
            format!("client: etcd member {endpoint} has no leader")
        }
        other => {
            let reason = other.canonical_reason().unwrap_or_default();
            format!("client: etcd member {endpoint} returns server error [{reason}]")
        }
    }
}
