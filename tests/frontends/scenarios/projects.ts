import { ProjectTasks } from "../clients/projects.js";
import { type Env, assert, same, until } from "./env.js";

export async function projects(env: Env): Promise<void> {
  const project = env.run;
  const base = `ws://${env.host}`;
  const token = await env.token({ sub: "u1", channels: [`project:${project}`] });
  // A page has it in a cookie, which it cannot read.
  if (env.isBrowser) await fetch("/login", { method: "POST", body: token });
  const open = (id: string) => new ProjectTasks(base, id, env.isBrowser ? null : token);
  const emit = (type: string, id: string, payload: object, of = project) =>
    env.insert({ channel: `project:${of}`, type, entity_id: id, actor: "u2", payload });
  const list = open(project);
  const shown = () => list.tasks.map(({ id, title, status }) => `${id} ${title} (${status})`);
  same(list.status, "Disconnected", "before it is open");
  await until("it is let in", async () => {
    // Nothing greets it: it is in when it is counted.
    assert(list.lastClose === null, `closed: ${JSON.stringify(list.lastClose)}`);
    const { status, project_id, client_count } = (await env.statistics(token, `project_id=${project}`)) as Record<string, unknown>;
    same([status, project_id], ["ok", project], "the statistics");
    return client_count === 1;
  });
  same(list.status, "Connected", "when it is open");

  await emit("task.created", "TASK-1", { id: "TASK-1", title: "New Task", status: "open", markdown_body: "…" });
  await emit("task.created", "TASK-9", { id: "TASK-9", title: "Elsewhere", status: "open" }, `${project}-2`);
  await emit("task.created", "TASK-2", { id: "TASK-2", title: "Second", status: "open" });
  await emit("task.updated", "TASK-1", { id: "TASK-1", title: "Updated Task", status: "in_progress" });
  await until("it changes", () => shown().includes("TASK-1 Updated Task (in_progress)"));
  same(shown(), ["TASK-1 Updated Task (in_progress)", "TASK-2 Second (open)"], "the list, without the other project's");
  await emit("task.deleted", "TASK-1", { id: "TASK-1" });
  await until("it goes", () => list.tasks.length === 1);
  same(shown(), ["TASK-2 Second (open)"], "the list");
  same(list.unknown, [], "nothing that the document does not name");

  const other = open(`${project}-2`);
  await until("it is closed", () => other.lastClose !== null);
  same([other.lastClose?.code, other.status], [4003, "Disconnected"], "a project that is not granted");
  const expired = await env.token({ sub: "u1", channels: [`project:${project}`], expires_in_s: -600 });
  const late = new ProjectTasks(base, project, expired);
  await until("it is closed", () => late.lastClose !== null);
  same([late.lastClose?.code, late.status], [4001, "Disconnected"], "an expired token");

  await env.restart();
  await until("it has come back", async () => {
    const { client_count } = (await env.statistics(token, `project_id=${project}`)) as Record<string, unknown>;
    return client_count === 1 && list.isConnected;
  });
  await emit("task.created", "TASK-3", { id: "TASK-3", title: "Third", status: "open" });
  await until("events come again", () => list.tasks.length === 2);
  same(shown(), ["TASK-2 Second (open)", "TASK-3 Third (open)"], "the list");
  list.unmount();
}
