// A client of nobody in particular: what comes is CloudEvents, and a library that knows nothing of us reads it.

import { CloudEvent } from "cloudevents";

export class CloudEventsClient {
  events: CloudEvent<unknown>[] = [];
  lastClose: { code: number; reason: string } | null = null;
  protocol: string | null = null;
  isSubscribed = false;
  wrong: string[] = [];
  private socket: WebSocket | null = null;
  private known = new Set<string>();
  private cursor: string | null = null;
  private closed = false;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly url: string) {
    this.open();
  }

  private take(event: CloudEvent<unknown>): void {
    if (event.type === "rowcast.subscribed") this.isSubscribed = true;
    // Others of these tell the position only.
    if (event.type.startsWith("rowcast.")) return;
    // The specification: the same source and id is the same event.
    const name = `${event.source} ${event.id}`;
    if (this.known.has(name)) return;
    this.known.add(name);
    this.events.push(event);
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.timer);
    this.socket?.close();
  }

  private open(): void {
    const since = this.cursor === null ? "" : `&since=${this.cursor}`;
    const socket = new WebSocket(this.url + since, "cloudevents.json");
    this.socket = socket;
    socket.onopen = () => {
      this.protocol = socket.protocol;
    };
    socket.onmessage = (message) => {
      try {
        // Strict: it throws where an attribute is missing or not as the specification says.
        const event = new CloudEvent<unknown>(JSON.parse(String(message.data)) as Partial<CloudEvent<unknown>>, true);
        this.take(event);
        const cursor: unknown = event["cursor"];
        if (typeof cursor === "string") this.cursor = cursor;
      } catch (error) {
        this.wrong.push(`${String(error)}: ${String(message.data)}`);
      }
    };
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }) => {
      this.lastClose = { code, reason };
      this.isSubscribed = false;
      if (this.closed || (code >= 4001 && code <= 4003)) return;
      this.timer = setTimeout(() => this.open(), 500 + 500 * Math.random());
    };
  }
}
