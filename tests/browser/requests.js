// The loop of docs/PROTOCOL.md: ask after the last cursor, wait there, ask again; the same again if an answer is lost.
(async () => {
  let after = (await (await fetch('/cursor')).json()).cursor;
  note('cursor', after);
  for (;;) {
    const url = `/events?channels=tasks&limit=20&wait=2s&after=${after}`;
    try {
      const response = await fetch(url);
      const answer = await response.json();
      for (const { event } of answer.events) note('event', event.id);
      note('answer', response.status, answer.events.length, answer.reset ?? null);
      after = answer.cursor;
    } catch (error) {
      note('lost', error.name);
    }
  }
})();
