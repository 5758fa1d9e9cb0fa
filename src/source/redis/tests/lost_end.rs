//! A stream whose last entries are gone, as a replica has it that was not told of them.

use super::*;

/// A replica that takes the place of its leader may lack the last entries. Each server would read minutes of the feed, all at
/// once, if it began anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_has_lost_its_end_is_not_read_again_from_its_beginning() {
    let entry = |n: u64| Entry {
        upto: snapshot(n + 1),
        events: vec![Arc::new(event(n as i64, n, "a"))],
        joint: Joint::Whole,
    };
    let server = Server::start();
    let stream = Stream::new(&server.config).expect("a stream");
    let mut connection = stream.redis().connect().await.expect("it answers");
    let mut first = entry(10);
    first.joint = Joint::Left;
    let entries: Vec<_> = std::iter::once(first).chain((11..500).map(entry)).collect();
    let (first, entries) = entries.split_at(2);
    let appended = stream.append(None, first, &KEEP).await;
    assert_eq!(appended.expect("Redis answers"), Appended::Done);
    let live = RedisSource::open(&server.config, None, Migrate::Off)
        .await
        .expect("a stream");
    let mut end = snapshot(12);
    for entries in entries.chunks(Stream::PAGE) {
        let appended = stream.append(Some(&end), entries, &KEEP).await;
        assert_eq!(appended.expect("Redis answers"), Appended::Done);
        end = entries.last().expect("no chunk is empty").upto.clone();
    }
    let reaches = async |end: &Cursor| {
        // Until something has come over the connection that took the place of one that was cut, it says so.
        while live.edge().await.ok().as_ref() != Some(end) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), reaches(&snapshot(500)))
        .await
        .expect("it is followed");

    // As a replica has it that was told of all but the last five.
    let last: redis::streams::StreamRangeReply = redis::cmd("XREVRANGE")
        .arg(&["{test}:feed", "+", "-", "COUNT", "5"])
        .query_async(&mut connection)
        .await
        .expect("they are there");
    let mut lose = redis::pipe();
    for entry in &last.ids {
        lose.cmd("XDEL").arg("{test}:feed").arg(&entry.id).ignore();
    }
    lose.cmd("CONFIG").arg("RESETSTAT").ignore();
    let kill = ["KILL", "TYPE", "normal", "SKIPME", "yes"];
    lose.cmd("CLIENT").arg(&kill).ignore();
    let () = lose.query_async(&mut connection).await.expect("done");
    let said = async |connection: &mut redis::aio::MultiplexedConnection, what: [&str; 2]| {
        let mut command = redis::cmd(what[0]);
        let text: String = command
            .arg(what[1])
            .query_async(connection)
            .await
            .expect("it answers");
        text
    };
    let waits = async {
        let is_waiting = |line: &str| line.contains(" flags=b ") && line.contains(" cmd=xread ");
        while !said(&mut connection, ["CLIENT", "LIST"])
            .await
            .lines()
            .any(is_waiting)
        {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), waits)
        .await
        .expect("it is followed again");
    let stats = said(&mut connection, ["INFO", "commandstats"]).await;
    let mut calls = stats
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_xread:calls="));
    let calls = calls.next().and_then(|rest| rest.split(',').next());
    let calls: usize = calls.map_or(0, |calls| calls.parse().expect("a number"));
    assert!(calls < 490 / Stream::PAGE / 2, "{calls} pages were read");

    // Whose connection was cut too.
    let _ = stream.end().await;
    // What was lost comes again, and more behind it.
    let again: Vec<_> = (495..510).map(entry).collect();
    let appended = stream.append(Some(&snapshot(495)), &again, &KEEP).await;
    assert_eq!(appended.expect("Redis answers"), Appended::Done);
    timeout(Duration::from_secs(10), reaches(&snapshot(510)))
        .await
        .expect("it goes on");
    let window = Window {
        after: snapshot(500),
        upto: snapshot(510),
        resume_after: None,
    };
    let ids = ids_of(live.rows(window)).await;
    assert_eq!(ids, (500..510).collect::<Vec<_>>());
}
