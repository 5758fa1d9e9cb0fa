// What people see of the connection.

import type { Status } from "@rowcast/client";
import type { CSSProperties, ReactElement } from "react";
import { useEffect, useState } from "react";
import { useClient } from "./client-context.js";
import { useConnectionStatus, useIsLate } from "./status.js";

/** What an indicator says, by what it says it of. */
export interface IndicatorLabels {
  readonly connected: string;
  /** Connected by plain requests, as nothing better gets through. */
  readonly polling: string;
  readonly connecting: string;
  readonly reconnecting: string;
  readonly offline: string;
  readonly disconnected: string;
  readonly error: string;
  /** The button. */
  readonly reconnect: string;
  /** Added to `reconnecting` while an attempt is being waited for. */
  readonly inSeconds: (seconds: number) => string;
}

/** Properties of both indicators. */
export interface ConnectionIndicatorProps {
  /** Show nothing while events come, nor in the first 5 s in which they do not. */
  readonly hideWhenConnected?: boolean | undefined;
  /** Given one, no colours and no frame of ours are set. */
  readonly className?: string | undefined;
  /** Your words for ours. */
  readonly labels?: Partial<IndicatorLabels> | undefined;
}

type Kind = Exclude<keyof IndicatorLabels, "reconnect" | "inSeconds">;

const LABELS: IndicatorLabels = {
  connected: "Live",
  polling: "Polling",
  connecting: "Connecting",
  reconnecting: "Reconnecting",
  offline: "Offline",
  disconnected: "Disconnected",
  error: "Error",
  reconnect: "Reconnect",
  inSeconds: (seconds) => ` in ${seconds} s`,
};

/** Dots are beside a word, and have 3:1 against the frame; the word has more than 4.5:1. */
const DOTS: Record<Kind, string> = {
  connected: "#1a7f37",
  polling: "#1a7f37",
  connecting: "#6e7781",
  disconnected: "#6e7781",
  reconnecting: "#9a6700",
  offline: "#9a6700",
  error: "#cf222e",
};
const FRAME: CSSProperties = {
  display: "inline-flex",
  gap: 6,
  alignItems: "center",
  padding: "2px 8px",
  borderRadius: 12,
  fontSize: 13,
  color: "#222",
  background: "#f4f4f4",
};
/** For the ears only. */
const HIDDEN: CSSProperties = { position: "absolute", width: 1, height: 1, overflow: "hidden", clipPath: "inset(50%)" };

/** A dot and a word, and a button where pressing it helps. Nothing moves. Being away for less than 5 s is not told. */
export function ConnectionIndicator(props: ConnectionIndicatorProps): ReactElement {
  return <Indicator {...props} />;
}

/** The dot alone, with its word for screen readers and as a tooltip, and the button where pressing it helps. */
export function ConnectionIndicatorCompact(props: ConnectionIndicatorProps): ReactElement {
  return <Indicator {...props} isCompact />;
}

function Indicator({
  hideWhenConnected,
  className,
  labels,
  isCompact,
}: ConnectionIndicatorProps & { isCompact?: boolean }): ReactElement {
  const client = useClient();
  const status = useConnectionStatus();
  const isLate = useIsLate();
  const seconds = useCountdown(status);
  const words = { ...LABELS, ...labels };
  const kind = kindOf(status, isLate);
  const isBad = kind === "error" || isLate;
  const isShown = isBad || !hideWhenConnected;
  const word = (
    <>
      {words[kind]}
      {/* A number that changes every second is not to be read aloud. */}
      {kind === "reconnecting" && seconds > 0 && <span aria-hidden>{words.inSeconds(seconds)}</span>}
    </>
  );
  return (
    <span
      className={className}
      style={className || !isShown ? undefined : FRAME}
      title={isCompact && isShown ? words[kind] : undefined}
    >
      {isShown && <span aria-hidden style={{ width: 8, height: 8, borderRadius: 4, background: DOTS[kind] }} />}
      <span role="status" aria-live="polite" style={isCompact ? HIDDEN : undefined}>
        {isShown && word}
      </span>
      {isBad && kind !== "offline" && (
        <button type="button" onClick={() => client.connect()} aria-label={words.reconnect}>
          {isCompact ? "\u21bb" : words.reconnect}
        </button>
      )}
    </span>
  );
}

/** Bad news wait for the grace; until then it is as it was. */
function kindOf({ state, transport, isOnline }: Status, isLate: boolean): Kind {
  if (state === "connected") return transport === "poll" ? "polling" : state;
  if (state === "error" || state === "disconnected") return state;
  if (isLate) return isOnline ? state : "offline";
  return state === "connecting" ? state : "connected";
}

/** Whole seconds until the next attempt. */
function useCountdown(status: Status): number {
  const [seconds, setSeconds] = useState(0);
  useEffect(() => {
    if (!status.retryInMs) return;
    const end = Date.now() + status.retryInMs;
    const tick = (): void => setSeconds(Math.ceil((end - Date.now()) / 1_000));
    const timer = setInterval(tick, 1_000);
    tick();
    return () => {
      clearInterval(timer);
      setSeconds(0);
    };
  }, [status]);
  return seconds;
}
