//! What a proposal says about a password.
//!
//! Members from 3.5 on propose the hash alone. Those of 3.4 propose the password, and each member hashes it when
//! it is applied; so do we, with a salt made from the entry, so that at least our members agree.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use types::Refusal;

/// What hashing a password from a log costs.
const COST: u32 = 10;

/// What etcd says to a hash that is not spelled in base64, as confusing as it is.
pub const NOT_ENCODED: &str =
    "auth: authentication failed, password was given for no password user";

/// The hash to store, of a request with both of its fields, in the entry of this index.
///
/// # Errors
/// When the hash is not spelled in base64.
pub fn of_proposal(plain: &str, hashed: &str, user: &str, index: u64) -> Result<Bytes, Refusal> {
    if hashed.is_empty() && !plain.is_empty() {
        return Ok(hash_from_log(plain, user, index));
    }
    let hash = BASE64.decode(hashed).map_err(|_| Refusal::unknown(NOT_ENCODED))?;
    Ok(hash.into())
}

/// The bcrypt text of a password that stood in a log. Takes as long as a hash does.
pub fn hash_from_log(plain: &str, user: &str, index: u64) -> Bytes {
    let mut salt = Sha256::new();
    salt.update(index.to_be_bytes());
    salt.update(user.as_bytes());
    let salt = salt.finalize()[..16].try_into().expect("a half of 32 bytes");
    let parts = bcrypt::hash_with_salt(plain, COST, salt).expect("the cost is in its bounds");
    parts.format_for_version(bcrypt::Version::TwoA).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_proposal_wins_over_its_password() {
        let hash = of_proposal("secret", "JDJhJA==", "u", 7);
        assert_eq!(hash, Ok(Bytes::from_static(b"$2a$")));
        assert_eq!(of_proposal("", "", "u", 7), Ok(Bytes::new()));
        assert_eq!(of_proposal("", "no base64", "u", 7), Err(Refusal::unknown(NOT_ENCODED)));
    }

    #[test]
    fn a_password_from_a_log_is_hashed_alike_on_every_member() {
        let hash = of_proposal("secret", "", "u", 7).expect("it is there");
        assert_eq!(of_proposal("secret", "", "u", 7), Ok(hash.clone()));
        assert_ne!(of_proposal("secret", "", "u", 8), Ok(hash.clone()));
        let text = std::str::from_utf8(&hash).expect("bcrypt writes text");
        assert_eq!(bcrypt::verify("secret", text).ok(), Some(true));
    }
}
