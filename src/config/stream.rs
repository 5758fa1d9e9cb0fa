//! Flags of a server that reads a stream in place of the table.

use clap::Args;

use crate::error::Error;
use crate::source::{DEFAULT_STREAM, StreamConfig};

/// Which stream, if any.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub struct StreamArgs {
    /// Read the feed from Redis, where `rowcast relay` writes it, and not from the table. With --database-url the table is
    /// what the server goes back to while Redis is away, and what it reads for clients that were away for longer than the
    /// stream reaches. Its help is spelled out below, as URLs in it are no links.
    #[arg(
        long,
        value_name = "URL",
        env = "ROWCAST_SOURCE",
        hide_env_values = true,
        help = "Read the feed from Redis, where `rowcast relay` writes it: redis://user:password@host:6379/0, or rediss:// \
                for TLS. With --database-url the server goes back to the table while Redis is away, and reads there for \
                clients that were away for longer than the stream reaches. [default: read the table]"
    )]
    pub source: Option<String>,

    /// The name of the stream in Redis. Several feeds may share a Redis.
    #[arg(
        long,
        value_name = "NAME",
        default_value = DEFAULT_STREAM,
        env = "ROWCAST_STREAM"
    )]
    pub stream: String,
}

impl StreamArgs {
    /// The stream that these flags mean.
    ///
    /// # Errors
    /// [`Error::Config`] when there is none at that URL that we can use.
    pub fn config(&self) -> Result<Option<StreamConfig>, Error> {
        let url = self.source.as_deref();
        url.map(|url| StreamConfig::new(url, &self.stream))
            .transpose()
    }
}
