// Topics by hand.

import type { ConnectionState, FeedEvent, Undo } from "@rowcast/client";
import { useEffect, useMemo } from "react";
import { useClient } from "./client-context.js";
import { useWebSocketState } from "./status.js";
import type { TopicEvent } from "./ws-event.js";
import { toWSEvent } from "./ws-event.js";

/** What `useWebSocket` returns. Its functions stay the same for the life of the component. */
export interface UseWebSocket {
  readonly state: ConnectionState;
  /** Receives the events of a topic, until its undo, `unsubscribe(topic)`, or the end of the component. */
  readonly subscribe: <Payload = unknown>(topic: string, handler: (event: TopicEvent<Payload>) => void) => Undo;
  /** Ends what this component has subscribed to of a topic; without one, of all. */
  readonly unsubscribe: (topic?: string) => void;
  /** Opens the connection, also after `disconnect()` or an error. */
  readonly connect: () => void;
  /** Closes the connection for all, and stays away until `connect()`. */
  readonly disconnect: () => void;
}

/** The connection, and topics by hand. Most components want `useRealtimeEvents` or `useRealtimeSync`. */
export function useWebSocket(): UseWebSocket {
  const client = useClient();
  const functions = useMemo(() => {
    const undos = new Map<Undo, string>();
    return {
      subscribe<Payload>(topic: string, handler: (event: TopicEvent<Payload>) => void): Undo {
        const end = client.subscribe(topic, (event) =>
          handler(toWSEvent(event as FeedEvent<Record<string, Payload>>, topic)),
        );
        const undo = (): void => {
          undos.delete(undo);
          end();
        };
        undos.set(undo, topic);
        return undo;
      },
      unsubscribe(topic?: string): void {
        for (const [undo, of] of undos) if (!topic || of === topic) undo();
      },
      connect: client.connect,
      disconnect: client.disconnect,
    };
  }, [client]);
  useEffect(() => () => functions.unsubscribe(), [functions]);
  return { state: useWebSocketState(), ...functions };
}
