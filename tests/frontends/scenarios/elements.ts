import { TaskList } from "../clients/elements.js";
import { type Env, assert, same, until } from "./env.js";

export async function elements(env: Env): Promise<void> {
  const id = (name: string) => `${env.run}-${name}`;
  const task = (name: string, verb: string, payload: object, previous?: object) =>
    env.insert({ channel: "tasks", type: `task.${verb}`, entity_id: id(name), actor: "el-a", payload, ...(previous && { previous }) });
  if (!env.isBrowser) same((await fetch(`http://${env.host}/elements/ws`)).status, 426, "a plain request");
  const errors: string[] = [];
  const inbox = `inbox:${env.run}`;
  const list = new TaskList({
    url: `ws://${env.host}/elements/ws`,
    channels: ["tasks", inbox],
    pingInterval: 2000,
    onError: (code) => errors.push(code),
  });
  const mine = () => [...list.tasks.values()].filter((task) => task.id.startsWith(env.run)).map((task) => task["title"]);
  same(list.realtime.state, "connecting", "before it is open");
  await until("subscribed", () => list.realtime.channels.size === 2);
  same(list.realtime.state, "connected", "when it is open");

  await task("1", "created", { title: "Milk" });
  await until("a task appears", () => mine().includes("Milk"));
  await task("1", "updated", { title: "Oat milk" }, { title: "Milk" });
  await until("it changes", () => mine().includes("Oat milk"));
  same(mine(), ["Oat milk"], "the list");
  await list.create({ id: id("2"), type: "task", title: "Bread" }, () => {
    same(mine(), ["Oat milk", "Bread"], "shown before it is stored");
    return task("2", "created", { title: "Brown bread" });
  });
  await until("the store's word counts", () => mine().includes("Brown bread"));
  const failing = list.create({ id: id("3"), type: "task", title: "Nothing" }, () => Promise.reject(new Error("no")));
  await failing.then(() => assert(false, "it was stored"), () => {});
  same(mine(), ["Oat milk", "Brown bread"], "taken back");
  await task("1", "deleted", {}, { title: "Oat milk" });
  await until("it goes", () => mine().length === 1);

  await env.insert({ channel: inbox, type: "inbox-item.created", entity_id: id("i"), actor: "el-a", payload: { recipientId: env.run } });
  await until("an inbox item", () => list.realtime.lastEvent?.elementType === "inbox-item");
  same(list.realtime.lastEvent?.newValue, { recipientId: env.run }, "its value");
  same(list.realtime.lastEvent?.oldValue, null, "there was none before");

  list.realtime.sendText("{");
  await until("it is told", () => errors.length > 0);
  same(errors, ["INVALID_MESSAGE"], "what it is told");
  await until("a pong", () => list.realtime.pongs > 0);

  list.realtime.unsubscribe("tasks");
  await until("unsubscribed", () => !list.realtime.channels.has("tasks"));
  await task("4", "created", { title: "Not for me" });
  await env.insert({ channel: inbox, type: "inbox-item.created", entity_id: id("j"), actor: "el-a" });
  await until("a later event", () => list.realtime.lastEvent?.elementId === id("j"));
  same(mine(), ["Brown bread"], "after unsubscribing");

  await env.restart();
  await until("it has come back", () => list.realtime.channels.has(inbox) && list.realtime.state === "connected");
  await env.insert({ channel: inbox, type: "inbox-item.created", entity_id: id("k"), actor: "el-a" });
  await until("events come again", () => list.realtime.lastEvent?.elementId === id("k"));
  list.realtime.unmount();
  same(list.realtime.state, "disconnected", "after unmounting");
}
