//! From a name and a password to what stands for them: logins.

mod jwt;
mod keys;
mod method;
mod passwords;
mod told;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use apply::{Answer, AuthAnswer};
use auth::{Principal, User};
use node::Node;
use options::{GoDuration, INVALID_AUTH, Tokens};
use proto::etcdserverpb as pb;
use types::Refusal;

use crate::gatekeeper::{Gatekeeper, unix_seconds};
use crate::services::kv::unexpected;
use jwt::Jwt;
use keys::Keys;
use method::Method;
pub(crate) use passwords::{Password, Passwords};
pub(crate) use told::Told;

/// What a token is.
pub(crate) enum Provider {
    /// Nothing: nobody can log in.
    None,
    /// A text that every member remembers.
    Simple,
    /// A signed statement.
    Jwt(Box<Jwt>),
}

/// How long a signed token is good for when nobody says.
const JWT_TTL: Duration = Duration::from_secs(300);

impl Provider {
    /// What the options ask for, its keys read from their files. Whoever looks after logins is told why not.
    ///
    /// # Errors
    /// Why it cannot be, in etcd's words.
    pub(crate) fn of(tokens: &Tokens, told: &Told) -> Result<Provider, String> {
        match tokens {
            Tokens::None => Ok(Provider::None),
            Tokens::Simple => Ok(Provider::Simple),
            Tokens::Jwt(options) => {
                let signed = signed(options).map_err(|unusable| {
                    let said = match unusable {
                        Unusable::Options(why) => {
                            told.unusable_options(why);
                            INVALID_AUTH.to_owned()
                        }
                        Unusable::Keys(why) => why,
                    };
                    told.no_provider(&said);
                    said
                });
                Ok(Provider::Jwt(Box::new(signed?)))
            }
        }
    }
}

/// Why no tokens can be signed.
#[derive(Debug, PartialEq, Eq)]
enum Unusable {
    /// The log says why; who started the server reads that the options are invalid.
    Options(String),
    /// The keys.
    Keys(String),
}

fn signed(options: &BTreeMap<String, String>) -> Result<Jwt, Unusable> {
    let given = |name: &str| options.get(name).filter(|value| !value.is_empty());
    let ttl = match given("ttl") {
        None => JWT_TTL,
        Some(text) => {
            let ttl = GoDuration::parse(text);
            ttl.map_err(|why| Unusable::Options(why.to_string()))?.at_least_zero()
        }
    };
    let file = |name| given(name).map(|path| contents(path)).transpose();
    let (public, private) = (file("pub-key")?, file("priv-key")?);
    if given("sign-method").is_some_and(|name| name == "none") {
        return Err(Unusable::Keys(UNSIGNED.to_owned()));
    }
    let method = given("sign-method").and_then(|name| Method::named(name));
    let method = method.ok_or_else(|| Unusable::Options(NO_METHOD.to_owned()))?;
    let held = |key: &Option<Vec<u8>>| key.clone().filter(|key| !key.is_empty());
    let keys = Keys::read(method, held(&private).as_deref(), held(&public).as_deref());
    Ok(Jwt::new(method, keys.map_err(Unusable::Keys)?, ttl))
}

/// What stands in a file of keys.
fn contents(path: &str) -> Result<Vec<u8>, Unusable> {
    std::fs::read(Path::new(path)).map_err(|error| {
        let action = if error.kind() == io::ErrorKind::IsADirectory { "read" } else { "open" };
        Unusable::Options(format!("{action} {path}: {}", go::io_text(&error)))
    })
}

/// What etcd logs where no method of its is named.
const NO_METHOD: &str = "auth: invalid auth signature method";

/// What etcd says to tokens that anybody could make.
const UNSIGNED: &str = "unsupported signing method: *jwt.signingMethodNone";

/// Letters of a simple token.
const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
/// How many it has.
const TOKEN_LETTERS: usize = 16;

/// A text nobody can guess.
fn letters() -> Result<String, Refusal> {
    let mut text = String::with_capacity(TOKEN_LETTERS);
    while text.len() < TOKEN_LETTERS {
        let mut byte = [0];
        getrandom::fill(&mut byte)
            .map_err(|_| Refusal::unknown("auth: no random bytes for a token"))?;
        // Bytes behind the last whole alphabet would make some letters likelier than others.
        if usize::from(byte[0]) < 256 / LETTERS.len() * LETTERS.len() {
            text.push(char::from(LETTERS[usize::from(byte[0]) % LETTERS.len()]));
        }
    }
    Ok(text)
}

