//! A logical replica: its rows come from another cluster, and have to get transaction ids of their own.

use super::expect;
use super::scene::{Scene, keys};
use super::support::{Postgres, until};
use super::writer::{connect, insert, number, run, use_up};

/// Everything but the xid.
const COLUMNS: &str = "id, channel, type, entity_id, actor, payload, previous, trace_id, origin, dedup_key, created_at";

/// What makes the columns do without PostgreSQL 15.
const TRIGGER: &str = "
    CREATE FUNCTION own_xid() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN NEW.xid := pg_current_xact_id(); RETURN NEW; END';
    CREATE TRIGGER own_xid BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION own_xid();
    ALTER TABLE events ENABLE ALWAYS TRIGGER own_xid";

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_publisher_arrive_on_a_subscriber() {
    for by_columns in [true, false] {
        let publisher = Postgres::start_with("wal_level = logical");
        let subscriber = Postgres::start();
        let published = publisher.create_database().await;
        let subscribed = subscriber.create_database().await;
        expect(&["migrate"], &published, 0, &[]);
        let scene = Scene::start(&subscribed).await;
        let mut writer = connect(&published).await;
        let mut reader = connect(&subscribed).await;
        // The publisher's ids are far ahead, or, the other way round, far behind.
        use_up(if by_columns { &mut writer } else { &mut reader }, 1000).await;
        let columns = if by_columns {
            format!(" ({COLUMNS})")
        } else {
            run(&mut reader, TRIGGER).await;
            String::new()
        };
        run(
            &mut writer,
            &format!("CREATE PUBLICATION feed FOR TABLE events{columns}"),
        )
        .await;
        let name = published.rsplit('/').next().expect("a path");
        run(
            &mut reader,
            &format!(
                "CREATE SUBSCRIPTION feed CONNECTION 'host=127.0.0.1 port={} user=rowcast dbname={name}'
                 PUBLICATION feed WITH (copy_data = false)",
                publisher.port()
            ),
        )
        .await;
        let mut all = keys("published", 30);
        insert(&mut writer, &all).await;
        // One transaction, with a part of it rolled back.
        run(
            &mut writer,
            "BEGIN; INSERT INTO events (channel, type, payload) VALUES ('fences', 't', '{\"key\": \"whole-0\"}');
             SAVEPOINT s; INSERT INTO events (channel, type, payload) VALUES ('fences', 't', '{\"key\": \"undone\"}');
             ROLLBACK TO s; INSERT INTO events (channel, type, payload) VALUES ('fences', 't', '{\"key\": \"whole-1\"}'); COMMIT",
        )
        .await;
        all.extend(keys("whole", 2));
        scene.wait("whole-1").await;
        // The subscriber's own server is restarted in the middle.
        subscriber.restart();
        let later = keys("later", 30);
        insert(&mut writer, &later).await;
        all.extend(later);
        scene.heard_exactly(&all, 0).await;

        // Sequences are not replicated.
        let words = ["events_id_seq is at 0, behind the highest id"];
        let found = expect(&["doctor"], &subscribed, 1, &words);
        assert_eq!(
            found.contains("filled by a subscription"),
            by_columns,
            "{found}"
        );
        expect(
            &["doctor", "--repair"],
            &subscribed,
            0,
            &["repaired", "events_id_seq"],
        );
        let mut reader = connect(&subscribed).await;
        run(&mut reader, "ALTER SUBSCRIPTION feed DISABLE").await;
        until("the end of the subscription's worker", async || {
            let workers = "SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL";
            (number(&mut reader, workers).await == 0).then_some(())
        })
        .await;
        // Taking over.
        let own = keys("own", 10);
        insert(&mut reader, &own).await;
        all.extend(own);
        scene.heard_exactly(&all, 0).await;
    }
}
