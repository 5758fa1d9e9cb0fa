// The connection: when there is a link, and for how long. Knows no channels, and of a transport only that it opens links.

import type { Debug } from "./debug.js";
import type { Emitter } from "./emitter.js";
import { rowcastError } from "./error.js";
import { createHeartbeat } from "./heartbeat.js";
import { webSocket } from "./socket.js";
import type { Subscriptions } from "./subscriptions.js";
import { createTimer } from "./timer.js";
import type { ClientFrame, Heard, Link, LinkEnd, Transport } from "./transport.js";
import type { ClientOptions, Environment, LifecycleChange, RowcastError, Status, TokenReason, Undo } from "./types.js";
import { socketUrl } from "./url.js";

/** A connection that has lasted this long is a success, in milliseconds. */
const STABLE_MS = 5_000;
/** One that has not even lasted this long is a failure, whatever the server said of its end. In milliseconds. */
const LIVED_MS = 1_000;
/** A fresh token is asked for so long before the old one expires, in milliseconds. */
const RENEW_AHEAD_MS = 60_000;
/** But not sooner after the last one, whatever the clocks say, in milliseconds. */
const RENEW_MIN_MS = 30_000;

/** Wait after it could not be got, in milliseconds. */
const RENEW_AGAIN_MS = 10_000;

/** Closed as the token is refused, or does not grant what the address is about. */
const REFUSED = 4001;
const NOT_GRANTED = 4003;
/** Closed as the client is not understood, which will not be different the next time. */
const MISTAKES = [1002, 1007, 1009, 4400];

/** What a connection passes on to the subscriptions. */
type Passenger = Pick<Subscriptions, "hello" | "auth" | "frame" | "lost">;

export interface Connection {
  readonly status: () => Status;
  /** Wants it. It opens, unless it has failed for good. */
  start(): void;
  /** The same, at once and whatever has happened. */
  connect(): void;
  /** Wants it no more. */
  stop(): void;
  send(frame: ClientFrame): void;
}

/** What the status says of a link where there is none. */
const NONE = { retryInMs: undefined, transport: undefined };

