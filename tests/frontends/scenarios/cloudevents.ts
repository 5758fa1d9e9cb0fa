import { CloudEventsClient } from "../clients/cloudevents.js";
import { type Env, same, until } from "./env.js";

export async function cloudevents(env: Env): Promise<void> {
  const channels = [`orders:${env.run}`, `parcels:${env.run}`];
  const token = await env.token({ sub: "u1", channels });
  const url = `ws://${env.host}/cloudevents?token=${token}`;
  const client = new CloudEventsClient(`${url}&channels=${channels.join(",")}`);
  await until("subscribed", () => client.isSubscribed);
  same(client.protocol, "cloudevents.json", "the subprotocol");
  await env.insert({ channel: channels.join(" "), type: "order.shipped", entity_id: "o1", actor: "ann", payload: { parcel: "p1" } });
  await until("an event", () => client.events.length > 0);
  const [event] = client.events;
  same([event?.specversion, event?.type, event?.subject, event?.source], ["1.0", "order.shipped", "o1", "/rowcast"], "its attributes");
  same([event?.["actor"], event?.["channels"]], ["ann", channels.join(" ")], "its extensions");
  same([event?.datacontenttype, event?.data], ["application/json", { parcel: "p1" }], "its data");

  const greedy = new CloudEventsClient(`${url}&channels=orders:${env.run},inbox:bob`);
  await until("it is closed", () => greedy.lastClose !== null);
  same(greedy.lastClose?.code, 4003, "what is not granted");
  const late = new CloudEventsClient(`ws://${env.host}/cloudevents?channels=${channels[0]}&token=${await env.token({ expires_in_s: -600 })}`);
  await until("it is closed", () => late.lastClose !== null);
  same(late.lastClose?.code, 4001, "an expired token");

  await env.insert({ channel: `orders:${env.run}-2`, type: "order.shipped" });
  const away = env.restart();
  await env.insert({ channel: channels[0] ?? "", type: "order.paid", entity_id: "o1" });
  await away;
  await env.insert({ channel: channels[1] ?? "", type: "parcel.lost", entity_id: "p1" });
  await until("all events", () => client.events.length === 3);
  same(client.events.map(({ type }) => type), ["order.shipped", "order.paid", "parcel.lost"], "each once, in order");
  same(new Set(client.events.map(({ id }) => id)).size, 3, "each has an id of its own");
  same(client.wrong, [], "what is no CloudEvent");
  client.close();
}
