// What the page asks its server besides the feed: who it is, who is connected, how it does; and to publish.

/** What the server says of itself, to whoever it lets in. */
export interface Status {
  readonly server: string;
  readonly asksForTokens: boolean;
  readonly user?: string;
  /** What whoever asks may receive, and publish to. */
  readonly channels: readonly string[];
  readonly publish: readonly string[];
  /** Seconds since 1970. */
  readonly expiresAt?: number;
  readonly database: "postgres" | "sqlite";
  readonly insert: string;
  readonly databaseUrl?: string;
  readonly pollIntervalMs: number;
  readonly time: string;
  readonly lookedMsAgo: number;
  /** Since the server started. */
  readonly lag: { readonly batches: number; readonly totalMs: number };
  readonly counters: Readonly<Record<string, number>>;
}

/** One connection of the server. */
export interface Connection {
  readonly id: string;
  readonly user?: string;
  readonly transport: "websocket" | "sse";
  readonly preset: string;
  readonly since: string;
  readonly channels: readonly string[];
  readonly channelCount: number;
  readonly queuedBytes: number;
  readonly state: "no_token" | "idle" | "catching_up" | "live";
}

/** Who is connected, as far as whoever asks may know. */
export interface Connections {
  readonly total: number;
  readonly count?: number;
  readonly connections: readonly Connection[];
  readonly why?: string;
}

/** Clients of each channel or pattern. */
export type Subscribers = Readonly<Record<string, number>>;

/** What is published. */
export interface Draft {
  readonly channel: string;
  readonly type: string;
  readonly payload?: unknown;
  readonly entityId?: string;
  readonly actor?: string;
}

/** The server does not do it; the message is its own. */
export class Refused extends Error {
  /** The status of HTTP; 0 where there was no answer. */
  readonly status: number;
  /** What is wrong with what was sent. */
  readonly problems: readonly string[];

  constructor(status: number, message: string, problems: readonly string[] = []) {
    super(message);
    this.name = "Refused";
    this.status = status;
    this.problems = problems;
  }
}

/** The server of the page, as whoever has this token. */
export class Server {
  readonly token: string | undefined;

  constructor(token: string | undefined) {
    this.token = token;
  }

  async status(signal?: AbortSignal): Promise<Status> {
    return (await this.#ask("console/status", signal)) as Status;
  }

  async connections(signal?: AbortSignal): Promise<Connections> {
    return (await this.#ask("console/connections", signal)) as Connections;
  }

  async subscribers(signal?: AbortSignal): Promise<Subscribers> {
    const answer = (await this.#ask("api/v1/ws/stats", signal)) as {
      data?: { stats?: { clientsPerRoom?: Subscribers } };
    };
    return answer.data?.stats?.clientsPerRoom ?? {};
  }

  /** Publishes one event; gives the number of its row. */
  async publish(draft: Draft): Promise<number | undefined> {
    const answer = (await this.#ask("events", undefined, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(draft),
    })) as { ids?: number[] };
    return answer.ids?.[0];
  }

  async #ask(path: string, signal?: AbortSignal, init: RequestInit = {}): Promise<unknown> {
    const headers = new Headers(init.headers);
    if (this.token) headers.set("authorization", `Bearer ${this.token}`);
    let response: Response;
    try {
      response = await fetch(urlOf(path), { ...init, headers, cache: "no-store", ...(signal && { signal }) });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Refused(0, "The server does not answer.");
    }
    const body = (await response.json().catch(() => ({}))) as { message?: unknown; problems?: unknown };
    if (response.ok) return body;
    const message = typeof body.message === "string" ? body.message : `The server answers ${response.status}.`;
    throw new Refused(response.status, message, problemsOf(body.problems));
  }
}

/** A path of the server. The page is at its root, wherever a proxy has put that. */
export function urlOf(path: string): string {
  return new URL(path, document.baseURI).href;
}

function problemsOf(problems: unknown): string[] {
  if (!Array.isArray(problems)) return [];
  return problems.map((problem: { field?: string; message?: string }) =>
    [problem.field, problem.message].filter(Boolean).join(": "),
  );
}
