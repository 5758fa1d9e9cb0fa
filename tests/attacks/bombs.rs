//! Messages that are small on the wire and large when they are inflated.

use std::net::SocketAddr;

use flate2::{Compress, Compression, FlushCompress};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::support::feed::{Client, soon};
use crate::support::process::Process;
use crate::support::raw::{CONTINUATION, FIN, HANDSHAKE, Raw, TEXT, frame};
use crate::support::temp_dir;

/// The mark of a compressed message.
const RSV1: u8 = 0x40;

const MIB: usize = 1024 * 1024;

/// So many times a megabyte of zeros, compressed.
fn zeros(times: usize) -> Vec<u8> {
    let mut state = Compress::new(Compression::best(), false);
    let mut once = Vec::with_capacity(MIB);
    // What comes after a full flush refers to nothing before it, so that it can be repeated.
    state
        .compress_vec(&vec![0; MIB], &mut once, FlushCompress::Full)
        .expect("there is room");
    assert_eq!(state.total_in(), MIB as u64);
    once.repeat(times)
}

async fn connect(address: SocketAddr) -> Raw {
    let offer = "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    let mut raw = Raw {
        stream: TcpStream::connect(address).await.expect("a server"),
        bytes_read: 0,
    };
    let handshake = HANDSHAKE.replacen("\r\n\r\n", offer, 1);
    raw.send(handshake.as_bytes()).await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(
            soon("a head", raw.stream.read_u8())
                .await
                .expect("an answer"),
        );
    }
    let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
    assert!(
        head.contains("sec-websocket-extensions: permessage-deflate;"),
        "{head}"
    );
    raw
}

#[tokio::test]
async fn a_bomb_ends_its_connection_and_takes_no_more_memory_than_a_message_may() {
    let folder = temp_dir();
    let url = format!("sqlite://{}", folder.path().join("feed.db").display());
    // A gigabyte fits in a message of this size.
    let server = Process::start(
        &url,
        &["--compression", "on", "--max-message-bytes", "2097152"],
    );
    let address = server
        .url
        .trim_start_matches("ws://")
        .trim_end_matches("/ws");
    let address: SocketAddr = address.parse().expect("an address");
    let mut good = Client::connect(address).await;
    good.subscribe(&["tasks"]).await;
    let bomb = zeros(1024);
    assert!((500_000..2_000_000).contains(&bomb.len()), "{}", bomb.len());
    let before = server.rss_bytes();
    let cpu = server.cpu();
    for n in 0..20 {
        let mut raw = connect(address).await;
        let bytes = if n % 2 == 0 {
            frame(FIN | RSV1 | TEXT, &bomb)
        } else {
            let (head, tail) = bomb.split_at(bomb.len() / 2);
            [frame(RSV1 | TEXT, head), frame(FIN | CONTINUATION, tail)].concat()
        };
        raw.send(&bytes).await;
        raw.hear_close(1009).await;
    }
    let grown = server.rss_bytes().saturating_sub(before);
    eprintln!(
        "20 bombs of a gigabyte: {} KiB more, {:?} of processor time",
        grown / 1024,
        server.cpu_since(cpu)
    );
    // Some times the limit: what came, what it was gathered in, and what was inflated of it.
    assert!(grown < 24 * MIB as u64, "{grown} bytes");
    good.hear_all().await;
}
