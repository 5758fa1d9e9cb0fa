import { IssueTracker, type Statistics } from "../clients/issues.js";
import { type Env, assert, same, until } from "./env.js";

/** As the document has it. */
const MESSAGES_PER_MINUTE = 100;

export async function issues(env: Env): Promise<void> {
  const [team, issue] = [`team:${env.run}`, `issue:${env.run}-1`];
  const url = `ws://${env.host}/issues/ws`;
  const token = await env.token({ sub: "u1", channels: [team, issue, `${team}-2`] });
  const tracker = new IssueTracker(url, token);
  const emit = (channel: string, type: string, payload: object) => env.insert({ channel, type, actor: "u2", payload });
  const heard = async () => {
    const before = tracker.pongs;
    tracker.askForPong();
    await until("a pong", () => tracker.pongs > before);
  };
  await until("it is greeted", () => tracker.connected);
  same(tracker.acknowledged, "u1", "as whom");

  tracker.subscribe(team, issue);
  await heard();
  await emit(`${team}-2`, "issue.created", { id: "x", title: "Of another team", status: "todo" });
  await emit(team, "issue.created", { id: "1", identifier: "LIN-1", title: "Bug", teamId: env.run, status: "todo", priority: 1 });
  await until("an issue appears", () => tracker.issues.size > 0);
  // The client is in both rooms.
  await emit(`${team} ${issue}`, "issue.updated", { id: "1", teamId: env.run, changes: { status: "done" }, userId: "u2" });
  await emit(`${team} ${issue}`, "comment.created", { id: "c", issueId: "1", body: "Well done" });
  await emit(issue, "user.typing", { userId: "u3", issueId: "1" });
  await until("somebody types", () => tracker.typing.has("u3"));
  same([...tracker.issues.values()].map(({ title, status }) => [title, status]), [["Bug", "done"]], "the board");
  same(tracker.comments, ["Well done"], "each comment once");
  same(tracker.received, ["issue.created", "issue.updated", "comment.created", "user.typing"], "each event once");

  tracker.unsubscribe(issue);
  await heard();
  await emit(issue, "comment.created", { id: "d", issueId: "1", body: "Not for me" });
  await emit(`${team} ${issue}`, "issue.deleted", { id: "1", teamId: env.run });
  await until("the issue goes", () => tracker.issues.size === 0);
  same(tracker.comments, ["Well done"], "after leaving the room");

  tracker.sendText("nonsense");
  tracker.subscribe("team:secret");
  await until("it is told", () => tracker.errors.length === 2);
  same(tracker.errors.map(({ code }) => code), ["INVALID_MESSAGE", "FORBIDDEN"], "what it is told");
  assert(tracker.errors.every(({ message }) => message.length > 0), "and why");

  let statistics: Statistics | undefined;
  await until("the room is counted", async () => {
    statistics = (await env.statistics(token, "")) as Statistics;
    return statistics.data.stats.clientsPerRoom[team] === 1;
  });
  const { totalClients, totalRooms } = statistics?.data.stats ?? { totalClients: 0, totalRooms: 0 };
  assert(totalClients >= 1 && totalRooms >= 1, "all are counted");
  assert(!Number.isNaN(Date.parse(statistics?.data.timestamp ?? "")), "when");

  const loud = new IssueTracker(url, token);
  await until("greeted", () => loud.connected);
  for (let n = 0; n <= MESSAGES_PER_MINUTE; n += 1) loud.askForPong();
  // What is refused is refused at once, before the last answers.
  await until("it is told to be quiet", () => loud.errors.length > 0 && loud.pongs >= MESSAGES_PER_MINUTE);
  same([loud.errors.map(({ code }) => code), loud.pongs], [["RATE_LIMIT_EXCEEDED"], MESSAGES_PER_MINUTE], "each is answered");
  same(loud.connected, true, "it stays connected");
  loud.close();

  for (const bad of [null, await env.token({ sub: "u1", expires_in_s: -600 })]) {
    const stranger = new IssueTracker(url, bad);
    await until("it is closed", () => stranger.lastClose !== null);
    same([stranger.lastClose?.code, stranger.connected], [1008, false], "who is not let in");
    assert((stranger.lastClose?.reason ?? "") !== "", "and why");
  }

  await env.restart();
  await until("it has come back", () => tracker.connected);
  await heard();
  await emit(team, "issue.created", { id: "2", title: "Another", status: "todo" });
  await until("events come again", () => tracker.issues.has("2"));
  tracker.close();
}
