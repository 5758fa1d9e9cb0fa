// The planner's front end (document 1): a stream of the user's events that invalidates queries.

export type PlannerEventType =
  | "task:created" | "task:updated" | "task:deleted" | "task:completed" | "task:reordered"
  | "timeblock:created" | "timeblock:updated" | "timeblock:deleted"
  | "user:updated" | "connected";

export interface PlannerEvent<T = unknown> {
  type: PlannerEventType;
  payload: T;
  timestamp: string;
}

type Handler = (event: PlannerEvent) => void;

const MAX_ATTEMPTS = 10;
const FIRST_DELAY_MS = 1000;
const LAST_DELAY_MS = 30_000;
/** Upon which the client does not come back. */
const UNAUTHORIZED = 4001;

export class WebSocketClient {
  lastClose: { code: number; reason: string } | null = null;
  reconnectAttempts = 0;
  private ws: WebSocket | null = null;
  private token: string | null = null;
  private handlers = new Set<Handler>();
  private timer: ReturnType<typeof setTimeout> | null = null;
  private isIntentionallyClosed = false;

  constructor(private readonly base: string) {}

  connect(token: string): void {
    this.token = token;
    this.isIntentionallyClosed = false;
    this.open();
  }

  private open(): void {
    if (this.token === null) return;
    const ws = new WebSocket(`${this.base}/ws?token=${encodeURIComponent(this.token)}`);
    this.ws = ws;
    ws.onopen = () => {
      this.reconnectAttempts = 0;
    };
    ws.onmessage = (message) => {
      const event = JSON.parse(String(message.data)) as PlannerEvent;
      for (const handler of this.handlers) handler(event);
    };
    ws.onclose = ({ code, reason }) => {
      this.lastClose = { code, reason };
      if (!this.isIntentionallyClosed && code !== UNAUTHORIZED) this.scheduleReconnect();
    };
    ws.onerror = () => {};
  }

  private scheduleReconnect(): void {
    if (this.reconnectAttempts >= MAX_ATTEMPTS || this.timer !== null) return;
    const delay = Math.min(FIRST_DELAY_MS * 2 ** this.reconnectAttempts, LAST_DELAY_MS);
    this.timer = setTimeout(() => {
      this.timer = null;
      this.reconnectAttempts += 1;
      this.open();
    }, delay);
  }

  get isWaitingToReconnect(): boolean {
    return this.timer !== null;
  }

  disconnect(): void {
    this.isIntentionallyClosed = true;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.ws?.close(1000, "User disconnected");
    this.ws = null;
    this.token = null;
    this.reconnectAttempts = 0;
  }

  subscribe(handler: Handler): () => void {
    this.handlers.add(handler);
    return () => this.handlers.delete(handler);
  }

  isConnected(): boolean {
    return this.ws?.readyState === WebSocket.OPEN;
  }
}

/** Which queries are stale, as the hook tells them to the query client. */
export function invalidated(event: PlannerEvent): string[] {
  const member = (name: string): string[] => {
    const payload = event.payload;
    if (typeof payload !== "object" || payload === null || !(name in payload)) return [];
    return [String((payload as Record<string, unknown>)[name])];
  };
  switch (event.type) {
    case "task:created":
    case "task:updated":
    case "task:deleted":
    case "task:completed":
    case "task:reordered":
      return ["tasks", ...member("taskId").map((id) => `task ${id}`)];
    case "timeblock:created":
    case "timeblock:updated":
    case "timeblock:deleted":
      return ["timeblocks", ...member("timeBlockId").map((id) => `timeblock ${id}`)];
    case "user:updated":
      return ["me"];
    case "connected":
      return [];
  }
}
