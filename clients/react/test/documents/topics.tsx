// Components as somebody wrote them for a server of topics; only paths of imports are ours.

import { useWebSocket, WebSocketProvider, type WSConnectionState, type WSEvent } from "@rowcast/react";
import { ConnectionIndicator, ConnectionIndicatorCompact } from "@rowcast/react/indicator";
import { optimisticUpdate, usePollingFallback, useRealtimeSync } from "@rowcast/react/tanstack";
import {
  type QueryClient,
  QueryClientProvider,
  skipToken,
  type UseMutationResult,
  type UseQueryResult,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { type ReactElement, type ReactNode, useEffect, useState } from "react";

export interface Gift {
  id: string;
  list_id: string;
  name: string;
}

export interface ApiClient {
  get: (path: string) => Promise<Gift[]>;
  patch: (path: string, data: Gift) => Promise<unknown>;
}

export function RootLayout({
  children,
  queryClient,
  environment,
}: {
  children: ReactNode;
  queryClient: QueryClient;
  environment: object;
}): ReactElement {
  return (
    <QueryClientProvider client={queryClient}>
      <WebSocketProvider
        options={{
          environment,
          url: "wss://api.example.com/ws",
          reconnect: true,
          reconnectInterval: 5000, // Initial delay
          reconnectMaxInterval: 20000, // Max delay
          heartbeatInterval: 30000, // Ping interval
          debug: true, // Enable logs
        }}
      >
        {children}
      </WebSocketProvider>
    </QueryClientProvider>
  );
}

export function ListDetailPage({ params, apiClient }: { params: { id: string }; apiClient: ApiClient }): ReactElement {
  const queryKey = ["list-items", params.id];

  // Fetch data
  const { data: items } = useQuery({
    queryKey,
    queryFn: () => apiClient.get(`/list-items?list_id=${params.id}`),
  });

  // Real-time sync (Kanban board only)
  useRealtimeSync({
    topic: `list-items:${params.id}`,
    queryKey,
  });

  return <div>{items?.map(({ name }) => name).join()}</div>;
}

export function Log(): ReactElement {
  const { state, subscribe, unsubscribe, connect, disconnect } = useWebSocket();
  const [lines, setLines] = useState<string[]>([]);

  // Subscribe to topic
  useEffect(() => {
    const unsubscribe = subscribe("gift-list:123", (event) => {
      setLines((before) => [...before, `Event: ${event.event} ${event.data.entity_id}`]);
    });
    return () => {
      // Unsubscribe
      unsubscribe();
    };
  }, [subscribe]);

  // Connection state
  const known: WSConnectionState = state; // 'connected' | 'connecting' | 'reconnecting' | 'disconnected' | 'error'
  return (
    <div>
      <output>
        {known} {lines.join()}
      </output>
      <button type="button" onClick={() => unsubscribe("gift-list:123")}>
        Unsubscribe
      </button>
      <button type="button" onClick={connect}>
        Connect
      </button>
      <button type="button" onClick={disconnect}>
        Disconnect
      </button>
    </div>
  );
}

/** Strategy 2: direct cache update. */
export function useAppended(): Gift[] | undefined {
  useRealtimeSync({
    topic: "gift-list:123",
    queryKey: ["gifts", "123"],
    onEvent: (event, queryClient) => {
      queryClient.setQueryData(["gifts", "123"], (old: Gift[]) => {
        if (event.event === "ADDED") {
          return [...old, event.data.payload];
        }
        return old;
      });
    },
  });
  return useQuery<Gift[]>({ queryKey: ["gifts", "123"], queryFn: skipToken }).data;
}

export function useGifts(listId: string, apiClient: ApiClient): UseQueryResult<Gift[]> {
  const queryKey = ["gifts", listId];

  const query = useQuery({
    queryKey,
    queryFn: () => apiClient.get(`/gifts?list_id=${listId}`),
  });

  useRealtimeSync({
    topic: `gift-list:${listId}`,
    queryKey,
  });

  return query;
}

export function useUpdateGift(apiClient: ApiClient): UseMutationResult<unknown, Error, Gift, { rollback: () => void }> {
  const queryClient = useQueryClient();

  return useMutation({
    mutationFn: (data: Gift) => apiClient.patch(`/gifts/${data.id}`, data),

    onMutate: async (newGift) => {
      const rollback = await optimisticUpdate(queryClient, ["gifts", newGift.list_id], (old: Gift[]) =>
        old.map((g) => (g.id === newGift.id ? newGift : g)),
      );
      return { rollback };
    },

    onError: (_err, _variables, context) => {
      context?.rollback();
    },
  });
}

export function usePolled(): void {
  usePollingFallback({
    queryKey: ["gifts", "123"],
    intervalMs: 10000, // Poll every 10s
  });
}

export function useDebounced(): void {
  useRealtimeSync({
    topic: "gift-list:123",
    queryKey: ["gifts", "123"],
    debounceMs: 500, // Wait 500ms before invalidating
  });
}

export function useSelected(heard: (event: WSEvent) => void): void {
  useRealtimeSync({
    topic: "gift:456",
    queryKey: ["gift", "456"],
    events: ["UPDATED", "STATUS_CHANGED"], // Ignore ADDED/DELETED
    onEvent: (event) => {
      heard(event);
    },
  });
}

export function Indicators(): ReactElement {
  return (
    <>
      <ConnectionIndicator />
      <ConnectionIndicatorCompact />
      <ConnectionIndicator hideWhenConnected />
    </>
  );
}
