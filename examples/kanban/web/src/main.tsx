// Where the page begins: one connection and one cache for all components.

import { RowcastProvider } from "@rowcast/react";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App.js";
import "./style.css";

// The feed says when something is stale; nothing has to be guessed.
const queryClient = new QueryClient({ defaultOptions: { queries: { staleTime: Number.POSITIVE_INFINITY } } });
const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");

createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={queryClient}>
      <RowcastProvider>
        <App />
      </RowcastProvider>
    </QueryClientProvider>
  </StrictMode>,
);
