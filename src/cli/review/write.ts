/** Writes a review in the format that was asked for, on success and on failure alike. */
import {existsSync} from 'node:fs';
import {appendFile, stat} from 'node:fs/promises';
import path from 'node:path';
import {TektonError} from '../../api/errors.js';
import type {Command, CommandContext} from '../context.js';
import type {ReviewFormat} from '../options.js';
import {write, writeJson, writeLine} from '../output.js';
import {placesIn, reviewOf, reviewOfError} from './review.js';
import type {PlaceOf, PlansOptions, Review} from './review.js';

interface Options {
  readonly output: ReviewFormat;
  readonly verb: Review['verb'];
}

/** What was found, to standard output. */
export async function writeReview(
  context: CommandContext,
  {output, verb}: Options,
  found: Omit<PlansOptions, 'verb' | 'placeOf'>,
): Promise<void> {
  await print(context, output, reviewOf({...found, verb, placeOf: placesOf(context)}));
}

/** Has a failure's problems written in the format, too; it is thrown all the same. */
export function withReview<T extends {readonly output: ReviewFormat}>(
  verbOf: (options: T) => Review['verb'],
  run: Command<T>,
): Command<T> {
  return async (context, args, options) => {
    try {
      return await run(context, args, options);
    } catch (error) {
      const isOurs = error instanceof TektonError && !context.signal.aborted;
      if (isOurs && options.output !== 'text') {
        const review = reviewOfError(error, {verb: verbOf(options), placeOf: placesOf(context)});
        await print(context, options.output, review);
      }
      throw error;
    }
  };
}

async function print(context: CommandContext, output: ReviewFormat, review: Review): Promise<void> {
  const {stdout} = context;
  switch (output) {
    case 'text':
      return;
    case 'json':
      return writeJson(stdout, review);
    case 'markdown':
      return write(stdout, (await import('./markdown.js')).markdownText(review));
    case 'github':
      await write(stdout, (await import('./github.js')).githubText(review));
      return summarize(context, review);
    case 'junit':
      return write(stdout, await (await import('./junit.js')).junitText(review));
    case 'sarif':
      return writeJson(stdout, (await import('./sarif.js')).sarifLog(review));
    case 'gitlab':
      return writeJson(stdout, (await import('./gitlab.js')).qualityIssues(review));
  }
}

/** GitHub takes as much for one step, and refuses more as a whole. */
const summaryBytes = 1024 * 1024;

/** Appends to the file that GitHub shows as the job's summary. That it can't be written fails nothing. */
async function summarize({environment, stderr}: CommandContext, review: Review): Promise<void> {
  const file = environment['GITHUB_STEP_SUMMARY'];
  if (file === undefined || file === '') return;
  const {markdownText} = await import('./markdown.js');
  const {size} = await stat(file).catch(() => ({size: 0}));
  const before = size === 0 ? '' : '\n';
  if (size + smallestBytes > summaryBytes) return;
  try {
    await appendFile(file, before + markdownText(review, summaryBytes - size - before.length));
  } catch (error) {
    await writeLine(stderr, `the summary was not written: ${(error as Error).message}`); // of node:fs
  }
}

/** With less room than that nothing would be said. */
const smallestBytes = 4096;

function placesOf({cwd}: CommandContext): PlaceOf {
  return placesIn(topOf(cwd), cwd, existsSync);
}

/** The top of the repository that a folder is in, else the folder. */
function topOf(folder: string): string {
  for (let current = folder; ; current = path.dirname(current)) {
    if (existsSync(path.join(current, '.git'))) return current;
    if (path.dirname(current) === current) return folder;
  }
}
