//! `Key`: what a signature is verified with, and the algorithms it is bound to. The token has no say in which.

use std::fmt;

use aws_lc_rs::rsa::PublicKey as RsaPublicKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, VerificationAlgorithm,
};
use aws_lc_rs::{digest, hmac};
use jsonwebtoken::{Algorithm, AlgorithmFamily};

/// Shortest secret, in bytes. Shorter ones can be guessed from one token, on the guesser's own machine.
pub(crate) const SECRET_BYTES_MIN: usize = 32;

/// Shortest and longest RSA key, in bytes: 2048 and 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// A key, and the algorithms it may be used with.
pub(super) struct Key {
    kid: Option<Box<str>>,
    verifiers: Vec<(Algorithm, Verifier)>,
    /// By which it is known again after a reload.
    digest: digest::Digest,
}

enum Verifier {
    /// In a box: it has the states of two digests in it.
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

/// Why a text is no key: what it is, and what would be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyError(pub(super) String);

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Key {
    /// A secret, for HMAC only.
    pub(super) fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        check_secret(secret)?;
        let verifiers = AlgorithmFamily::Hmac.algorithms().iter();
        let verifier = |&algorithm: &Algorithm| {
            let hash = match algorithm {
                Algorithm::HS384 => hmac::HMAC_SHA384,
                Algorithm::HS512 => hmac::HMAC_SHA512,
                _ => hmac::HMAC_SHA256,
            };
            (
                algorithm,
                Verifier::Secret(Box::new(hmac::Key::new(hash, secret))),
            )
        };
        Ok(Self {
            kid: None,
            verifiers: verifiers.map(verifier).collect(),
            digest: digest::digest(&digest::SHA256, secret),
        })
    }

    /// A public key in the form that PEM files have (`SubjectPublicKeyInfo`, for RSA also PKCS #1). What it is for is in
    /// it. None where it is nothing that verifies here.
    pub(super) fn from_der(der: &[u8]) -> Result<Option<Self>, KeyError> {
        if let Ok(rsa) = RsaPublicKey::from_der(der) {
            let (n, e) = (rsa.modulus(), rsa.exponent());
            return Self::from_rsa_components(
                n.big_endian_without_leading_zero(),
                e.big_endian_without_leading_zero(),
            )
            .map(Some);
        }
        Ok([Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA]
            .into_iter()
            .find_map(|algorithm| Self::curve(algorithm, der)))
    }

    /// A public key of a curve: a point, or DER.
    pub(super) fn curve(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        let scheme: &'static dyn VerificationAlgorithm = match algorithm {
            Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::ES384 => &ECDSA_P384_SHA384_FIXED,
            Algorithm::EdDSA => &ED25519,
            _ => return None,
        };
        let key = ParsedPublicKey::new(scheme, bytes).ok()?;
        Some(Self {
            kid: None,
            verifiers: vec![(algorithm, Verifier::Public(key))],
            digest: digest::digest(&digest::SHA256, bytes),
        })
    }

    /// An RSA key of this modulus and exponent, big-endian.
    pub(super) fn from_rsa_components(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let n = &n[n.iter().take_while(|byte| **byte == 0).count()..];
        if !RSA_BYTES.contains(&n.len()) {
            return Err(KeyError(format!(
                "it is an RSA key of {} bits; from 2048 to 8192 are accepted, as shorter ones can be broken",
                n.len() * 8
            )));
        }
        let components = RsaPublicKeyComponents { n, e };
        let schemes: [(Algorithm, &'static RsaParameters); 6] = [
            (Algorithm::RS256, &RSA_PKCS1_2048_8192_SHA256),
            (Algorithm::RS384, &RSA_PKCS1_2048_8192_SHA384),
            (Algorithm::RS512, &RSA_PKCS1_2048_8192_SHA512),
            (Algorithm::PS256, &RSA_PSS_2048_8192_SHA256),
            (Algorithm::PS384, &RSA_PSS_2048_8192_SHA384),
            (Algorithm::PS512, &RSA_PSS_2048_8192_SHA512),
        ];
        let parse = |(algorithm, scheme)| {
            let key = components.to_parsed_public_key(scheme).ok()?;
            Some((algorithm, Verifier::Public(key)))
        };
        let verifiers = schemes.into_iter().map(parse).collect::<Option<_>>();
        Ok(Self {
            kid: None,
            verifiers: verifiers
                .ok_or_else(|| KeyError("its modulus and exponent make no RSA key".into()))?,
            digest: digest::digest(&digest::SHA256, &[n, e].concat()),
        })
    }

    /// The same key, known by an id.
    pub(super) fn named(self, kid: Option<&str>) -> Self {
        let kid = kid.map(Into::into);
        Self { kid, ..self }
    }

    /// The same key for this algorithm only; None where it never was for it.
    pub(super) fn only(mut self, algorithm: Algorithm) -> Option<Self> {
        self.verifiers.retain(|(own, _)| *own == algorithm);
        (!self.verifiers.is_empty()).then_some(self)
    }

    /// Whether what this verifies is what the other one does.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let algorithms = |key: &Self| {
            let own = key.verifiers.iter().map(|(algorithm, _)| *algorithm);
            own.collect::<Vec<_>>()
        };
        self.kid == other.kid
            && self.digest.as_ref() == other.digest.as_ref()
            && algorithms(self) == algorithms(other)
    }

    fn verifier(&self, algorithm: Algorithm) -> Option<&Verifier> {
        let found = self.verifiers.iter().find(|(own, _)| *own == algorithm);
        found.map(|(_, verifier)| verifier)
    }
}

impl Verifier {
    fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Self::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// Whether a secret is one.
pub(super) fn check_secret(secret: &[u8]) -> Result<(), KeyError> {
    if secret.starts_with(b"-----BEGIN") {
        // Everybody may know a public key; as a secret it would let everybody sign.
        return Err(KeyError(
            "it is a PEM file and no secret; give a public key with --jwt-public-key-file".into(),
        ));
    }
    if secret.len() < SECRET_BYTES_MIN {
        return Err(KeyError(format!(
            "the secret is {} bytes long, and one of less than {SECRET_BYTES_MIN} can be guessed; make one with \
             `openssl rand -base64 32` or `rowcast token secret`",
            secret.len()
        )));
    }
    Ok(())
}

/// What keys say to a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// One of them made it.
    Good,
    /// None of those that could have made it.
    Bad,
    /// None of them is for this algorithm.
    OtherAlgorithm,
    /// None has the id that the token names, and none without an id made it.
    UnknownKid,
}

/// Looks for a key that made the signature. With an id that a key has, only keys of that id are tried; keys without an
/// id stand in for ids that none has.
pub(super) fn verify<'a>(
    keys: impl Iterator<Item = &'a Key> + Clone,
    kid: Option<&str>,
    algorithm: Algorithm,
    message: &[u8],
    signature: &[u8],
) -> Verdict {
    let known = kid.is_some_and(|kid| keys.clone().any(|key| key.kid.as_deref() == Some(kid)));
    let may = |key: &&Key| match (key.kid.as_deref(), kid) {
        (Some(own), Some(kid)) => own == kid,
        (Some(_), None) => true,
        (None, _) => !known,
    };
    let mut tried = false;
    for verifier in keys.filter(may).filter_map(|key| key.verifier(algorithm)) {
        if verifier.accepts(message, signature) {
            return Verdict::Good;
        }
        tried = true;
    }
    match (kid, tried) {
        (Some(_), _) if !known => Verdict::UnknownKid,
        (_, true) => Verdict::Bad,
        (_, false) => Verdict::OtherAlgorithm,
    }
}
