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

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    };

    use super::*;

    fn pem(label: &str, der: &[u8]) -> Vec<u8> {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n").into_bytes()
    }

    /// A private and a public key.
    fn elliptic() -> (Vec<u8>, Vec<u8>) {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("random bytes");
        let private = pair.to_pkcs8v1().expect("it was made here");
        let public = pair.public_key().as_der().expect("it was made here");
        (pem("PRIVATE KEY", private.as_ref()), pem("PUBLIC KEY", public.as_ref()))
    }

    fn jwt(method: &str, private: Option<&[u8]>, public: Option<&[u8]>) -> Result<Jwt, String> {
        let method = Method::named(method).expect("etcd knows it");
        let ttl = Duration::from_secs(60);
        Keys::read(method, private, public).map(|keys| Jwt::new(method, keys, ttl))
    }

    #[test]
    fn a_token_is_worth_its_claims_until_it_ends() {
        let (private, public) = elliptic();
        let made = jwt("ES256", Some(&private), None).expect("the public half follows");
        let token = made.sign("u", 7, 1000).expect("the private half is there");
        let believer = jwt("ES256", None, Some(&public)).expect("it need not sign");
        let worth = Some(Worth { user: "u".to_owned(), revision: 7 });
        assert_eq!(made.worth(&token, 1000), worth);
        assert_eq!(believer.worth(&token, 1059), worth);
        assert_eq!(believer.worth(&token, 1060), None);
        let refused = believer.sign("u", 7, 1000).expect_err("nothing signs");
        assert_eq!(refused.message(), "auth: token signing attempted with verify-only key");
    }

    #[test]
    fn a_token_does_not_choose_how_it_is_checked() {
        let (_, public) = elliptic();
        let believer = jwt("ES256", None, Some(&public)).expect("it need not sign");
        // The public key is known to everybody: as a secret it would sign for everybody.
        let forger = jwt("HS256", Some(&public), None).expect("any bytes are a secret");
        let forged = forger.sign("root", 1, 1000).expect("it signs");
        assert_eq!(believer.worth(&forged, 1000), None);
        let unsigned = |alg: &str| {
            let header = BASE64.encode(format!(r#"{{"alg":"{alg}"}}"#));
            let claims = BASE64.encode(r#"{"username":"root","revision":1}"#);
            format!("{header}.{claims}.")
        };
        for alg in ["none", "ES256"] {
            assert_eq!(believer.worth(&unsigned(alg), 1000), None, "{alg}");
        }
        for nonsense in ["", ".", "..", "...", "a.b.c", "é.é.é"] {
            assert_eq!(believer.worth(nonsense, 1000), None, "{nonsense}");
        }
    }

    #[test]
    fn a_key_of_another_curve_signs_and_believes_nothing() {
        let (private, public) = elliptic();
        let misfit = jwt("ES384", Some(&private), Some(&public)).expect("etcd starts with it");
        let refused = misfit.sign("u", 7, 1000).expect_err("it does not fit");
        assert_eq!(refused.message(), "key is invalid");
        let token = jwt("ES256", Some(&private), None).expect("it fits").sign("u", 7, 1000);
        let (_, rest) = token.expect("it signs").split_once('.').map(owned).expect("three parts");
        let relabelled = format!("{}.{rest}", BASE64.encode(r#"{"alg":"ES384"}"#));
        assert_eq!(misfit.worth(&relabelled, 1000), None);
    }

    fn owned(parts: (&str, &str)) -> (String, String) {
        (parts.0.to_owned(), parts.1.to_owned())
    }

    #[test]
    fn keys_fit_each_other_and_their_method() {
        let ((private, public), (_, other)) = (elliptic(), elliptic());
        let refused = |method, private: Option<&[u8]>, public: Option<&[u8]>| {
            jwt(method, private, public).err().unwrap_or_default()
        };
        assert_eq!(refused("ES256", Some(&private), Some(&public)), "");
        let mismatch = "auth: public and private keys don't match";
        assert_eq!(refused("ES256", Some(&private), Some(&other)), mismatch);
        assert_eq!(refused("EdDSA", None, Some(&public)), "key is not a valid Ed25519 public key");
        assert_eq!(refused("ES384", Some(&private), None), "");
        assert_eq!(refused("ES384", Some(&private), Some(&other)), mismatch);
        let not_pem = "invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key";
        assert_eq!(refused("RS256", Some(b"nonsense"), None), not_pem);
        let pair = Ed25519KeyPair::generate().expect("random bytes");
        let pkcs8 = pem("PRIVATE KEY", pair.to_pkcs8v1().expect("it was made here").as_ref());
        assert_eq!(refused("EdDSA", Some(&pkcs8), None), "");
    }
}
