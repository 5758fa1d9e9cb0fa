// Events from Node.
//
//     npm install --no-save better-sqlite3
//     node examples/insert.js                       # into ./rowcast.db
//     node examples/insert.js path/to/file.db
//
// The tables are there once rowcast was started, or `rowcast migrate` was run.
//
// With Postgres (npm install pg), within the transaction that changes your data:
//
//     const client = new (require("pg").Client)(process.env.DATABASE_URL);
//     await client.connect();
//     await client.query(
//       "INSERT INTO events (channel, type, payload) VALUES ($1, $2, $3)",
//       ["tasks", "task.updated", { id: "t1", done: true }],
//     );

const Database = require("better-sqlite3");

const database = new Database(process.argv[2] ?? "rowcast.db", { fileMustExist: true });
const insert = database.prepare("INSERT INTO events (channel, type, payload) VALUES (?, ?, ?)");

// One transaction: both events are seen, or none is.
const finishTask = database.transaction((task, user) => {
  // database.prepare("UPDATE tasks SET done = true WHERE id = ?").run(task);
  insert.run("tasks", "task.updated", JSON.stringify({ id: task, done: true }));
  insert.run(`inbox:${user}`, "task.done", JSON.stringify({ task }));
});

finishTask("t1", "alice");
database.close();
console.log("inserted two events");
