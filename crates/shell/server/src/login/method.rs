//! The ways to sign a token, by the names `sign-method` knows.

/// A way to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// A shared secret.
    Hmac(Digest),
    /// RSA, as PKCS#1 1.5 pads.
    Rsa(Digest),
    /// RSA, padded by chance.
    RsaPss(Digest),
    /// The elliptic curve that goes with the digest.
    Ecdsa(Digest),
    /// Ed25519.
    EdDsa,
}

/// How long the hash is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Digest {
    Sha256,
    Sha384,
    Sha512,
}

impl Method {
    /// The method of this name.
    pub(crate) fn named(name: &str) -> Option<Method> {
        if name == "EdDSA" {
            return Some(Method::EdDsa);
        }
        let (family, bits) = name.split_at_checked(2)?;
        let digest = match bits {
            "256" => Digest::Sha256,
            "384" => Digest::Sha384,
            "512" => Digest::Sha512,
            _ => return None,
        };
        match family {
            "HS" => Some(Method::Hmac(digest)),
            "RS" => Some(Method::Rsa(digest)),
            "PS" => Some(Method::RsaPss(digest)),
            "ES" => Some(Method::Ecdsa(digest)),
            _ => None,
        }
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        let [short, middle, long] = match self {
            Method::Hmac(_) => ["HS256", "HS384", "HS512"],
            Method::Rsa(_) => ["RS256", "RS384", "RS512"],
            Method::RsaPss(_) => ["PS256", "PS384", "PS512"],
            Method::Ecdsa(_) => ["ES256", "ES384", "ES512"],
            Method::EdDsa => return "EdDSA",
        };
        match self {
            Method::Hmac(digest)
            | Method::Rsa(digest)
            | Method::RsaPss(digest)
            | Method::Ecdsa(digest) => match digest {
                Digest::Sha256 => short,
                Digest::Sha384 => middle,
                Digest::Sha512 => long,
            },
            Method::EdDsa => "EdDSA",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_has_the_name_it_was_found_by() {
        let mut names = vec!["EdDSA".to_owned()];
        for family in ["HS", "RS", "PS", "ES"] {
            names.extend(["256", "384", "512"].map(|bits| format!("{family}{bits}")));
        }
        for name in names {
            assert_eq!(Method::named(&name).map(Method::name), Some(name.as_str()));
        }
        for name in ["", "none", "hs256", "RS257", "E", "é56"] {
            assert_eq!(Method::named(name), None, "{name}");
        }
    }
}
