// What people see of the connection.

import type { Status } from "@rowcast/client";
import type { CSSProperties, ReactElement } from "react";
import { useClient } from "./client-context.js";
import { useConnectionStatus, useLostConnection } from "./status.js";

/** What an indicator says of the connection. `polling`: connected by plain requests, as nothing better gets through. */
export type IndicatorKind =
  | "connected"
  | "polling"
  | "connecting"
  | "reconnecting"
  | "offline"
  | "disconnected"
  | "error";

/** Properties of both indicators. */
export interface ConnectionIndicatorProps {
  /** Show nothing while events come, in the first 5 s in which they do not, and where nobody wants a connection. */
  readonly hideWhenConnected?: boolean | undefined;
  /** Given one, our style is left out. */
  readonly className?: string | undefined;
  /** Your words; `reconnect` is on the button. Default: the kinds with a capital. */
  readonly labels?: Partial<Record<IndicatorKind | "reconnect", string>> | undefined;
}

const FRAME: CSSProperties = {
  padding: 6,
  borderRadius: 6,
  color: "#222",
  background: "#f4f4f4",
};
/** For the ears only. */
const HIDDEN: CSSProperties = { position: "absolute", width: 1, height: 1, overflow: "hidden", opacity: 0 };

/** A dot and a word, and a button where pressing it helps. Nothing moves. Being away for less than 5 s is not told. */
export function ConnectionIndicator(props: ConnectionIndicatorProps): ReactElement {
  return useIndicator(props);
}

/** The dot alone, with its word for screen readers and as a tooltip, and the button where pressing it helps. */
export function ConnectionIndicatorCompact(props: ConnectionIndicatorProps): ReactElement {
  return useIndicator(props, true);
}

function useIndicator(
  { hideWhenConnected, className, labels = {} }: ConnectionIndicatorProps,
  isCompact?: boolean,
): ReactElement {
  const client = useClient();
  const status = useConnectionStatus();
  const isLate = useLostConnection();
  const kind = kindOf(status, isLate);
  const isBad = isLate || kind === "error";
  const isShown = isBad || !hideWhenConnected;
  const word = (of: keyof typeof labels): string => labels[of] ?? of[0]?.toUpperCase() + of.slice(1);
  return (
    <span
      className={className}
      style={isShown && !className ? FRAME : undefined}
      title={isShown && isCompact ? word(kind) : undefined}
    >
      {isShown && (
        <span
          aria-hidden
          style={{ color: isBad ? "#cf222e" : ["connecting", "disconnected"].includes(kind) ? "#9a6700" : "#1a7f37" }}
        >
          ●{" "}
        </span>
      )}
      <span role="status" aria-live="polite" style={isCompact ? HIDDEN : undefined}>
        {isShown && word(kind)}
      </span>{" "}
      {isBad && kind !== "offline" && (
        <button type="button" onClick={client.connect}>
          {word("reconnect")}
        </button>
      )}
    </span>
  );
}

/** Bad news wait for the grace; until then it is as it was. */
function kindOf({ state, transport, isOnline }: Status, isLate: boolean): IndicatorKind {
  if (state === "connected" && transport === "poll") return "polling";
  if (!state.endsWith("connecting")) return state;
  if (isLate && !isOnline) return "offline";
  return state === "reconnecting" && !isLate ? "connected" : state;
}
