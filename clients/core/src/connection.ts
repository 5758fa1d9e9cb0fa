// The connection: when there is a link, by which transport, and for how long. Knows no channels.

import { backoffMs } from "./backoff.js";
import { type Debug, withoutTokens } from "./debug.js";
import { rowcastError, wordsOf } from "./error.js";
import { createHeartbeat } from "./heartbeat.js";
import { webSocket } from "./socket.js";
import { createTimer } from "./timer.js";
import { createTokens } from "./token.js";
import type { ClientFrame, Link, LinkEnd, LinkListener, ServerFrame, Transport } from "./transport.js";
import { BETTER_MS, createTransports, type Transports } from "./transports.js";
import type { ClientOptions, Environment, LifecycleChange, RowcastError, Status, TokenReason, Undo } from "./types.js";
import { socketUrl } from "./url.js";

/** A connection that has lasted this long is a success, in milliseconds. */
const STABLE_MS = 5_000;
/** A fresh token is asked for so long before the old one expires, in milliseconds. */
const RENEW_AHEAD_MS = 60_000;
/** But not sooner after the last one, whatever the clocks say, in milliseconds. */
const RENEW_MIN_MS = 30_000;

/** Closed as the token is refused. */
const REFUSED = [4001, 4003];
/** Closed as the client is not understood: it would not be the next time. */
const MISTAKES = [1002, 1007, 1009, 4400];

/** What a connection tells the rest of the client. */
export interface ConnectionPort {
  readonly status: (status: Status) => void;
  readonly error: (error: RowcastError) => void;
  /** A link is there; what to say on it first. */
  readonly hello: (token: string | undefined) => ClientFrame;
  /** The server has welcomed the client. */
  readonly welcomed: () => void;
  readonly frame: (frame: ServerFrame) => void;
  /** A fresh token is to be sent; gives the id of the request. */
  readonly authenticate: (token: string) => number;
  /** The link has ended. */
  readonly lost: () => void;
  /** What was refused may be granted now. */
  readonly forgive: () => void;
}

export interface Connection {
  readonly status: () => Status;
  /** Wants it. It opens, unless it has failed for good. */
  start(): void;
  /** The same, at once and whatever has happened. */
  connect(): void;
  /** Wants it no more. */
  stop(): void;
  send(frame: ClientFrame): void;
  /** Runs something later, if the link is the same. */
  later(run: () => void, inMs: number): void;
}

/** One attempt, and the link that it leads to. */
interface Attempt {
  link?: Link;
  transport?: Transport;
  token?: string | undefined;
  isConnected: boolean;
  /** What the server said of the end to come. */
  goodbye?: ServerFrame;
  /** When to come back, should it be closed for too many messages. */
  limitMs?: number;
  /** Attempts to get a fresh token; the request that sent it. */
  renewals: number;
  authId?: number;
}

