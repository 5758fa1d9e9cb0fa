//! Two real servers on one Postgres, behind a proxy, and what rides through all of it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use reqwest::{Certificate, Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::authority::Authority;
use crate::front::{Front, Kind};
use crate::support::postgres::signal;
use crate::support::process::{Process, free_port};
use crate::support::raw::Raw;
use crate::support::token::{SECRET, token_for};
use crate::support::{Connection, Database, within};

pub struct Fleet {
    pub front: Front,
    pub authority: Authority,
    pub database: Database,
    ports: [u16; 2],
    servers: [Option<Process>; 2],
    flags: Vec<String>,
}

impl Fleet {
    /// With more flags for both servers.
    pub async fn start(kind: Kind, flags: &[&str]) -> Self {
        let authority = Authority::new();
        let database = Database::postgres().await;
        let ports = [free_port(), free_port()];
        let secret = authority.path("secret");
        fs::write(&secret, SECRET).expect("the folder is ours");
        let flags: Vec<_> = ["--jwt-secret-file", &secret.display().to_string()]
            .iter()
            .chain(&["--trusted-proxy", "127.0.0.1", "--admin-listen", "off"])
            .chain(flags)
            .map(ToString::to_string)
            .collect();
        // Before the proxy, which would take note that they are not there.
        let servers = ports.map(|port| Some(start_server(port, &database.url, &flags)));
        Self {
            front: Front::start(kind, &authority, ports).await,
            authority,
            database,
            ports,
            servers,
            flags,
        }
    }

    /// Returns when it is ready.
    pub fn start_server(&mut self, n: usize) {
        let server = start_server(self.ports[n], &self.database.url, &self.flags);
        self.servers[n] = Some(server);
    }

    /// Ends it as a deployment does, and waits for its end.
    pub fn stop_server(&mut self, n: usize) {
        let mut server = self.servers[n].take().expect("it runs");
        signal("TERM", &[server.id()]);
        let status = tokio::task::block_in_place(|| server.wait());
        assert!(status.success(), "{status}");
    }

    /// Ends it without a word.
    pub fn kill_server(&mut self, n: usize) {
        self.servers[n] = None;
    }

    /// A backend's connection.
    pub async fn writer(&self) -> Connection {
        self.database.connect().await
    }

    /// A WebSocket of a user who may see this channel, subscribed to it.
    pub async fn web_socket(&self, channel: &str) -> Raw<TlsStream<TcpStream>> {
        let stream = self.authority.connect(self.front.address).await;
        let mut client = Raw::shake_hands(stream).await;
        let token = token_for("ann", &[channel]);
        let hello = json!({"type": "hello", "token": token, "channels": [channel]});
        client.say(&hello).await;
        hear_a(&mut client, "subscribed").await;
        client
    }

    /// A client of HTTP with this address.
    pub fn http(&self, from: Ipv4Addr) -> Http {
        Http::new(&self.authority, self.front.address, from)
    }
}

fn start_server(port: u16, database_url: &str, flags: &[String]) -> Process {
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    tokio::task::block_in_place(|| Process::start_on(port, database_url, &flags))
}

/// The next frame of this type.
pub async fn hear_a(client: &mut Raw<TlsStream<TcpStream>>, kind: &str) -> Value {
    loop {
        let frame = client.hear_json().await;
        if frame["type"] == kind {
            return frame;
        }
    }
}

/// The head of the answer, and what is to come of its body.
pub async fn answer_to(request: RequestBuilder) -> Response {
    within("an answer", request.send())
        .await
        .expect("an answer")
}

/// Speaks HTTP/1.1 to the proxy, over TLS.
pub struct Http {
    client: Client,
    address: SocketAddr,
}

impl Http {
    /// To the proxy there, from this address.
    pub fn new(authority: &Authority, address: SocketAddr, from: Ipv4Addr) -> Self {
        let pem = fs::read(authority.path("authority.pem")).expect("it was written");
        let certificate = Certificate::from_pem(&pem).expect("PEM");
        let client = Client::builder()
            .tls_certs_only([certificate])
            .resolve("localhost", address)
            .local_address(IpAddr::V4(from))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client");
        Self { client, address }
    }

    /// Of a user who may see `tasks`.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.bare(path).bearer_auth(token_for("ann", &["tasks"]))
    }

    /// Of nobody.
    pub fn bare(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    /// Without TLS, elsewhere.
    pub fn plain(&self, address: SocketAddr, path: &str) -> RequestBuilder {
        let request = self.client.get(format!("http://{address}{path}"));
        request.header("Host", "localhost")
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }
}
