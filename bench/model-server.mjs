/** An OpenAI-compatible server that says `tokens` tokens, one every `everyMs`: `node model-server.mjs`; prints its port. */
import {createServer} from 'node:http';

const server = createServer((request, response) => {
  if (request.url === '/v1/models') {
    response.writeHead(200, {'Content-Type': 'application/json'});
    return void response.end(JSON.stringify({object: 'list', data: [{id: 'm', object: 'model'}]}));
  }
  let body = '';
  request.on('data', part => (body += part));
  request.on('end', () => {
    // As a client asks: "50 tokens every 20 ms".
    const {messages} = JSON.parse(body);
    const [tokens, everyMs] = messages
      .at(-1)
      .content.match(/[\d.]+/g)
      .map(Number);
    response.writeHead(200, {'Content-Type': 'text/event-stream'});
    const chunk = (delta, more = {}) => {
      const choices = [{index: 0, delta, finish_reason: null, ...more}];
      response.write(
        `data: ${JSON.stringify({id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices})}\n\n`,
      );
    };
    const begin = performance.now();
    let said = 0;
    const go = () => {
      // What a late timer missed comes at once: the pace is that of the clock.
      const due = Math.min(tokens, 1 + Math.floor((performance.now() - begin) / everyMs));
      while (said < due) chunk({content: ` token${said++}`});
      if (said < tokens) return void setTimeout(go, begin + said * everyMs - performance.now());
      chunk({}, {finish_reason: 'stop'});
      response.write(
        `data: {"id":"c","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":${tokens},"total_tokens":${tokens + 1}}}\n\n`,
      );
      response.end('data: [DONE]\n\n');
    };
    go();
  });
});
server.listen(0, '127.0.0.1', () => process.stdout.write(`${server.address().port}\n`));
