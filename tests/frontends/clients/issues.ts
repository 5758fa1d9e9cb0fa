// The issue tracker's front end (document 3): rooms, a store of issues, a ping every 25 s.

export interface Message<T = Record<string, unknown>> {
  type: string;
  payload: T;
  timestamp: string;
  userId?: string;
}

export interface Issue {
  id: string;
  title: string;
  status: string;
  [member: string]: unknown;
}

const RECONNECT_MS = 5000;
/** Who is refused comes back with another token only. */
const POLICY_VIOLATION = 1008;

export class IssueTracker {
  issues = new Map<string, Issue>();
  comments: string[] = [];
  typing = new Set<string>();
  received: string[] = [];
  errors: { code: string; message: string }[] = [];
  acknowledged: string | null = null;
  pongs = 0;
  connected = false;
  lastClose: { code: number; reason: string } | null = null;
  private socket: WebSocket | null = null;
  private rooms = new Set<string>();
  private ping: ReturnType<typeof setInterval> | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private closed = false;

  constructor(private readonly url: string, private readonly token: string | null, private readonly pingMs = 25_000) {
    this.open();
  }

  private open(): void {
    const socket = new WebSocket(this.token === null ? this.url : `${this.url}?token=${this.token}`);
    this.socket = socket;
    socket.onmessage = (message) => this.receive(JSON.parse(String(message.data)) as Message);
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }) => {
      clearInterval(this.ping);
      this.connected = false;
      this.lastClose = { code, reason };
      if (this.closed || code === POLICY_VIOLATION) return;
      this.timer = setTimeout(() => this.open(), RECONNECT_MS);
    };
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.timer);
    this.socket?.close();
  }

  subscribe(...rooms: string[]): void {
    for (const room of rooms) this.rooms.add(room);
    if (this.connected) this.send({ action: "subscribe", rooms });
  }

  unsubscribe(...rooms: string[]): void {
    for (const room of rooms) this.rooms.delete(room);
    if (this.connected) this.send({ action: "unsubscribe", rooms });
  }

  /** Asks whether the server is there; what was said before has been heard when it answers. */
  askForPong(): void {
    this.send({ type: "ping" });
  }

  sendText(text: string): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(text);
  }

  private send(message: object): void {
    this.sendText(JSON.stringify(message));
  }

  private receive({ type, payload }: Message): void {
    if (type === "connection.ack") return this.acknowledge(payload);
    if (type === "error") {
      this.errors.push(payload as { code: string; message: string });
      return;
    }
    this.received.push(type);
    switch (type) {
      case "issue.created":
        this.issues.set(String(payload["id"]), payload as Issue);
        break;
      case "issue.updated": {
        const issue = this.issues.get(String(payload["id"]));
        if (issue !== undefined) Object.assign(issue, payload["changes"]);
        break;
      }
      case "issue.deleted":
      case "issue.archived":
        this.issues.delete(String(payload["id"]));
        break;
      case "comment.created":
        this.comments.push(String(payload["body"]));
        break;
      case "user.typing":
        this.typing.add(String(payload["userId"]));
        break;
    }
  }

  private acknowledge(payload: Record<string, unknown>): void {
    if (payload["message"] === "pong") {
      this.pongs += 1;
      return;
    }
    this.connected = true;
    this.acknowledged = String(payload["userId"]);
    if (this.rooms.size > 0) this.send({ action: "subscribe", rooms: [...this.rooms] });
    this.ping = setInterval(() => this.askForPong(), this.pingMs);
  }
}

/** What the page of statistics shows. */
export interface Statistics {
  data: { stats: { totalClients: number; totalRooms: number; clientsPerRoom: Record<string, number> }; timestamp: string };
}
