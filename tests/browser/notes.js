// What a page has seen, told to the test in order: one request at a time, so that two never overtake one another.
let waiting = [];
let sending = false;

async function note(...what) {
  waiting.push(what);
  if (sending) return;
  sending = true;
  while (waiting.length > 0) {
    const body = JSON.stringify(waiting);
    waiting = [];
    await fetch('/notes', { method: 'POST', body });
  }
  sending = false;
}

addEventListener('error', (event) => note('mistake', event.message));
addEventListener('unhandledrejection', (event) => note('mistake', String(event.reason)));
