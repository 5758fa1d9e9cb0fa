// Where the server is.

/**
 * The absolute address of the WebSocket: of `https://feed.example.com` it is `wss://feed.example.com/ws`; where there is a
 * path already, it stays. Without an address it is `/ws` of the page's own server.
 *
 * @throws where there is no page, or the address is none.
 */
export function socketUrl(url: string | URL = "/"): string {
  const found = new URL(url, globalThis.location?.href);
  found.protocol = found.protocol.replace("http", "ws");
  if (found.pathname === "/") found.pathname = "/ws";
  return found.href;
}
