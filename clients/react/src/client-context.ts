// The provider of a client, and the hooks' way to it.

import type { AnyChannels, AnyEvents, ChannelMap, Client, ClientOptions, EventMap } from "@rowcast/client";
import { createClient } from "@rowcast/client";
import type { ReactElement, ReactNode } from "react";
import { createContext, createElement, useContext, useEffect, useRef, useState } from "react";

const Context = createContext<Client | undefined>(undefined);

/** Properties of `RowcastProvider`: either `client` or `options`. */
export interface RowcastProviderProps<Events extends EventMap = AnyEvents, Channels extends ChannelMap = AnyChannels> {
  /** A client of yours, which you connect and disconnect. */
  readonly client?: Client<Events, Channels> | undefined;
  /**
   * Options of a client that the provider makes when it is mounted, and disconnects when it is unmounted. To begin anew with
   * others, as for another user, give the provider another `key`.
   */
  readonly options?: ClientOptions | undefined;
  readonly children?: ReactNode;
}

/** Gives a client to the hooks below it. Nothing is opened before one of them subscribes. */
export function RowcastProvider<Events extends EventMap = AnyEvents, Channels extends ChannelMap = AnyChannels>({
  client,
  options,
  children,
}: RowcastProviderProps<Events, Channels>): ReactElement {
  const [own] = useState(() => (client ? undefined : createClient(options)));
  const leaving = useRef<ReturnType<typeof setTimeout> | 0>(undefined);
  useEffect(() => {
    // React may unmount and mount again at once (StrictMode), or later (Activity).
    if (leaving.current === 0) own?.connect();
    clearTimeout(leaving.current);
    return () => {
      leaving.current = setTimeout(() => {
        leaving.current = 0;
        own?.disconnect();
      });
    };
  }, [own]);
  return createElement(Context.Provider, { value: (client ?? own) as Client }, children);
}

/**
 * The client of the provider above, or the one that is given.
 *
 * @throws where there is neither.
 */
export function useClient<Events extends EventMap = AnyEvents, Channels extends ChannelMap = AnyChannels>(
  client?: Client<Events, Channels>,
): Client<Events, Channels> {
  const provided = useContext(Context) as unknown as Client<Events, Channels> | undefined;
  const found = client ?? provided;
  if (!found) throw new Error("rowcast: put <RowcastProvider> above this component");
  return found;
}

/** A reference to the value of the last render, so that handlers can be written in place and nothing subscribes anew. */
export function useLatest<Value>(value: Value): { readonly current: Value } {
  const latest = useRef(value);
  useEffect(() => {
    latest.current = value;
  });
  return latest;
}