export function createConnection(
  options: ClientOptions,
  environment: Environment,
  debug: Debug,
  emit: Emitter["emit"],
  passenger: () => Passenger,
): Connection {
  const { reconnect = true, getToken } = options;
  const { lifecycle } = environment;
  /** What comes next: the end of a wait, of patience with an attempt, or of a connection's youth. */
  const turn = createTimer();
  const renewal = createTimer();
  const hiding = createTimer();
  const heartbeat = createHeartbeat(options.heartbeatInterval ?? 30_000, () => send({ type: "ping" }), timeOut);
  let status: Status = { ...NONE, state: "disconnected", attempt: 0, isOnline: true, error: undefined };
  let transport: Transport | undefined;
  let token: string | undefined;
  let reason: TokenReason = "connect";
  /** The call of getToken that is under way: there is one at a time. */
  let flight: Promise<string | undefined> | undefined;
  let isWanted = false;
  let isSuspended = false;
  /** Nothing is tried any more before `connect()`. */
  let isOver = false;
  let wasConnected = false;
  /** The server does not want to see the client before. */
  let notBefore = 0;
  let unlisten: Undo | undefined;

  /** The attempt that is made, or that has led to the link, and what belongs to it. */
  let current: object | undefined;
  let link: Link | undefined;
  /** When the server greeted on it; undefined while it has not. */
  let connectedAt: number | undefined;
  /** Whether the client is to come back after the end that is announced; undefined where none is. */
  let comesBack: boolean | undefined;
  /** When: after that end, or after one for too many messages. */
  let dueAt = 0;
  /** The request that has sent a fresh token. */
  let authId: number | undefined;

  function change(changes: Partial<Status>): void {
    if ((Object.keys(changes) as (keyof Status)[]).every((key) => changes[key] === status[key])) return;
    status = { ...status, ...changes };
    debug("status", status);
    emit("status", status);
  }

  function attempt(): void {
    if (!isWanted || isOver || isSuspended || current) return;
    const mine = {};
    current = mine;
    comesBack = authId = undefined;
    turn.set(timeOut, options.connectTimeout ?? 10_000);
    change({ ...NONE, state: wasConnected || status.attempt ? "reconnecting" : "connecting" });
    if (getToken) ask(reason, open, fail);
    else open(undefined);
  }

  /** What is called only for as long as the attempt is the present one. */
  function ours<Value extends unknown[]>(tell: (...value: Value) => void): (...value: Value) => void {
    const mine = current;
    return (...value) => {
      if (mine && mine === current) tell(...value);
    };
  }

  /** Asks for a token, and goes on if that is still of use. */
  function ask(
    reason: TokenReason,
    go: (token: string | undefined) => void,
    failed: (error: RowcastError) => void,
  ): void {
    flight ??= Promise.resolve({ reason }).then(getToken);
    const own = flight;
    const landed = (): void => {
      if (flight === own) flight = undefined;
    };
    own.then(landed, landed);
    own.then(
      ours(go),
      ours((thrown) => failed(rowcastError("TOKEN", `getToken failed: ${thrown}`, true, thrown))),
    );
  }

  function open(fresh: string | undefined): void {
    if (getToken && reason === "refused" && fresh === token) {
      fail(rowcastError("TOKEN", `${status.error?.message}`));
      return;
    }
    reason = "connect";
    token = fresh;
    try {
      const url = socketUrl(options.url);
      const { transports: ways = [], tabs } = options;
      const one = ways.find((way) => way.among)?.among?.(ways) ?? ways[0] ?? webSocket;
      transport ??= tabs ? tabs(one, { url }) : one;
      const opened = ours(() => send(passenger().hello(token)));
      const listener = { opened, frame: ours(hear), alive: ours(heartbeat.heard), closed: ours(ended) };
      link = transport.open({ url, environment, debug }, listener);
    } catch (thrown) {
      fail(rowcastError("TRANSPORT", `cannot connect; check url and transports: ${thrown}`));
    }
  }

  function send(frame: ClientFrame): void {
    debug("→", { ...frame, token: undefined, tokens: undefined });
    link?.send(frame);
  }

  function hear(frame: Heard): void {
    const mine = current;
    const { type, code, expiresAt, reconnect, retryAfterMs = 0 } = frame;
    heartbeat.heard();
    debug("←", frame);
    if (type === "disconnect" || code === "RATE_LIMIT_EXCEEDED") {
      comesBack = reconnect;
      // Counted from now: events may come for a while until the end.
      dueAt = Date.now() + retryAfterMs;
    }
    if (expiresAt) renewal.set(renew, Math.max(RENEW_MIN_MS, Date.parse(expiresAt) - Date.now() - RENEW_AHEAD_MS));
    if (type === "auth_expiring") renew();
    if (type !== "error" && !connectedAt) {
      wasConnected = true;
      connectedAt = Date.now();
      heartbeat.start();
      turn.set(() => change({ attempt: 0 }), STABLE_MS);
      change({ state: "connected", transport: transport?.name, error: undefined });
    }
    if (mine === current) passenger().frame(frame);
    // The token is another user's, who needs a connection of his own.
    if (mine === current && code === "FORBIDDEN" && authId && frame.id === authId) again();
  }

  function renew(): void {
    renewal.clear();
    if (!getToken) return;
    ask(
      "expiring",
      (fresh) => {
        if (fresh === undefined) return;
        token = fresh;
        authId = passenger().auth(fresh);
      },
      (error) => {
        renewal.set(renew, RENEW_AGAIN_MS);
        emit("error", error);
      },
    );
  }

  /** Lets go of the link. */
  function release(): void {
    const old = link;
    current = link = connectedAt = undefined;
    for (const timer of [turn, renewal, heartbeat]) timer.clear();
    old?.close();
    passenger().lost();
  }

  function again(): void {
    release();
    attempt();
  }

  function timeOut(): void {
    // It may never come back: the next attempt calls anew.
    flight = undefined;
    // With a code, as others may use the same line.
    link?.close(4408);
    fail(rowcastError("TIMEOUT", "no answer", true));
  }

  function ended({ code, reason: text, retryAfterMs, handedOver }: LinkEnd): void {
    if (handedOver) {
      again();
      return;
    }
    const isRefused = code === REFUSED || code === NOT_GRANTED || comesBack === false;
    const isFinal = isRefused ? !getToken : MISTAKES.includes(code);
    const what = text || `no connection (${code})`;
    const advice = isRefused && isFinal ? "; pass getToken" : "";
    const leftMs = Math.max(0, dueAt - Date.now());
    const toldMs = comesBack ? leftMs : (retryAfterMs ?? (code === 4429 ? leftMs : 0));
    // An end that was announced is no failure. But where each connection is ended at once, something is wrong.
    const hasLived = Date.now() - (connectedAt as number) >= LIVED_MS;
    const isAnnounced = hasLived && (toldMs > 0 || code === 1012);
    // The first refusal may only mean that the token has expired.
    const isPrompt = isAnnounced ? comesBack : !status.attempt && (isRefused || comesBack);
    if (isRefused) reason = "refused";
    const error = rowcastError(isRefused ? "TOKEN" : "CLOSED", what + advice, !isFinal, undefined, code);
    fail(error, toldMs, isAnnounced, isPrompt);
  }

  /**
   * The attempt has failed, or its link has ended: comes back at the time that the server has said, and, unless it is
   * prompt, after a time of its own.
   */
  function fail(error: RowcastError, toldMs = 0, isAnnounced?: boolean, isPrompt?: boolean): void {
    const attempt = status.attempt + (isAnnounced ? 0 : 1);
    const isFinal = !error.retryable || attempt > (options.maxRetries ?? Infinity);
    release();
    isOver = isFinal || !reconnect;
    change({ ...NONE, attempt, error, state: isFinal ? "error" : reconnect ? "reconnecting" : "disconnected" });
    notBefore = Date.now() + toldMs;
    const { reconnectInterval = 1_000, reconnectMaxInterval = 30_000 } = options;
    const longestMs = Math.min(reconnectMaxInterval, reconnectInterval * 2 ** (attempt - 1));
    // Full jitter: those who were cut off together do not come back together.
    schedule(toldMs + (isPrompt ? 0 : Math.round(environment.random() * longestMs)));
  }

  function schedule(inMs: number): void {
    // Without a network it waits for one. Whoever was told of the failure may have done something about it.
    if (current || isOver || !isWanted || !status.isOnline) return;
    change({ retryInMs: inMs });
    turn.set(attempt, inMs);
  }

  function suspend(): void {
    isSuspended = true;
    release();
    if (!isOver) change({ ...NONE, state: "disconnected" });
  }

  function pass(to: LifecycleChange): void {
    debug(to);
    if (to === "suspend") suspend();
    else if (to === "hidden") hiding.set(suspend, options.hiddenTimeout ?? Infinity);
    else if (to === "offline") {
      if (!current) turn.clear();
      change({ isOnline: false, retryInMs: undefined });
      // Another network may be gone: the line says it itself.
      if (connectedAt) heartbeat.probe();
    } else {
      if (to === "online") change({ isOnline: true });
      else isSuspended = false;
      hiding.clear();
      const earlyMs = notBefore - Date.now();
      if (connectedAt) heartbeat.probe();
      else if (earlyMs > 0) schedule(earlyMs);
      else attempt();
    }
  }

  function want(): void {
    isWanted = true;
    if (!unlisten) {
      unlisten = lifecycle.listen(pass);
      change({ isOnline: lifecycle.isOnline() });
      if (!lifecycle.isVisible()) pass("hidden");
    }
    attempt();
  }

  return {
    status: () => status,
    start() {
      if (!isWanted) want();
    },
    connect() {
      isOver = isSuspended = false;
      // Whoever asks for it may know that what was refused is not refused any more.
      token = undefined;
      want();
    },
    stop() {
      isWanted = isOver = isSuspended = wasConnected = false;
      unlisten?.();
      unlisten = undefined;
      hiding.clear();
      release();
      change({ ...NONE, state: "disconnected", attempt: 0, error: undefined });
    },
    send,
  };
}
