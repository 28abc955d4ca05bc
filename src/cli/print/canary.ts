/** The rows of `canary`. */
import type {CanaryReport} from '../../reconciler/canary.js';
import {printable, tableText} from './table.js';
import {secondsText} from './usage.js';

/** One row a prompt, in their order. */
export function canaryTable({results}: CanaryReport): string {
  return tableText(
    ['PROMPT', 'RESULT', 'ATTEMPTS', 'LATENCY', 'TOKENS', 'EXPECTED'],
    results.map(({name, passed, attempts, seconds, outputTokens, failure}) => [
      printable(name),
      passed ? 'pass' : 'fail',
      String(attempts),
      secondsText(seconds),
      outputTokens === undefined ? '<none>' : String(outputTokens),
      failure === undefined ? '' : printable(failure.expectation),
    ]),
  );
}
