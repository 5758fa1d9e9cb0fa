// Where the server is.

/**
 * The absolute address of the WebSocket: of `https://feed.example.com` it is `wss://feed.example.com/ws`. Without one it
 * is `/ws` of the page's own server.
 *
 * @throws where there is no page, or the address is none.
 */
export function socketUrl(url: string | URL | undefined): string {
  const page = typeof location === "undefined" ? undefined : location.href;
  if (url === undefined && page === undefined)
    throw new Error("there is no page here: give createClient the `url` of the server");
  const found = new URL(url ?? "/", page);
  const isHttp = found.protocol.startsWith("http");
  found.protocol = found.protocol.replace("http", "ws");
  if (found.pathname === "/" || (isHttp && !found.pathname.endsWith("/ws"))) {
    found.pathname = found.pathname.replace(/\/?$/, "/ws");
  }
  return found.href;
}
