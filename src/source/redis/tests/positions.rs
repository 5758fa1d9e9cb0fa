//! Where a source is, as it tells the feed and clients, where the stream and the table behind it are not at the same place.

use super::*;

/// A table that answers the first look when it is told to, and others at once.
struct SlowTable {
    looks: Mutex<Vec<Cursor>>,
    first: tokio::sync::Notify,
    is_asked: tokio::sync::Notify,
}

impl Source for SlowTable {
    fn edge(&self) -> BoxFuture<'_, Result<Cursor, Error>> {
        Box::pin(async {
            let (edge, is_first) = {
                let mut looks = lock(&self.looks);
                (looks.remove(0), looks.len() == 2)
            };
            if is_first {
                self.is_asked.notify_one();
                self.first.notified().await;
            }
            Ok(edge)
        })
    }

    fn rows(&self, _window: Window) -> BoxStream<'_, Result<Row, Error>> {
        futures_util::stream::empty().boxed()
    }

    fn rebase<'a>(&'a self, _: &'a Cursor) -> BoxFuture<'a, Result<Option<Cursor>, Error>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn wakes(&self) -> BoxStream<'static, ()> {
        futures_util::stream::pending().boxed()
    }
}

/// A source that has what is pushed into its memory, and this table.
fn unconnected(table: Option<Arc<dyn Source>>) -> RedisSource {
    let config = StreamConfig::new("redis://127.0.0.1:1", "test").expect("a URL");
    RedisSource {
        stream: Arc::new(Stream::new(&config).expect("a stream")),
        config,
        memory: Arc::new(Memory::new()),
        table: table.map(|table| Table {
            config: DatabaseConfig::new("postgres://localhost/none").expect("a URL"),
            migrate: Migrate::Off,
            source: OnceCell::new_with(Some(table)),
        }),
        told: Mutex::default(),
        from_stream: Mutex::new(true),
        follower: tokio::spawn(std::future::pending()),
    }
}

/// The number of an entry, where the one before it ended, and where it ends.
fn kept(number: u64, after: Option<u64>, upto: u64) -> entry::Kept {
    let id = |number| entry::EntryId { ms: 0, number };
    entry::Kept {
        id: id(number),
        after: after.map(snapshot),
        entry: Entry {
            upto: snapshot(upto),
            events: Vec::new(),
            joint: after.map_or(Joint::Left, |_| Joint::Whole),
        },
        joint: id(1),
        bytes: 0,
    }
}

/// What a slow look brings does not take back what a quick one has told meanwhile: the feed would be sent back to a stream
/// that is behind, and take it for another history.
#[tokio::test]
async fn looks_at_the_same_time_never_set_back_what_was_told() {
    let table = Arc::new(SlowTable {
        looks: Mutex::new(vec![snapshot(10), snapshot(20), snapshot(30)]),
        first: tokio::sync::Notify::new(),
        is_asked: tokio::sync::Notify::new(),
    });
    let source = unconnected(Some(Arc::clone(&table) as Arc<dyn Source>));
    let quick = async {
        table.is_asked.notified().await;
        let edge = source.edge().await.expect("the table answers");
        table.first.notify_one();
        edge
    };
    let (slow, quick) = tokio::join!(source.edge(), quick);
    assert_eq!(slow.expect("the table answers"), snapshot(10));
    assert_eq!(quick, snapshot(20));

    // The stream is there now, and has not come as far as that.
    source.memory.push(vec![kept(1, None, 15)]);
    let next = source.edge().await.expect("the table answers");
    assert!(next.reaches(&snapshot(20)), "set back to {next:?}");

    // Into another life of the database it goes only from what was told when it was asked.
    let other = Cursor {
        epoch: Epoch { number: 2, tag: 8 },
        position: snapshot(5).position,
    };
    let (told, before) = (snapshot(20), snapshot(10));
    assert!(replaces(&other, Some(&told), Some(&told)));
    assert!(!replaces(&other, Some(&told), Some(&before)));
    assert!(!replaces(&told, Some(&other), Some(&before)), "nor back");
    assert!(replaces(&before, None, None));
}

/// Servers that have a table read on while a stream is written anew, or nobody relays. A client that comes from one of them is
/// not told to refetch; one that made its position up is, in the end.
#[tokio::test(start_paused = true)]
async fn a_client_may_be_ahead_of_a_stream_that_is_being_written() {
    let source = unconnected(None);
    source
        .memory
        .push(vec![kept(1, None, 10), kept(2, Some(10), 20)]);
    let ahead = snapshot(30);
    assert!(source.has_reached(&snapshot(20)).await.expect("it has"));
    let error = source.has_reached(&ahead).await.expect_err("nobody knows");
    assert!(
        error.to_string().contains("does not reach as far"),
        "{error}"
    );
    // Whoever relays is at the present.
    for number in 3..40 {
        sleep(Duration::from_secs(1)).await;
        source.memory.push(vec![kept(number, Some(20), 20)]);
    }
    assert!(
        !source
            .has_reached(&ahead)
            .await
            .expect("nobody has been there")
    );
    // It died, and another one takes over.
    sleep(Duration::from_secs(4)).await;
    assert!(source.has_reached(&ahead).await.is_err());
    source.memory.push(vec![kept(40, Some(20), 25)]);
    assert!(source.has_reached(&ahead).await.is_err());
}
