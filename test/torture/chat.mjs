/** One conversation with a specialist over a connection of its own, by the wire protocol alone. */
import {connect} from 'node:net';

/**
 * Sends `messages` one after the other and waits for each answer.
 *
 * @returns 'ok', or what went wrong: 'refused', 'reset', 'cut' (closed before the answer), 'draining', 'timeout',
 * 'other' (with `detail`).
 */
export function converse({host, port, aiId, timeoutMs = 5_000}, messages = ['hello']) {
  return new Promise(resolve => {
    const socket = connect({host, port});
    let answered = 0;
    let received = '';
    const settle = (outcome, detail) => {
      resolve({outcome, detail, answered});
      socket.destroy();
    };
    const send = () => socket.write(`${JSON.stringify({type: 'chat', content: messages[answered]})}\n`);
    socket.setTimeout(timeoutMs, () => settle('timeout'));
    socket.once('connect', send);
    socket.on('data', chunk => {
      received += chunk;
      for (let end = received.indexOf('\n'); end !== -1; end = received.indexOf('\n')) {
        const reply = JSON.parse(received.slice(0, end));
        received = received.slice(end + 1);
        if (reply.type === 'error') return settle(reply.code === 'draining' ? 'draining' : 'other', reply);
        if (reply.type !== 'chat_response' || reply.ai_id !== aiId) return settle('other', reply);
        if (++answered === messages.length) return settle('ok');
        send();
      }
    });
    socket.once('end', () => settle('cut'));
    socket.once('close', () => settle('cut'));
    socket.once('error', ({code}) => {
      const outcome = {ECONNREFUSED: 'refused', ECONNRESET: 'reset', EPIPE: 'reset'}[code] ?? 'other';
      settle(outcome, code);
    });
  });
}
