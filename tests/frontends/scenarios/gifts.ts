import { type Gift, GiftSocket, QueryCache, useRealtimeSync } from "../clients/gifts.js";
import { type Env, same, until } from "./env.js";

export async function gifts(env: Env): Promise<void> {
  const topic = `gift-list:${env.run}`;
  const other = `list-items:${env.run}`;
  const token = await env.token({ sub: "u1", channels: [topic, other, `gift:${env.run}`] });
  const socket = new GiftSocket({ url: `ws://${env.host}/gifts/ws`, getToken: () => token, heartbeatInterval: 2000 });
  const cache = new QueryCache();
  const change = (verb: string, gift: Gift, previous?: Gift, channel = topic) =>
    env.insert({ channel, type: `gift.${verb}`, entity_id: gift.id, actor: "u2", payload: gift, ...(previous && { previous }) });
  const names = () => cache.get(topic).map(({ name, status }) => `${name} (${status})`);

  same(socket.state, "disconnected", "before it is told to connect");
  const leave = useRealtimeSync(socket, cache, topic);
  const statuses: string[] = [];
  socket.subscribe(topic, ({ event, data }) => {
    if (event === "STATUS_CHANGED") statuses.push(`${data.user_id}: ${(data.payload as Gift).status}`);
  });
  socket.connect();
  same(socket.state, "connecting", "while it connects");
  await until("confirmed", () => socket.confirmed.has(topic));
  same(socket.state, "connected", "when it is open");

  const book: Gift = { id: "9", name: "Book", status: "idea" };
  await change("created", book);
  await until("it appears", () => names().length === 1);
  same(names(), ["Book (idea)"], "the list");
  await change("updated", { ...book, name: "Big book" }, book);
  await until("its name changes", () => names()[0] === "Big book (idea)");
  same(statuses, [], "no status has changed");

  // Moved on the board: shown at once; then the server's word comes as an event.
  const bought: Gift = { id: "9", name: "Big book", status: "bought" };
  cache.optimisticUpdate(topic, (old) => old.map((gift) => (gift.id === "9" ? bought : gift)));
  same(names(), ["Big book (bought)"], "shown at once");
  await change("updated", bought, { ...bought, status: "idea" });
  await until("its status changes", () => statuses.length === 1);
  same(statuses, ["u2: bought"], "who changed it to what");
  same(names(), ["Big book (bought)"], "once, not twice");
  const rollback = cache.optimisticUpdate(topic, () => []);
  rollback();
  same(names(), ["Big book (bought)"], "taken back");

  // One gift, two lists that the page shows: each has its own handlers.
  const onlyDeleted = useRealtimeSync(socket, cache, other, ["DELETED"]);
  await until("confirmed", () => socket.confirmed.has(other));
  await change("created", { id: "8", name: "Pen", status: "idea" }, undefined, `${topic} ${other}`);
  await until("it appears", () => names().length === 2);
  same(cache.get(other), [], "additions are filtered there");
  onlyDeleted();
  await until("unsubscribed", () => !socket.confirmed.has(other));

  socket.sendText("nonsense");
  socket.subscribe(`gift-list:${env.run}-secret`, () => {});
  await until("it is told", () => socket.errors.length === 2);
  same(socket.errors, ["Invalid message format", "Forbidden"], "what it is told");
  await until("a pong", () => socket.pongs > 0);

  const stranger = new GiftSocket({ url: `ws://${env.host}/gifts/ws`, getToken: () => null });
  stranger.connect();
  await until("it is closed", () => stranger.lastClose !== null);
  same([stranger.lastClose, stranger.state], [4001, "disconnected"], "who has no token, and does not come back");

  await env.restart();
  await until("it has come back", () => socket.confirmed.has(topic));
  await change("deleted", bought);
  await until("events come again", () => names().length === 1);
  same(names(), ["Pen (idea)"], "the list");
  leave();
  socket.disconnect();
  same(socket.state, "disconnected", "told to disconnect");
}
