"""Events from Python, with nothing but its standard library.

    python3 examples/insert.py                    # into ./rowcast.db
    python3 examples/insert.py path/to/file.db

The tables are there once rowcast was started, or `rowcast migrate` was run.

With Postgres (pip install "psycopg[binary]") three lines differ:

    import os, psycopg
    database = psycopg.connect(os.environ["DATABASE_URL"])
    INSERT = "INSERT INTO events (channel, type, payload) VALUES (%s, %s, %s)"
"""

import json
import sqlite3
import sys

database = sqlite3.connect(sys.argv[1] if len(sys.argv) > 1 else "rowcast.db")
INSERT = "INSERT INTO events (channel, type, payload) VALUES (?, ?, ?)"


def emit(channel, kind, payload):
    """Call it in the transaction that changes your data."""
    database.execute(INSERT, (channel, kind, json.dumps(payload)))


# One transaction: both events are seen, or none is. `with` commits, or rolls back when something is raised.
with database:
    # database.execute("UPDATE tasks SET done = true WHERE id = 't1'")
    emit("tasks", "task.updated", {"id": "t1", "done": True})
    emit("inbox:alice", "task.done", {"task": "t1"})

database.close()
print("inserted two events")
