//! `/v2/members`.

use http::{Method, StatusCode};
use serde::Deserialize;

use crate::api::client::Wanted;
use crate::api::{Answer, Client, Fault};
use crate::render::json_fault;

const PATH: &str = "/v2/members";

/// A member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Member {
    /// In hexadecimal.
    pub id: String,
    /// Empty as long as it has not started.
    pub name: String,
    /// Where other members reach it.
    #[serde(rename = "peerURLs")]
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    #[serde(rename = "clientURLs")]
    pub client_urls: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Members {
    members: Option<Vec<Member>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message {
    message: String,
}

/// Why members could not be listed or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersFault(pub Fault);

impl From<Fault> for MembersFault {
    fn from(fault: Fault) -> MembersFault {
        MembersFault(fault)
    }
}

impl std::fmt::Display for MembersFault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(out)
    }
}

type Result<T> = std::result::Result<T, MembersFault>;

impl Client {
    /// All members.
    ///
    /// # Errors
    /// [`MembersFault`].
    pub async fn members(&self) -> Result<Vec<Member>> {
        let answer = self.ask(&Wanted::get(PATH)).await?;
        expect(&answer, &[StatusCode::OK])?;
        let members: Members = read(&answer)?;
        Ok(members.members.unwrap_or_default())
    }

    /// The leader.
    ///
    /// # Errors
    /// [`MembersFault`].
    pub async fn leader(&self) -> Result<Member> {
        let answer = self.ask(&Wanted::get(format!("{PATH}/leader"))).await?;
        expect(&answer, &[StatusCode::OK])?;
        read(&answer)
    }

    /// A new member with one address.
    ///
    /// # Errors
    /// [`MembersFault`].
    pub async fn add_member(&self, peer_url: &str) -> Result<Member> {
        let wanted = changed(Method::POST, PATH.to_owned(), Some(&[peer_url]))?;
        let answer = self.ask(&wanted).await?;
        expect(&answer, &[StatusCode::CREATED, StatusCode::CONFLICT])?;
        if answer.status == StatusCode::CREATED { read(&answer) } else { Err(message(&answer)) }
    }

    /// Takes a member out of the cluster.
    ///
    /// # Errors
    /// [`MembersFault`].
    pub async fn remove_member(&self, id: &str) -> Result<()> {
        let wanted = changed(Method::DELETE, format!("{PATH}/{id}"), None)?;
        let answer = self.ask(&wanted).await?;
        expect(&answer, &[StatusCode::NO_CONTENT, StatusCode::GONE])
    }

    /// Gives a member other addresses.
    ///
    /// # Errors
    /// [`MembersFault`].
    pub async fn update_member(&self, id: &str, peer_urls: &[&str]) -> Result<()> {
        let wanted = changed(Method::PUT, format!("{PATH}/{id}"), Some(peer_urls))?;
        let answer = self.ask(&wanted).await?;
        expect(&answer, &[StatusCode::NO_CONTENT, StatusCode::NOT_FOUND, StatusCode::CONFLICT])?;
        if answer.status == StatusCode::NO_CONTENT { Ok(()) } else { Err(message(&answer)) }
    }
}

/// A change. Addresses are checked here already, in the words of the server.
fn changed(method: Method, path: String, peer_urls: Option<&[&str]>) -> Result<Wanted> {
    let body = match peer_urls {
        None => None,
        Some(typed) => {
            let urls = options::Url::parse_list(&typed.join(","));
            let urls: Vec<String> = match urls {
                Ok(urls) => urls.iter().map(ToString::to_string).collect(),
                Err(why) => return Err(Fault::Said(why).into()),
            };
            let urls = serde_json::json!({ "peerURLs": urls });
            Some(("application/json", urls.to_string()))
        }
    };
    Ok(Wanted { method, body, ..Wanted::get(path) })
}

fn expect(answer: &Answer, expected: &[StatusCode]) -> Result<()> {
    if expected.contains(&answer.status) {
        return Ok(());
    }
    Err(Fault::Said(format!("unexpected status code {}", answer.status.as_u16())).into())
}

fn read<T: for<'a> Deserialize<'a>>(answer: &Answer) -> Result<T> {
    let read = serde_json::from_slice(&answer.body);
    read.map_err(|error| Fault::Said(json_fault(&answer.body, &error)).into())
}

fn message(answer: &Answer) -> MembersFault {
    match read::<Message>(answer) {
        Ok(Message { message }) => Fault::Said(message).into(),
        Err(fault) => fault,
    }
}
