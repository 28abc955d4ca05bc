/** Asks a specialist its canary prompts, one after the other, and says how it did. */
import type {Canary, CanaryPrompt} from '../api/types.js';
import {agrees, excerptOf, failureOf, judgement, promptName, reportOf} from './canary.js';
import type {AnswerChecks, CanaryReport, ChatAnswer, Failure, PromptResult} from './canary.js';
import type {Clock} from './ports.js';

export interface CanaryChat {
  readonly content: string;
  readonly system?: string;
}

export type Asked =
  | {readonly ok: true; readonly answer: ChatAnswer}
  /** `retryable`: it may answer a moment later. */
  | {readonly ok: false; readonly message: string; readonly retryable: boolean};

export interface CanaryTools {
  readonly clock: Pick<Clock, 'after' | 'monotonic'>;
  readonly checks: AnswerChecks;
  /** @throws the signal's reason alone */
  ask(chat: CanaryChat, signal: AbortSignal): Promise<Asked>;
  /** As `ask`, of the specialist of this name; one that isn't Ready may be a moment later. */
  askJudge(name: string, chat: CanaryChat, signal: AbortSignal): Promise<Asked>;
  /** Told of each prompt as it is decided. */
  readonly decided?: (result: PromptResult) => void;
}

/** Until what may answer a moment later is asked again, ms. */
const againMs = 500;

/** @throws the signal's reason */
export async function runCanary(canary: Canary, tools: CanaryTools, signal: AbortSignal): Promise<CanaryReport> {
  const results: PromptResult[] = [];
  for (const [index, prompt] of canary.prompts.entries()) {
    const result = await ask(prompt, promptName(prompt, index), canary, tools, signal);
    results.push(result);
    tools.decided?.(result);
  }
  return reportOf(canary, results);
}

async function ask(
  prompt: CanaryPrompt,
  name: string,
  canary: Canary,
  tools: CanaryTools,
  signal: AbortSignal,
): Promise<PromptResult> {
  for (let attempts = 1; ; attempts++) {
    const {answer, failure} = await attempt(prompt, canary, tools, signal);
    if (failure !== undefined && attempts < canary.attempts) continue;
    return {
      ...{name, passed: failure === undefined, attempts},
      ...(answer && {seconds: answer.seconds, outputTokens: answer.outputTokens}),
      ...(failure && {failure}),
    };
  }
}

interface Attempt {
  readonly answer?: ChatAnswer;
  readonly failure?: Failure;
}

async function attempt(
  prompt: CanaryPrompt,
  {timeoutSeconds}: Canary,
  tools: CanaryTools,
  signal: AbortSignal,
): Promise<Attempt> {
  signal.throwIfAborted();
  const timeout = new AbortController();
  const cancel = tools.clock.after(timeoutSeconds * 1000, () => timeout.abort(new Error('timed out')));
  const both = AbortSignal.any([signal, timeout.signal]);
  const {content, system} = {content: prompt.prompt, system: prompt.system};
  const late: Failure = {expectation: `comes within ${timeoutSeconds} s`};
  try {
    const asked = await patiently(() => tools.ask({content, ...(system !== undefined && {system})}, both), tools, both);
    if (asked === undefined) return {failure: late};
    if (!asked.ok && both.aborted) return {failure: {expectation: `${late.expectation} (${excerptOf(asked.message)})`}};
    if (!asked.ok) return {failure: {expectation: `comes (${excerptOf(asked.message)})`}};
    const {answer} = asked;
    const failure =
      (await failureOf(prompt, answer, tools.checks)) ?? (await judged(prompt, answer, timeoutSeconds, tools, both));
    return {answer, ...(failure && {failure})};
  } catch (error) {
    signal.throwIfAborted();
    if (timeout.signal.aborted) return {failure: late};
    throw error;
  } finally {
    cancel();
  }
}

/** A judge that is not Ready is waited for; one that doesn't come in time has not agreed. */
async function judged(
  prompt: CanaryPrompt,
  answer: ChatAnswer,
  timeoutSeconds: number,
  tools: CanaryTools,
  signal: AbortSignal,
): Promise<Failure | undefined> {
  const {judge} = prompt;
  if (!judge) return undefined;
  const {specialist, expect} = judge;
  const expectation = `is judged ${JSON.stringify(expect)} by ${specialist}`;
  const failed = (why: string): Failure => ({
    expectation: `${expectation} (${why})`,
    answer: excerptOf(answer.content),
  });
  const chat = {content: judgement(prompt, answer.content)};
  const asked = await patiently(() => tools.askJudge(specialist, chat, signal), tools, signal).catch(
    (error: unknown) => {
      if (signal.aborted) return undefined;
      throw error;
    },
  );
  if (asked === undefined) return failed(`no answer within ${timeoutSeconds} s`);
  if (!asked.ok) return failed(excerptOf(asked.message));
  const verdict = asked.answer.content;
  return agrees(expect, verdict) ? undefined : failed(`it said ${JSON.stringify(excerptOf(verdict))}`);
}

/** Asks again while that may help; the last answer, when the time is up, or undefined where there was none. */
async function patiently(
  request: () => Promise<Asked>,
  {clock}: CanaryTools,
  signal: AbortSignal,
): Promise<Asked | undefined> {
  let asked: Asked | undefined;
  while (!signal.aborted) {
    asked = await request();
    if (asked.ok || !asked.retryable) return asked;
    await pause(clock, signal);
  }
  return asked;
}

function pause(clock: CanaryTools['clock'], signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const done = (): void => {
      cancel();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const cancel = clock.after(againMs, done);
    signal.addEventListener('abort', done, {once: true});
  });
}
