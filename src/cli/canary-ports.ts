/** What canaries are asked and checked with: a worker's own port, and patterns and schemas that can't hang us. */
import {describeError} from '../api/errors.js';
import type {AnswerChecks} from '../reconciler/canary.js';
import type {Chats} from '../reconciler/ports.js';

export const chats: Chats = {
  async ask(to, {content, system}, signal) {
    const [{openConnection}, {RequestFailedError}] = await Promise.all([
      import('./verify.js'),
      import('../protocol/client.js'),
    ]);
    try {
      const connection = await openConnection(to, signal);
      const began = performance.now();
      try {
        const reply = await connection.request(
          {type: 'chat', content, ...(system !== undefined && {system})},
          {signal},
        );
        const {fallback} = reply;
        // It would be judged for what another model said.
        if (fallback) {
          return {
            ok: false,
            message: `${fallback.from} did not answer, a fallback did: ${fallback.reason}`,
            retryable: true,
          };
        }
        const seconds = (performance.now() - began) / 1000;
        return {ok: true, answer: {content: reply.content, seconds, outputTokens: reply.usage?.output_tokens ?? 0}};
      } finally {
        connection.close();
      }
    } catch (error) {
      signal.throwIfAborted();
      // A connection that broke is another's doing: a restart, say.
      const retryable = error instanceof RequestFailedError ? error.retryable : true;
      return {ok: false, message: describeError(error), retryable};
    }
  },
};

/** A pattern with nested repetitions may take longer than the universe has: no look at an answer takes more than this. */
const checkMs = 200;
/** Of an answer; the rest is not looked at. */
const mostCharacters = 65_536;

export const answerChecks: AnswerChecks = {
  async matches(pattern, text) {
    const regex = new RegExp(pattern, 'u');
    return within(checkMs, () => regex.test(text.slice(0, mostCharacters)));
  },
  async fits(schema, value) {
    const {compileSchema} = await import('../spec/json-schema.js');
    const check = await compileSchema(schema);
    if (typeof check !== 'function') return `the schema can't be used: ${check.problem}`;
    const answer = await within(checkMs, () => {
      try {
        return {misfit: check(value)};
      } catch (error) {
        // A schema that refers to itself without end. Not for us to fail at: the prompts would be asked again and again.
        return {misfit: `the schema can't be used: ${describeError(error)}`};
      }
    });
    return answer === undefined ? 'looking took too long' : answer.misfit;
  },
};

/** What `run` answers; undefined where it takes longer: it is ended in its midst, a regular expression included. */
async function within<T>(timeoutMs: number, run: () => T): Promise<T | undefined> {
  const {createContext, Script} = await import('node:vm');
  let answer: T | undefined;
  const context = createContext({
    run: () => {
      answer = run();
    },
  });
  try {
    new Script('run()').runInContext(context, {timeout: timeoutMs});
    return answer;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return undefined;
    throw error;
  }
}
