// The project's task list (document 4): the project is in the path, and the page only listens.

export interface Task {
  id: string;
  title: string;
  status: string;
  markdown_body?: string;
}

export type TaskMessage =
  | { type: "task.created" | "task.updated"; project_id: string; task_id: string; data: Task }
  | { type: "task.deleted"; project_id: string; task_id: string; data: { id: string } };

/** Comes back by itself, as the document recommends; not where it is not let in. */
const REFUSED = [4001, 4003];

export class ProjectTasks {
  tasks: Task[] = [];
  isConnected = false;
  unknown: string[] = [];
  lastClose: { code: number; reason: string } | null = null;
  private socket: WebSocket | null = null;
  private attempt = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private unmounted = false;

  constructor(private readonly base: string, private readonly projectId: string, private readonly token: string | null) {
    this.open();
  }

  get status(): string {
    return this.isConnected ? "Connected" : "Disconnected";
  }

  unmount(): void {
    this.unmounted = true;
    clearTimeout(this.timer);
    this.socket?.close();
  }

  private open(): void {
    const url = `${this.base}/api/v1/projects/${this.projectId}/ws`;
    const socket = new WebSocket(this.token === null ? url : `${url}?token=${this.token}`);
    this.socket = socket;
    socket.onopen = () => {
      this.isConnected = true;
      this.attempt = 0;
    };
    socket.onmessage = (message) => this.receive(JSON.parse(String(message.data)) as TaskMessage);
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }) => {
      this.isConnected = false;
      this.lastClose = { code, reason };
      if (this.unmounted || REFUSED.includes(code)) return;
      this.timer = setTimeout(() => this.open(), Math.min(500 * 2 ** this.attempt++, 30_000));
    };
  }

  private receive(message: TaskMessage): void {
    switch (message.type) {
      case "task.created":
        this.tasks = [...this.tasks, message.data];
        break;
      case "task.updated":
        this.tasks = this.tasks.map((task) => (task.id === message.task_id ? message.data : task));
        break;
      case "task.deleted":
        this.tasks = this.tasks.filter((task) => task.id !== message.task_id);
        break;
      default:
        this.unknown.push((message as { type: string }).type);
    }
  }
}
