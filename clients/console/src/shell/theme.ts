// Light and dark: as the system has it, unless somebody chooses.

import { useEffect, useState } from "react";

/** What is chosen. */
export type Theme = "auto" | "light" | "dark";

const KEY = "rowcast.console.theme";
const ORDER: readonly Theme[] = ["auto", "light", "dark"];

/** The theme, and what goes on to the next one. */
export function useTheme(): [Theme, () => void] {
  const [theme, setTheme] = useState<Theme>(kept);
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // A browser that stores nothing: it lasts until the page is left.
    }
  }, [theme]);
  const next = (): void => setTheme((now) => ORDER[(ORDER.indexOf(now) + 1) % ORDER.length] ?? "auto");
  return [theme, next];
}

function kept(): Theme {
  try {
    return ORDER.find((theme) => theme === localStorage.getItem(KEY)) ?? "auto";
  } catch {
    return "auto";
  }
}
