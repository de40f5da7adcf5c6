//! Simple tokens: which one stands for whom, and until when.
//!
//! They are made by applied entries, so all members know the same ones, but each member counts their time for
//! itself and forgets them when it stops, as in etcd (`docs/etcd/api.md` 9.4). Only a token's fingerprint is
//! kept: neither a look-up's time nor a core dump tells the token.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

/// What an entry means for the tokens every member remembers.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum TokenChange {
    /// All stand.
    #[default]
    None,
    /// A new one stands for a user.
    Assign {
        /// Its text.
        token: String,
        /// The user.
        user: String,
    },
    /// Those of this user are gone.
    DropUser(String),
    /// All are gone: nobody is asked any more.
    DropAll,
}

impl fmt::Debug for TokenChange {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenChange::None => f.write_str("None"),
            TokenChange::Assign { token, user } => {
                write!(f, "Assign({user}, {})", fingerprint(token.as_bytes()))
            }
            TokenChange::DropUser(user) => write!(f, "DropUser({user})"),
            TokenChange::DropAll => f.write_str("DropAll"),
        }
    }
}

/// Tokens one member remembers, at most. A further one takes the place of the one that would end first.
pub const TOKENS_MAX: usize = 1_000_000;

type Print = [u8; 32];

/// The living tokens. Time is a count of milliseconds, handed in.
#[derive(Debug)]
pub struct Tokens {
    ttl_ms: u64,
    tokens_max: usize,
    owners: BTreeMap<Print, Token>,
    by_end: BTreeSet<(u64, Print)>,
}

#[derive(Debug)]
struct Token {
    user: Arc<str>,
    ends_ms: u64,
}

impl Tokens {
    /// Tokens that live this long after they were made or last used (`--auth-token-ttl`).
    pub fn new(ttl_ms: u64) -> Tokens {
        Tokens { ttl_ms, tokens_max: TOKENS_MAX, owners: BTreeMap::new(), by_end: BTreeSet::new() }
    }

    /// Takes what an applied entry means for tokens.
    pub fn change(&mut self, change: &TokenChange, now_ms: u64) {
        match change {
            TokenChange::None => {}
            TokenChange::Assign { token, user } => self.assign(token, user, now_ms),
            TokenChange::DropUser(user) => self.drop_user(user),
            TokenChange::DropAll => self.drop_all(),
        }
    }

    /// From now on `token` stands for `user`.
    pub fn assign(&mut self, token: &str, user: &str, now_ms: u64) {
        self.forget_ended(now_ms);
        if self.tokens_max <= self.owners.len()
            && let Some((_, first)) = self.by_end.pop_first()
        {
            self.owners.remove(&first);
        }
        let (print, ends_ms) = (print(token.as_bytes()), now_ms.saturating_add(self.ttl_ms));
        if let Some(before) = self.owners.insert(print, Token { user: user.into(), ends_ms }) {
            self.by_end.remove(&(before.ends_ms, print));
        }
        self.by_end.insert((ends_ms, print));
    }

    /// Whom a token stands for. Asking lengthens its life.
    pub fn owner(&mut self, token: &str, now_ms: u64) -> Option<Arc<str>> {
        self.forget_ended(now_ms);
        let print = print(token.as_bytes());
        let token = self.owners.get_mut(&print)?;
        self.by_end.remove(&(token.ends_ms, print));
        token.ends_ms = now_ms.saturating_add(self.ttl_ms);
        self.by_end.insert((token.ends_ms, print));
        Some(token.user.clone())
    }

    /// Forgets all tokens of a user.
    pub fn drop_user(&mut self, user: &str) {
        let by_end = &mut self.by_end;
        self.owners.retain(|print, token| {
            let stays = &*token.user != user;
            if !stays {
                by_end.remove(&(token.ends_ms, *print));
            }
            stays
        });
    }

    /// Forgets all tokens.
    pub fn drop_all(&mut self) {
        self.owners.clear();
        self.by_end.clear();
    }

    fn forget_ended(&mut self, now_ms: u64) {
        while let Some((ends_ms, print)) = self.by_end.first().copied()
            && ends_ms < now_ms
        {
            self.by_end.pop_first();
            self.owners.remove(&print);
        }
    }
}

fn print(token: &[u8]) -> Print {
    Sha256::digest(token).into()
}

/// What a log may say about a token: twelve digits of its hash, as etcd prints it.
pub fn fingerprint(token: &[u8]) -> String {
    print(token)[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_used_outlives_its_first_end() {
        let mut tokens = Tokens::new(10);
        tokens.assign("a.1", "u", 0);
        assert_eq!(tokens.owner("a.1", 10).as_deref(), Some("u"));
        assert_eq!(tokens.owner("a.1", 20).as_deref(), Some("u"));
        assert_eq!(tokens.owner("a.1", 31), None);
        assert!(tokens.owners.is_empty());
    }

    #[test]
    fn a_users_tokens_die_with_its_password() {
        let mut tokens = Tokens::new(10);
        tokens.assign("a.1", "u", 0);
        tokens.assign("b.2", "v", 0);
        tokens.drop_user("u");
        assert_eq!(tokens.owner("a.1", 0), None);
        assert_eq!(tokens.owner("b.2", 0).as_deref(), Some("v"));
        tokens.drop_all();
        assert_eq!(tokens.owner("b.2", 0), None);
        assert!(tokens.by_end.is_empty());
    }

    #[test]
    fn one_more_than_fit_takes_the_place_of_the_one_that_ends_first() {
        let mut tokens = Tokens { tokens_max: 2, ..Tokens::new(10) };
        for (now, token) in ["a", "b", "c"].into_iter().enumerate() {
            tokens.assign(token, "u", now as u64);
        }
        assert_eq!(tokens.owner("a", 3), None);
        assert!(tokens.owner("b", 3).is_some());
        assert_eq!(tokens.owners.len(), 2);
        assert_eq!(tokens.by_end.len(), 2);
    }

    #[test]
    fn a_fingerprint_is_what_etcd_logs() {
        assert_eq!(fingerprint(b"abc"), "ba7816bf8f01");
        let tokens = Tokens::new(10);
        assert!(!format!("{tokens:?}").contains("abc"));
    }
}
