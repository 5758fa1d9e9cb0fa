import { type PlannerEvent, WebSocketClient, invalidated } from "../clients/planner.js";
import { type Env, same, until } from "./env.js";

export async function planner(env: Env): Promise<void> {
  const me = `${env.run}-u1`;
  const base = `ws://${env.host}/planner`;
  const tab = () => {
    const client = new WebSocketClient(base);
    const events: PlannerEvent[] = [];
    client.subscribe((event) => events.push(event));
    const queries = () => events.flatMap(invalidated);
    return { client, events, queries };
  };
  const emit = (type: string, payload: object, user = me) =>
    env.insert({ channel: `user:${user}`, type, actor: user, payload });

  const [a, b] = [tab(), tab()];
  const token = await env.token({ sub: me });
  a.client.connect(token);
  b.client.connect(token);
  await until("both tabs are greeted", () => a.events.length === 1 && b.events.length === 1);
  same([a.events[0]?.type, a.events[0]?.payload], ["connected", { userId: me }], "the greeting");

  await emit("task.created", { taskId: "t1", scheduledDate: null }, `${env.run}-u2`);
  await emit("task.created", { taskId: "t1", scheduledDate: "2026-01-02" });
  await emit("task.completed", { taskId: "t1", scheduledDate: "2026-01-02" });
  await emit("task.reordered", { date: "backlog", taskIds: ["t2", "t1"] });
  await emit("timeblock.updated", { timeBlockId: "b1", date: "2026-01-02" });
  await emit("user.updated", { fields: ["name"] });
  for (const { events, queries } of [a, b]) {
    await until("everything of this user", () => events.length === 6);
    const types = ["connected", "task:created", "task:completed", "task:reordered", "timeblock:updated", "user:updated"];
    same(events.map((event) => event.type), types, "in order, and nobody else's");
    const stale = ["tasks", "task t1", "tasks", "task t1", "tasks", "timeblocks", "timeblock b1", "me"];
    same(queries(), stale, "what is fetched anew");
    same(events.every((event) => !Number.isNaN(Date.parse(event.timestamp))), true, "each has a time");
  }

  // The user logs out in one tab.
  b.client.disconnect();
  await emit("task.updated", { taskId: "t1", scheduledDate: null });
  await until("the other goes on", () => a.events.length === 7);
  same([b.events.length, b.client.isConnected()], [6, false], "after logging out");

  const out = tab();
  out.client.connect(await env.token({ sub: me, expires_in_s: -600 }));
  await until("it is closed", () => out.client.lastClose !== null);
  same(out.client.lastClose?.code, 4001, "an expired token");
  same(out.client.isWaitingToReconnect, false, "it does not come back");
  same(out.events, [], "it is not greeted");

  await env.restart();
  await until("it has come back", () => a.client.isConnected() && a.events.filter(({ type }) => type === "connected").length === 2);
  same(a.client.reconnectAttempts, 0, "attempts are counted anew");
  await emit("task.deleted", { taskId: "t1", scheduledDate: null });
  await until("events come again", () => a.events.at(-1)?.type === "task:deleted");
  a.client.disconnect();
  same(b.events.length, 6, "who has logged out hears nothing more");
}
