// Reads the format of server-sent events, as far as the server writes it.

/** One message: its data, and, where it has them, its id and the time to come back after, in milliseconds. */
export interface Message {
  readonly data: string;
  readonly id: string | undefined;
  readonly retry: string | undefined;
}

/** Takes text in pieces as they come; calls with each message that is whole. */
export function eventStreamParser(tell: (message: Message) => void): (text: string) => void {
  let rest = "";
  return (text) => {
    const blocks = (rest + text).split(/\r?\n\r?\n/);
    rest = blocks.pop() as string;
    for (const block of blocks) {
      const data = [...block.matchAll(/^data: ?(.*)/gm)].map(([, line]) => line).join("\n");
      tell({ data, id: /^id: ?(.*)/m.exec(block)?.[1], retry: /^retry: ?(.*)/m.exec(block)?.[1] });
    }
  };
}
