// Reads the format of server-sent events, as far as the server writes it.

/** One message: its data, and the id where it has one. */
export interface Message {
  readonly data: string;
  readonly id: string | undefined;
}

/** Takes text in pieces as they come; calls with each message that is whole. */
export function eventStreamParser(tell: (message: Message) => void): (text: string) => void {
  let rest = "";
  return (text) => {
    const blocks = (rest + text).replace(/\r\n/g, "\n").split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const data: string[] = [];
      let id: string | undefined;
      for (const line of block.split("\n")) {
        const [, field, value = ""] = /^(\w+): ?(.*)/.exec(line) ?? [];
        if (field === "data") data.push(value);
        if (field === "id") id = value;
      }
      tell({ data: data.join("\n"), id });
    }
  };
}
