// The gift lists' front end (document 2): handlers by topic, a cache of queries, optimistic updates.

export type WSConnectionState = "connecting" | "connected" | "reconnecting" | "disconnected" | "error";
export type WSEventType = "ADDED" | "UPDATED" | "DELETED" | "STATUS_CHANGED";

export interface WSEvent<T = unknown> {
  topic: string;
  event: WSEventType;
  data: { entity_id: string; payload: T; user_id: string; timestamp: string };
  trace_id?: string;
}

type ServerMessage = WSEvent | { action: "subscribed" | "unsubscribed"; topic: string } | { action: "pong" } | { error: string; details?: string };

export interface GiftSocketOptions {
  url: string;
  getToken: () => string | null;
  reconnectInterval?: number;
  reconnectMaxInterval?: number;
  heartbeatInterval?: number;
}

export class GiftSocket {
  state: WSConnectionState = "disconnected";
  pongs = 0;
  errors: string[] = [];
  lastClose: number | null = null;
  confirmed = new Set<string>();
  private ws: WebSocket | null = null;
  private handlers = new Map<string, Set<(event: WSEvent) => void>>();
  private attempt = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private heartbeat: ReturnType<typeof setInterval> | undefined;
  private manual = false;

  constructor(private readonly options: GiftSocketOptions) {}

  connect(): void {
    this.manual = false;
    const token = this.options.getToken();
    this.state = this.attempt === 0 ? "connecting" : "reconnecting";
    const ws = new WebSocket(token === null ? this.options.url : `${this.options.url}?token=${token}`);
    this.ws = ws;
    ws.onopen = () => {
      this.state = "connected";
      this.attempt = 0;
      for (const topic of this.handlers.keys()) this.send({ action: "subscribe", topic });
      this.heartbeat = setInterval(() => this.send({ action: "ping" }), this.options.heartbeatInterval ?? 30_000);
    };
    ws.onmessage = (message) => this.receive(JSON.parse(String(message.data)) as ServerMessage);
    ws.onerror = () => {
      if (this.state === "connecting") this.state = "error";
    };
    ws.onclose = ({ code }) => {
      clearInterval(this.heartbeat);
      this.confirmed.clear();
      this.lastClose = code;
      if (this.manual) return;
      if (code === 4001) {
        // Nothing changes by asking again: the user has to log in.
        this.state = "disconnected";
        return;
      }
      this.state = "reconnecting";
      const first = this.options.reconnectInterval ?? 5000;
      const delay = Math.min(first * 2 ** this.attempt++, this.options.reconnectMaxInterval ?? 20_000);
      this.timer = setTimeout(() => this.connect(), delay);
    };
  }

  disconnect(): void {
    this.manual = true;
    clearTimeout(this.timer);
    this.ws?.close();
    this.state = "disconnected";
  }

  subscribe(topic: string, handler: (event: WSEvent) => void): () => void {
    const handlers = this.handlers.get(topic) ?? new Set();
    if (handlers.size === 0) {
      this.handlers.set(topic, handlers);
      this.send({ action: "subscribe", topic });
    }
    handlers.add(handler);
    return () => {
      handlers.delete(handler);
      if (handlers.size > 0 || !this.handlers.delete(topic)) return;
      this.send({ action: "unsubscribe", topic });
    };
  }

  sendText(text: string): void {
    if (this.ws?.readyState === WebSocket.OPEN) this.ws.send(text);
  }

  private send(message: object): void {
    this.sendText(JSON.stringify(message));
  }

  private receive(message: ServerMessage): void {
    if ("error" in message) this.errors.push(message.error);
    else if ("event" in message) this.handlers.get(message.topic)?.forEach((handler) => handler(message));
    else if (message.action === "pong") this.pongs += 1;
    else if (message.action === "subscribed") this.confirmed.add(message.topic);
    else this.confirmed.delete(message.topic);
  }
}

export interface Gift {
  id: string;
  name: string;
  status: string;
}

/** The cache of queries. */
export class QueryCache {
  private data = new Map<string, Gift[]>();

  get(key: string): Gift[] {
    return this.data.get(key) ?? [];
  }

  set(key: string, update: (old: Gift[]) => Gift[]): void {
    this.data.set(key, update(this.get(key)));
  }

  /** Changes the cache at once; what it gives takes the change back. */
  optimisticUpdate(key: string, update: (old: Gift[]) => Gift[]): () => void {
    const before = this.get(key);
    this.set(key, update);
    return () => this.set(key, () => before);
  }
}

/** Keeps a list up to date by what comes on its topic. */
export function useRealtimeSync(socket: GiftSocket, cache: QueryCache, topic: string, events?: WSEventType[]): () => void {
  return socket.subscribe(topic, (event) => {
    if (events !== undefined && !events.includes(event.event)) return;
    const gift = event.data.payload as Gift;
    const id = event.data.entity_id;
    cache.set(topic, (old) => {
      const others = old.filter((other) => other.id !== id);
      return event.event === "DELETED" ? others : [...others, gift];
    });
  });
}
