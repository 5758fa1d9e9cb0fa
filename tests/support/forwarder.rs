//! An address that stays the same while the server behind it changes, as a virtual IP address or a proxy does.

use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to the server of the moment.
pub struct Forwarder {
    port: u16,
    to: Arc<watch::Sender<u16>>,
}

impl Forwarder {
    /// To the server on this port of this machine.
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let to = Arc::new(watch::Sender::new(to));
        let of_the_moment = Arc::clone(&to);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut to = of_the_moment.subscribe();
                tokio::spawn(async move {
                    let port = *to.borrow_and_update();
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        // Cut, as an address that moves does.
                        _ = to.changed() => {}
                    }
                });
            }
        });
        Self { port, to }
    }

    /// Cuts all connections; new ones go to the server on this port.
    pub fn switch_to(&self, port: u16) {
        self.to.send_replace(port);
    }

    /// A URL of a server, with this address in place of its own.
    pub fn url(&self, url: &str, port: u16) -> String {
        let changed = url.replace(&format!(":{port}/"), &format!(":{}/", self.port));
        assert_ne!(changed, url, "the URL has the port {port}");
        changed
    }
}
