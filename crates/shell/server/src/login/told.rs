//! What the log says about logins: by which way somebody came in, and why somebody did not.
//!
//! The words are etcd's where it has some, and each way has its own, so that nobody takes a user who showed a
//! certificate for one who gave a password (GHSA-vjg6-93fv-qv64). Secrets never stand there: a token is told by
//! its fingerprint.

use std::sync::Arc;

use node::{Level, Line, Report};

/// The log, for those who look at logins.
pub(crate) struct Told(pub(crate) Arc<dyn Report>);

impl Told {
    fn line(&self, level: Level, text: &'static str, fields: Vec<(&'static str, go::Value)>) {
        self.0.line(&Line { level, text, fields });
    }

    /// The options of signed tokens cannot be used.
    pub(crate) fn unusable_options(&self, why: String) {
        self.line(Level::Error, "problem loading JWT options", vec![("error", why.into())]);
    }

    /// No tokens can be made as configured, and so nothing is served.
    pub(crate) fn no_provider(&self, why: &str) {
        self.line(Level::Warn, "failed to create token provider", vec![("error", why.into())]);
    }

    /// A token stands for nobody, or not any more.
    pub(crate) fn invalid_token(&self, token: &[u8]) {
        let print = auth::fingerprint(token);
        self.line(Level::Warn, "invalid auth token", vec![("token-fingerprint", print.into())]);
    }

    /// Somebody is who his certificate says. Said for each call, hence only to who looks for a fault.
    pub(crate) fn certificate(&self, name: &str, revision: u64) {
        if self.0.wants_debug() {
            let fields = vec![
                ("common-name", name.into()),
                ("user-name", name.into()),
                ("revision", revision.into()),
            ];
            self.line(Level::Debug, "found command name", fields);
        }
    }

    /// A password was the right one.
    pub(crate) fn password(&self, user: &str, token: &str) {
        let print = auth::fingerprint(token.as_bytes());
        let fields = vec![("user-name", user.into()), ("token-fingerprint", print.into())];
        self.line(Level::Debug, "authenticated a user", fields);
    }

    /// A password was a wrong one.
    pub(crate) fn wrong_password(&self, user: &str) {
        self.line(Level::Info, "invalid password", vec![("user-name", user.into())]);
    }

    /// A password was given for a user who has none and is known by certificate alone.
    pub(crate) fn needless_password(&self, user: &str) {
        let text = "a user without password cannot log in with one, only by certificate";
        self.line(Level::Warn, text, vec![("user-name", user.into())]);
    }

    /// Whoever asks for keys shows a name that no user has.
    pub(crate) fn unknown_user(&self, name: &str) {
        let text = "cannot find a user for permission check";
        self.line(Level::Warn, text, vec![("user-name", name.into())]);
    }
}