impl Gatekeeper {
    /// Compares a password and makes a token; only name and token are proposed. Where users changed while the
    /// password was compared, it is compared again.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn login(
        &self,
        node: &Node,
        name: &str,
        password: Password,
    ) -> Result<(i64, String), Refusal> {
        loop {
            node.barrier().await?;
            let users = node.view().users.clone();
            if !users.is_enabled() {
                return Err(Refusal::AuthNotEnabled);
            }
            self.compare(name, users.user(name), password.clone()).await?;
            let (revision, token) = self.token(node, name).await?;
            if node.view().users.revision() == users.revision() {
                self.told.password(name, &token);
                return Ok((revision, token));
            }
        }
    }

    async fn compare(
        &self,
        name: &str,
        user: Option<&User>,
        password: Password,
    ) -> Result<(), Refusal> {
        if user.is_some_and(User::has_no_password) {
            self.told.needless_password(name);
            return Err(Refusal::unknown(auth::NOT_ENCODED));
        }
        let hash = user.map(|user| user.hash().to_vec());
        if self.passwords.matches(password, hash).await? {
            return Ok(());
        }
        if user.is_some() {
            self.told.wrong_password(name);
        }
        Err(Refusal::AuthFailed)
    }

    async fn token(&self, node: &Node, name: &str) -> Result<(i64, String), Refusal> {
        let simple_token = match &self.provider {
            Provider::Simple => letters()?,
            Provider::Jwt(_) => String::new(),
            Provider::None => return Err(Refusal::AuthFailed),
        };
        let request = pb::InternalAuthenticateRequest {
            name: name.to_owned(),
            simple_token,
            password: String::new(),
        };
        let request = pb::InternalRaftRequest { authenticate: Some(request), ..Default::default() };
        match node.propose(request, &Principal::Nobody).await? {
            Answer::Auth {
                revision,
                answer: AuthAnswer::Authenticated { token, auth_revision },
            } => {
                let token = match &self.provider {
                    Provider::Jwt(jwt) => jwt.sign(name, auth_revision, unix_seconds())?,
                    Provider::Simple | Provider::None => token,
                };
                Ok((revision, token))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// The hash to propose for a password.
    ///
    /// # Errors
    /// When too many wait for theirs.
    pub(crate) async fn hash(&self, password: Password) -> Result<String, Refusal> {
        use base64::Engine as _;
        let hash = self.passwords.hash(password).await?;
        Ok(base64::engine::general_purpose::STANDARD.encode(hash))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use node::Report;

    use super::*;

    #[test]
    fn no_two_tokens_are_alike() {
        let (a, b) = (letters(), letters());
        assert_ne!(a, b);
        let text = a.expect("the system gives random bytes");
        assert_eq!(text.len(), 16);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphabetic()));
    }

    /// What the log said, a line each, and what the start ends with.
    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Report for Heard {
        fn report(&self, _: node::Event) {}

        fn line(&self, line: &node::Line) {
            let error = line.fields.iter().find(|(name, _)| *name == "error");
            let error = error.map(|(_, value)| value.to_string()).unwrap_or_default();
            let mut heard = self.0.lock().expect("no panic");
            heard.push(format!("{:?} {}: {error}", line.level, line.text));
        }
    }

    fn refused(options: &[(&str, &str)]) -> (Option<String>, Vec<String>) {
        let options = options.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let heard = Arc::new(Heard::default());
        let provider = Provider::of(&Tokens::Jwt(options.collect()), &Told(heard.clone()));
        let heard = heard.0.lock().expect("no panic").clone();
        (provider.err(), heard)
    }

    #[track_caller]
    fn check(options: &[(&str, &str)], said: &str, problem: Option<&str>) {
        let problem = problem.map(|it| format!("Error problem loading JWT options: {it}"));
        let mut lines: Vec<String> = problem.into_iter().collect();
        lines.push(format!("Warn failed to create token provider: {said}"));
        assert_eq!(refused(options), (Some(said.to_owned()), lines), "{options:?}");
    }

    #[test]
    fn what_a_signed_token_needs_is_said_as_etcd_says_it() {
        check(&[], INVALID_AUTH, Some(NO_METHOD));
        check(&[("sign-method", "None")], INVALID_AUTH, Some(NO_METHOD));
        check(&[("sign-method", "none")], UNSIGNED, None);
        let no_time = "time: invalid duration \"x\"";
        check(&[("sign-method", "RS256"), ("ttl", "x")], INVALID_AUTH, Some(no_time));
        let nowhere = "open /nowhere/k: no such file or directory";
        check(&[("sign-method", "RS256"), ("pub-key", "/nowhere/k")], INVALID_AUTH, Some(nowhere));
        for method in ["RS256", "HS256", "ES512", "EdDSA"] {
            check(&[("sign-method", method)], "auth: missing key data", None);
        }
    }
}
