// Opens what a page would, and notes all that it is told. Nothing is dropped here, and nothing put in order.
const CONTROLS = ['subscribed', 'caught_up', 'reset', 'disconnect'];

SOURCES.forEach(({ url, names, renews }, source) => {
  let connection = 0;
  let last = '';

  function open(url) {
    const stream = new EventSource(url);
    stream.onopen = () => note('open', source, ++connection);
    stream.onerror = () => {
      // While it is CONNECTING the browser comes back by itself.
      if (stream.readyState !== EventSource.CLOSED) return;
      note('closed', source);
      if (renews) open(`${SOURCES[source].url}&since=${last}`);
    };
    const listen = (event) => {
      last = event.lastEventId;
      const frame = JSON.parse(event.data);
      note('event', source, connection, frame.event.id, last);
    };
    for (const name of ['message', ...names]) stream.addEventListener(name, listen);
    for (const name of CONTROLS) {
      stream.addEventListener(name, (event) => {
        last = event.lastEventId;
        note(name, source, connection, event.data, last);
      });
    }
  }

  open(url);
});
