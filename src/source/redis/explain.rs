//! What Redis says when it refuses something, and what to do about it.

use std::error::Error as _;
use std::io;
use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use tokio_rustls::rustls::{self, AlertDescription, CertificateError};

use crate::error::Error;

/// What to look at where nobody answers.
const UNREACHABLE: &str = "is it running, and is the URL right?";

/// The rights that a user needs: of channels to hear of orders, and of the time to say until when they count.
const RIGHTS: &str = "its user needs ~{NAME}:* &{NAME}:* +@read +@write +@scripting +@pubsub +@connection +time, NAME being the \
                      stream's";

/// What it says without a code of its own: of a script that does what its user may not, and of the choice of a database.
const DENIED: [&str; 2] = [
    "The user executing the script can't",
    "this user has no permissions to",
];

/// The same where nobody answers a hello of TLS: it is no command that Redis knows, and has no end for it.
const SILENT: &str =
    "is it running, and is the URL right? A port that does not speak TLS needs redis://";

/// The same where somebody does, and hangs up, or says what is no Redis.
const HANGS_UP: &str =
    "is it running, and is the URL right? A port that speaks TLS needs rediss://";

/// What no other attempt will change, if it is that: what it keeps us from.
pub(super) fn hopeless(error: &RedisError) -> Option<&'static str> {
    if is_login_refused(error) {
        Some("log in to")
    } else {
        tls_error(error)
            .and_then(tls_advice)
            .map(|_| "speak TLS with")
    }
}

/// Whether our user lacks a right, as [`explain`] has put it.
pub(super) fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Stream { why, .. } if why.ends_with(RIGHTS))
}

fn is_login_refused(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
}

/// What TLS says, if that is where it went wrong.
fn tls_error(error: &RedisError) -> Option<&rustls::Error> {
    type Inner = Arc<dyn std::error::Error + Send + Sync>;
    let inner = error.source()?.downcast_ref::<Inner>()?;
    let of_socket = || inner.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref();
    inner.downcast_ref().or_else(of_socket)
}

fn tls_advice(error: &rustls::Error) -> Option<&'static str> {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
    match error {
        InvalidCertificate(CertificateError::UnknownIssuer) => Some(
            "name the certificate of the authority that has signed its own: rediss://…?sslrootcert=FILE, in PEM",
        ),
        InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some(
            "write a host into the URL that its certificate is for, or give it one for this host",
        ),
        InvalidCertificate(_) => Some("give it a certificate that is good"),
        InvalidMessage(_) => Some(
            "this port does not speak TLS: give the URL of the one that does (tls-port), or write redis:// where the way to it \
             is safe",
        ),
        AlertReceived(AlertDescription::CertificateRequired) => Some(
            "it lets in who shows a certificate: rediss://…?sslcert=FILE&sslkey=FILE, in PEM (or have it do without: \
             tls-auth-clients no)",
        ),
        AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError,
        ) => Some(
            "it does not trust our certificate, the one of sslcert=FILE: its tls-ca-cert-file says whom it does",
        ),
        _ => None,
    }
}

/// The error, and what to do.
pub(super) fn explain(error: &RedisError, is_tls: bool) -> String {
    if let Some(error) = tls_error(error)
        && let Some(advice) = tls_advice(error)
    {
        return format!("{error}; {advice}");
    }
    let advice = match (error.kind(), error.code()) {
        _ if is_login_refused(error) => {
            "write the user and the password into the URL: redis://user:password@host:6379 (a password's # / ? @ : are written \
             %23 %2F %3F %40 %3A)"
        }
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => RIGHTS,
        _ if DENIED
            .iter()
            .any(|&words| error.to_string().contains(words)) =>
        {
            RIGHTS
        }
        (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => {
            "it is a replica, which nobody can write to; give the URL of its master"
        }
        (ErrorKind::Server(ServerErrorKind::BusyLoading), _) => {
            "it has just started, and answers when it has read its data"
        }
        (_, Some("OOM")) => {
            "it is full: raise its maxmemory, or keep less in the stream with --stream-retain and --stream-max-entries"
        }
        (_, Some("MISCONF")) => "it cannot write to its disk: its log says why",
        (ErrorKind::Parse, _) if !is_tls => HANGS_UP,
        _ if error.is_connection_dropped() && !error.is_connection_refusal() && !is_tls => HANGS_UP,
        _ if error.is_timeout() && is_tls => SILENT,
        _ if error.is_io_error() => UNREACHABLE,
        _ => return error.to_string(),
    };
    format!("{error}; {advice}")
}
