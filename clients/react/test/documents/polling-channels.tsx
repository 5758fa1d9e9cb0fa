// Components as somebody wrote them for a server of event polling and channels; only paths of imports are ours.

import { useRealtimeEvents, useWebSocketState } from "@rowcast/react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import type { ReactElement } from "react";

export interface Task {
  id: string;
  title: string;
}

export interface Api {
  tasks: () => Promise<Task[]>;
  createTask: (task: Task) => Promise<unknown>;
}

export function TaskList({ api }: { api: Api }): ReactElement {
  const queryClient = useQueryClient();

  useRealtimeEvents({
    onElementCreated: (element) => {
      if (element.type === "task") {
        // Invalidate cache to refetch
        queryClient.invalidateQueries({ queryKey: ["tasks"] });
      }
    },
    onElementUpdated: (element) => {
      if (element.type === "task") {
        queryClient.invalidateQueries({ queryKey: ["tasks"] });
      }
    },
  });

  const { data: tasks = [] } = useQuery({ queryKey: ["tasks"], queryFn: api.tasks });
  return (
    <ul>
      {tasks.map(({ id, title }) => (
        <li key={id}>{title}</li>
      ))}
    </ul>
  );
}

export function ConnectionStatus(): ReactElement {
  const status = useWebSocketState(); // 'connecting' | 'connected' | 'disconnected' | 'reconnecting'
  return <span>Status: {status}</span>;
}

export function NewTask({ api, task }: { api: Api; task: Task }): ReactElement {
  const queryClient = useQueryClient();
  const mutation = useMutation({
    mutationFn: api.createTask,
    onMutate: async (newTask: Task) => {
      // Cancel outgoing refetches
      await queryClient.cancelQueries({ queryKey: ["tasks"] });

      // Snapshot previous value
      const previous = queryClient.getQueryData(["tasks"]);

      // Optimistically update
      queryClient.setQueryData(["tasks"], (old: Task[]) => [...old, newTask]);

      return { previous };
    },
    onError: (_err, _newTask, context) => {
      // Rollback on error
      queryClient.setQueryData(["tasks"], context?.previous);
    },
    onSettled: () => {
      // Always refetch after error or success
      queryClient.invalidateQueries({ queryKey: ["tasks"] });
    },
  });
  return (
    <button type="button" onClick={() => mutation.mutate(task)}>
      New
    </button>
  );
}