export function createConnection(
  options: ClientOptions,
  environment: Environment,
  debug: Debug,
  port: ConnectionPort,
): Connection {
  const { reconnectInterval = 1_000, reconnectMaxInterval = 30_000, maxRetries = Infinity } = options;
  const { heartbeatInterval = 30_000, connectTimeout = 10_000, hiddenTimeout } = options;
  const { lifecycle, random } = environment;
  const tokens = options.getToken && createTokens(options.getToken);
  const retry = createTimer();
  const deadline = createTimer();
  const stable = createTimer();
  const renewal = createTimer();
  const upgrade = createTimer();
  const hiding = createTimer();
  const heartbeat = createHeartbeat(
    heartbeatInterval,
    () => send({ type: "ping" }),
    () => current && ended(current, { code: 4408, reason: "nothing was heard of the server" }, "TIMEOUT"),
  );
  let status: Status = {
    state: "disconnected",
    attempt: 0,
    retryInMs: undefined,
    transport: undefined,
    isOnline: true,
    error: undefined,
  };
  let transports: Transports | undefined;
  let url = "";
  /** What there is, or is tried; and what may take its place. */
  let current: Attempt | undefined;
  let probe: Attempt | undefined;
  let isWanted = false;
  let isSuspended = false;
  /** Nothing is tried any more before `connect()`. */
  let isOver = false;
  let wasConnected = false;
  let reason: TokenReason = "connect";
  let lastToken: string | undefined;
  let userId: unknown;
  /** The server does not want to see the client before. */
  let notBefore = 0;
  let unlisten: Undo | undefined;

  function change(changes: Partial<Status>): void {
    const next = { ...status, ...changes };
    const isSame = (Object.keys(next) as (keyof Status)[]).every((key) => next[key] === status[key]);
    if (isSame) return;
    status = next;
    debug(next.state, next);
    port.status(next);
  }

  function attempt(): void {
    retry.clear();
    if (!isWanted || isOver || isSuspended || current) return;
    const mine: Attempt = { isConnected: false, renewals: 0 };
    current = mine;
    change({ state: wasConnected || status.attempt ? "reconnecting" : "connecting", retryInMs: undefined });
    // Whoever is told may have changed his mind.
    if (mine !== current) return;
    deadline.set(() => {
      tokens?.forget();
      ended(mine, { code: 4408, reason: `no connection within ${connectTimeout} ms` }, "TIMEOUT");
    }, connectTimeout);
    if (!tokens) return open(mine, undefined);
    tokens.ask(reason).then(
      (token) => {
        if (mine === current) open(mine, token);
      },
      (thrown) => {
        if (mine === current) ended(mine, { code: 0, reason: `getToken failed: ${wordsOf(thrown)}` }, "TOKEN");
      },
    );
  }

  function open(mine: Attempt, token: string | undefined): void {
    if (reason === "refused" && token === lastToken) return giveUp(status.error);
    reason = "connect";
    if (token !== lastToken) port.forgive();
    mine.token = lastToken = token;
    try {
      url ||= socketUrl(options.url);
      transports ??= createTransports(ways(url), url, environment.storage);
    } catch (thrown) {
      return giveUp(rowcastError("URL", wordsOf(thrown)));
    }
    const transport = transports.next();
    if (!transport) return giveUp(status.error);
    try {
      link(mine, transport);
    } catch (thrown) {
      transports.drop(transport);
      change({ error: rowcastError("TRANSPORT", wordsOf(thrown)) });
      if (mine === current) open(mine, token);
    }
  }

  function ways(url: string): Transport[] {
    const { transports = [webSocket], tabs } = options;
    return transports.map((transport) => (tabs ? tabs(transport, { url }) : transport));
  }

  function link(mine: Attempt, transport: Transport): void {
    mine.transport = transport;
    const listener: LinkListener = {
      opened() {
        if (mine === current) say(mine, port.hello(mine.token));
        // Nothing is asked for twice: first it shows whether this way is a way.
        else if (mine === probe)
          say(mine, mine.token === undefined ? { type: "hello" } : { type: "hello", token: mine.token });
      },
      frame(frame) {
        if (mine === current) hear(mine, frame);
        else if (mine === probe && frame.type === "welcome") takeOver(mine);
      },
      alive() {
        if (mine === current) heartbeat.heard();
      },
      closed(end) {
        if (mine === current) ended(mine, end, "CLOSED");
        else if (mine === probe) endProbe();
      },
    };
    mine.link = transport.open({ url, environment, debug }, listener);
  }

  function say(mine: Attempt | undefined, frame: ClientFrame): void {
    debug("→", withoutTokens(frame));
    mine?.link?.send(frame);
  }

  function send(frame: ClientFrame): void {
    say(current, frame);
  }

  function hear(mine: Attempt, frame: ServerFrame): void {
    heartbeat.heard();
    debug("←", frame);
    const { type, code, retryAfterMs } = frame;
    if (type === "welcome" && frame.userId !== userId) {
      userId = frame.userId;
      port.forgive();
    }
    if (type === "disconnect") mine.goodbye = frame;
    if (code === "RATE_LIMIT_EXCEEDED" && typeof retryAfterMs === "number") mine.limitMs = retryAfterMs;
    port.frame(frame);
    if (mine !== current) return;
    if (type === "welcome" || type === "subscribed") connected(mine);
    if (type === "auth_ok") port.forgive();
    if (type === "auth_expiring") renew();
    if ((type === "welcome" || type === "auth_ok") && typeof frame.expiresAt === "string") {
      renewal.set(renew, Math.max(RENEW_MIN_MS, Date.parse(frame.expiresAt) - Date.now() - RENEW_AHEAD_MS));
    }
    // The token is another user's, who needs another connection.
    if (type === "error" && frame.id === mine.authId && code === "FORBIDDEN") {
      release();
      attempt();
    }
  }

  function connected(mine: Attempt): void {
    if (mine.isConnected) return;
    mine.isConnected = wasConnected = true;
    deadline.clear();
    transports?.worked();
    heartbeat.start();
    stable.set(() => change({ attempt: 0 }), STABLE_MS);
    upgrade.set(tryBetter, BETTER_MS);
    change({ state: "connected", transport: mine.transport?.name, retryInMs: undefined, error: undefined });
    if (mine === current) port.welcomed();
  }

  function renew(): void {
    const mine = current;
    if (!tokens || !mine) return;
    renewal.clear();
    tokens.ask("expiring").then(
      (token) => {
        if (mine !== current || token === undefined) return;
        mine.token = lastToken = token;
        mine.renewals = 0;
        mine.authId = port.authenticate(token);
      },
      (thrown) => {
        if (mine !== current) return;
        port.error(rowcastError("TOKEN", `getToken failed: ${wordsOf(thrown)}`, { retryable: true, cause: thrown }));
        mine.renewals += 1;
        renewal.set(
          renew,
          reconnectInterval + backoffMs(mine.renewals, reconnectInterval, reconnectMaxInterval, random),
        );
      },
    );
  }

  /** Looks whether the best way has become one, while another is taken. */
  function tryBetter(): void {
    const transport = transports?.better();
    if (!transport || !current) return;
    probe = { isConnected: false, renewals: 0, token: lastToken };
    upgrade.set(endProbe, connectTimeout);
    try {
      link(probe, transport);
    } catch {
      endProbe();
    }
  }

  function endProbe(): void {
    probe?.link?.close();
    probe = undefined;
    upgrade.set(tryBetter, BETTER_MS);
  }

  function takeOver(mine: Attempt): void {
    probe = undefined;
    release();
    current = mine;
    transports?.next();
    say(mine, port.hello(mine.token));
    deadline.set(() => ended(mine, { code: 4408, reason: "no welcome" }, "TIMEOUT"), connectTimeout);
  }

  /** Lets go of the link. */
  function release(): void {
    const mine = current;
    current = undefined;
    for (const timer of [retry, deadline, stable, renewal, upgrade, heartbeat]) timer.clear();
    probe?.link?.close();
    probe = undefined;
    mine?.link?.close();
    port.lost();
  }

  function ended(mine: Attempt, end: LinkEnd, code: string): void {
    const { goodbye, isConnected } = mine;
    release();
    if (end.handedOver) return attempt();
    const isRefused = REFUSED.includes(end.code) || String(goodbye?.code).startsWith("TOKEN_");
    const isFinal = MISTAKES.includes(end.code) || goodbye?.reconnect === false;
    const retryable = isRefused ? tokens !== undefined : !isFinal;
    const error = errorOf(end, code, isRefused, retryable);
    const isBusy = isRefused || end.code === 4429 || end.retryAfterMs !== undefined;
    if (!isConnected && !isBusy && code !== "TOKEN") transports?.failed(end.isUnusable === true);
    const attempts = status.attempt + 1;
    change({ attempt: attempts, error, transport: undefined });
    if (!retryable) return giveUp(error);
    if (isRefused) reason = "refused";
    if (options.reconnect === false) return halt("disconnected");
    if (attempts > maxRetries) return giveUp(error);
    const toldMs = end.retryAfterMs ?? goodbye?.retryAfterMs ?? (end.code === 4429 ? mine.limitMs : undefined);
    if (typeof toldMs === "number") return schedule(toldMs, Date.now() + toldMs);
    // The first refusal may only mean that the token has expired.
    const isAtOnce = isRefused && attempts === 1;
    schedule(isAtOnce ? 0 : backoffMs(attempts, reconnectInterval, reconnectMaxInterval, random), 0);
  }

  function schedule(inMs: number, earliest: number): void {
    notBefore = earliest;
    if (current || isOver || !isWanted) return;
    // Without a network it waits for one.
    change({ state: "reconnecting", retryInMs: status.isOnline ? inMs : undefined });
    if (status.isOnline) retry.set(attempt, inMs);
  }

  function giveUp(error: RowcastError | undefined): void {
    release();
    change({ error });
    halt("error");
  }

  function halt(state: "error" | "disconnected"): void {
    isOver = true;
    change({ state, retryInMs: undefined, transport: undefined });
  }

  function suspend(): void {
    isSuspended = true;
    release();
    change({ state: isOver ? status.state : "disconnected", retryInMs: undefined, transport: undefined });
  }

  function wake(): void {
    isSuspended = false;
    const early = notBefore - Date.now();
    if (current) {
      if (current.isConnected) heartbeat.probe(false);
    } else if (early > 0) schedule(early, notBefore);
    else attempt();
  }

  function pass(to: LifecycleChange): void {
    debug(to);
    if (to === "suspend") return suspend();
    if (to === "hidden") {
      if (hiddenTimeout !== undefined) hiding.set(suspend, hiddenTimeout);
      return;
    }
    if (to === "offline") {
      retry.clear();
      change({ isOnline: false, retryInMs: undefined });
      // It may be another network that is gone: the line says it itself.
      if (current?.isConnected) heartbeat.probe(true);
      return;
    }
    hiding.clear();
    if (to === "online") change({ isOnline: true });
    wake();
  }

  function want(): void {
    isWanted = true;
    if (unlisten) return;
    unlisten = lifecycle.listen(pass);
    change({ isOnline: lifecycle.isOnline() });
    if (!lifecycle.isVisible()) pass("hidden");
  }

  return {
    status: () => status,
    start() {
      if (isWanted) return;
      want();
      attempt();
    },
    connect() {
      isOver = isSuspended = false;
      want();
      attempt();
    },
    stop() {
      isWanted = isOver = isSuspended = wasConnected = false;
      unlisten?.();
      unlisten = undefined;
      hiding.clear();
      release();
      change({ state: "disconnected", attempt: 0, retryInMs: undefined, transport: undefined, error: undefined });
    },
    send,
    later(run, inMs) {
      const mine = current;
      setTimeout(() => mine === current && run(), inMs);
    },
  };
}

/** What has happened, and what to do about it. */
function errorOf({ code, reason }: LinkEnd, name: string, isRefused: boolean, retryable: boolean): RowcastError {
  const what =
    reason || (code === 1006 ? "the connection was lost, or the server cannot be reached" : `closed with ${code}`);
  const advice = isRefused && !retryable ? "; give createClient a getToken" : "";
  return rowcastError(isRefused ? "UNAUTHORIZED" : name, what + advice, { closeCode: code || undefined, retryable });
}
