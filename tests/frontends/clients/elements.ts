// The element store's front end (document 0): a realtime hook without its framework.

export type ConnectionState = "connecting" | "connected" | "disconnected" | "reconnecting";

export interface ElementEvent {
  id: number;
  elementId: string;
  elementType: string;
  eventType: string;
  actor: string;
  oldValue: Record<string, unknown> | null;
  newValue: Record<string, unknown> | null;
  createdAt: string;
}

type ServerMessage =
  | { type: "subscribed" | "unsubscribed"; channels: string[] }
  | { type: "event"; event: ElementEvent }
  | { type: "pong" }
  | { type: "error"; code: string; message: string };

export interface Element {
  id: string;
  type: string;
  [member: string]: unknown;
}

export interface RealtimeOptions {
  url: string;
  channels?: string[];
  pingInterval?: number;
  onElementCreated?: (element: Element) => void;
  onElementUpdated?: (element: Element) => void;
  onElementDeleted?: (element: Element) => void;
  onEvent?: (event: ElementEvent) => void;
  onError?: (code: string, message: string) => void;
}

export class RealtimeEvents {
  state: ConnectionState = "disconnected";
  lastEvent: ElementEvent | null = null;
  pongs = 0;
  channels = new Set<string>();
  private socket: WebSocket | null = null;
  private attempt = 0;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private ping: ReturnType<typeof setInterval> | undefined;
  private mounted = true;
  private wanted: Set<string>;

  constructor(private readonly options: RealtimeOptions) {
    this.wanted = new Set(options.channels ?? ["*"]);
    this.open("connecting");
  }

  /** What the hook does when its component goes. */
  unmount(): void {
    this.mounted = false;
    clearTimeout(this.retry);
    clearInterval(this.ping);
    this.socket?.close();
    this.state = "disconnected";
  }

  unsubscribe(...channels: string[]): void {
    for (const channel of channels) this.wanted.delete(channel);
    this.send({ type: "unsubscribe", channels });
  }

  /** For bugs of a page: whatever it sends. */
  sendText(text: string): void {
    this.socket?.send(text);
  }

  private send(message: object): void {
    this.sendText(JSON.stringify(message));
  }

  private open(state: ConnectionState): void {
    this.state = state;
    const socket = new WebSocket(this.options.url);
    this.socket = socket;
    socket.onopen = () => {
      this.state = "connected";
      this.attempt = 0;
      this.send({ type: "subscribe", channels: [...this.wanted] });
      this.ping = setInterval(() => this.send({ type: "ping" }), this.options.pingInterval ?? 30_000);
    };
    socket.onmessage = (message) => this.receive(JSON.parse(String(message.data)) as ServerMessage);
    socket.onclose = () => {
      clearInterval(this.ping);
      this.channels.clear();
      if (!this.mounted) return;
      this.state = "reconnecting";
      const delay = Math.min(1000 * 2 ** this.attempt++, 30_000);
      this.retry = setTimeout(() => this.open("reconnecting"), delay);
    };
    socket.onerror = () => {};
  }

  private receive(message: ServerMessage): void {
    switch (message.type) {
      case "subscribed":
        for (const channel of message.channels) this.channels.add(channel);
        break;
      case "unsubscribed":
        for (const channel of message.channels) this.channels.delete(channel);
        break;
      case "pong":
        this.pongs += 1;
        break;
      case "error":
        this.options.onError?.(message.code, message.message);
        break;
      case "event":
        this.deliver(message.event);
        break;
    }
  }

  private deliver(event: ElementEvent): void {
    this.lastEvent = event;
    this.options.onEvent?.(event);
    const element = { ...(event.newValue ?? event.oldValue), id: event.elementId, type: event.elementType };
    if (event.eventType === "created") this.options.onElementCreated?.(element);
    else if (event.eventType === "deleted") this.options.onElementDeleted?.(element);
    else this.options.onElementUpdated?.(element);
  }
}

/** What the page shows: the tasks as a query has them, and what an optimistic mutation makes of them until it settles. */
export class TaskList {
  tasks = new Map<string, Element>();
  readonly realtime: RealtimeEvents;

  constructor(options: RealtimeOptions) {
    const set = (element: Element) => {
      if (element.type === "task") this.tasks.set(element.id, element);
    };
    this.realtime = new RealtimeEvents({
      ...options,
      onElementCreated: set,
      onElementUpdated: set,
      onElementDeleted: (element) => this.tasks.delete(element.id),
    });
  }

  titles(): unknown[] {
    return [...this.tasks.values()].map((task) => task["title"]);
  }

  /** Shows a task before it is stored; takes it back when it cannot be. */
  async create(task: Element, store: () => Promise<void>): Promise<void> {
    const previous = new Map(this.tasks);
    this.tasks.set(task.id, task);
    try {
      await store();
    } catch (error) {
      this.tasks = previous;
      throw error;
    }
  }
}
