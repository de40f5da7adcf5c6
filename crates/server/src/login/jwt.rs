//! Signed tokens (`--auth-token=jwt,...`): what one says, and whether it may be believed.
//!
//! A token carries its user and the revision of users and roles at its login, so any change of those ends it
//! (`docs/etcd/api.md` 9.4). Members share the key, not the tokens. The crates for such tokens do not know
//! ES512, which etcd does; so the envelope is made here, and everything secret in `aws-lc-rs`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::Refusal;

use crate::login::keys::Keys;
use crate::login::method::Method;

/// Signs and believes tokens of one kind.
#[derive(Debug)]
pub(crate) struct Jwt {
    method: Method,
    keys: Keys,
    ttl: Duration,
}

/// What a token is worth: the user and the revision it was made at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Worth {
    pub(crate) user: String,
    pub(crate) revision: u64,
}

#[derive(Serialize)]
struct Header {
    alg: &'static str,
    typ: &'static str,
}

#[derive(Serialize)]
struct Claims<'a> {
    exp: i64,
    revision: u64,
    username: &'a str,
}

/// Everything of a foreign token's head that matters.
#[derive(Deserialize)]
struct Alg {
    alg: String,
}

impl Jwt {
    pub(crate) fn new(method: Method, keys: Keys, ttl: Duration) -> Jwt {
        Jwt { method, keys, ttl }
    }

    /// A token for a user. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// When only the public key is there.
    pub(crate) fn sign(&self, user: &str, revision: u64, now: i64) -> Result<String, Refusal> {
        let ttl = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX);
        let claims = Claims { exp: now.saturating_add(ttl), revision, username: user };
        let header = Header { alg: self.method.name(), typ: "JWT" };
        let mut token = encoded(&header);
        token.push('.');
        token.push_str(&encoded(&claims));
        let signature = self.keys.sign(token.as_bytes())?;
        token.push('.');
        BASE64.encode_string(signature, &mut token);
        Ok(token)
    }

    /// What a token is worth; `None` when it is not believed.
    pub(crate) fn worth(&self, token: &str, now: i64) -> Option<Worth> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Alg = serde_json::from_slice(&BASE64.decode(header).ok()?).ok()?;
        // Whoever lets the token choose how it is checked lets it choose not to be.
        if header.alg != self.method.name() {
            return None;
        }
        self.keys.verify(signed.as_bytes(), &BASE64.decode(signature).ok()?).then_some(())?;
        let claims: Value = serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()?;
        let time = |name: &str| match claims.get(name) {
            None | Some(Value::Null) => Some(None),
            Some(value) => value.as_f64().map(Some),
        };
        let now = now as f64;
        let ended = time("exp")?.is_some_and(|end| end <= now);
        let not_begun = time("nbf")?.is_some_and(|begin| now < begin);
        if ended || not_begun {
            return None;
        }
        let user = claims.get("username")?.as_str()?.to_owned();
        let revision = claims.get("revision")?.as_f64()?;
        Some(Worth { user, revision: revision as u64 })
    }
}

fn encoded(value: &impl Serialize) -> String {
    BASE64.encode(serde_json::to_vec(value).expect("texts and numbers always serialize"))
}
