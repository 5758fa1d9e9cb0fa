// Who a page is, in the ways that a browser leaves to it. GOOD, BAD and SERVER are put in by the test.
function socket(name, protocols, query = '') {
  return new Promise((done) => {
    const socket = new WebSocket(`ws://SERVER/ws${query}`, protocols);
    socket.onopen = () => {
      note(name, 'open', socket.protocol);
      socket.send(JSON.stringify({ type: 'subscribe', channels: ['*'] }));
    };
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      note(name, frame.type, frame.event?.type ?? frame.code ?? null, frame.granted ?? null);
      if (frame.type === 'subscribed') done();
    };
    socket.onclose = ({ code, reason }) => {
      note(name, 'close', code, reason);
      done();
    };
  });
}

(async () => {
  await socket('bearer', ['rowcast.v1', 'rowcast.bearer.GOOD']);
  await socket('query', undefined, '?token=GOOD');
  await socket('bad', ['rowcast.v1', 'rowcast.bearer.BAD']);

  // By the page's own server, as behind a proxy; the browser sends the cookie by itself.
  document.cookie = 'rowcast_token=GOOD; SameSite=Strict';
  const source = new EventSource('/sse?channels=*');
  source.addEventListener('subscribed', ({ data }) => note('cookie', 'subscribed', JSON.parse(data).granted));
  source.onmessage = ({ data }) => note('cookie', 'event', JSON.parse(data).event.type);

  // A page of nowhere, with whatever the browser sends along.
  addEventListener('message', ({ data }) => note('stranger', ...data));
  const frame = document.createElement('iframe');
  frame.sandbox = 'allow-scripts';
  frame.srcdoc = `<script>
    const tell = (...what) => parent.postMessage(what, '*');
    const socket = new WebSocket('ws://SERVER/ws?token=GOOD');
    socket.onopen = () => tell('socket', 'open');
    socket.onclose = ({ code }) => tell('socket', 'close', code);
    fetch('http://SERVER/events?channels=*&after=earliest&token=GOOD').then(
      () => tell('fetch', 'read'), (error) => tell('fetch', error.name));
  <\/script>`;
  document.body.append(frame);
})();
