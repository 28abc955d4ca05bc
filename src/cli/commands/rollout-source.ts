import {readdir} from 'node:fs/promises';
import {join} from 'node:path';
import {exitCodes, TektonError} from '../../api/errors.js';
import type {GitSourceRecord} from '../../api/git-source.js';
import {findController} from '../../registry/controller-record.js';
import {updateGitSource} from '../../registry/git-source-records.js';
import {statePaths} from '../../registry/paths.js';
import type {Command} from '../context.js';
import {selectGitSources} from '../git-source-view.js';
import type {RolloutSourceOptions} from '../options.js';
import {writeLine} from '../output.js';
import {qualifiedName} from '../view.js';

/** `rollout undo|resume --source`: pins a git source to a commit, or has it follow its branch again. */
export const run: Command<RolloutSourceOptions> = async (context, _args, options) => {
  const {home, stdout, stderr} = context;
  const [view] = await selectGitSources(home, [options.source], options);
  if (view === undefined) throw new Error('internal error: a git source was named and not found');
  const {record} = view;
  const name = qualifiedName(record);
  const at = new Date().toISOString();
  if (options.action === 'resume') {
    if (record.pinned === undefined) throw new TektonError(`cannot resume ${name}: it is not pinned`);
    await updateGitSource(home, record, before => before && unpinned(before, at));
    await writeLine(stdout, `gitsource/${name} follows its remote again`);
  } else {
    const commit = await commitOf(home, record, options.toRevision);
    await updateGitSource(home, record, before => before && {...before, pinned: {commit, at}, requestedAt: at});
    const resume = `until: tekton-ai rollout resume --source ${name}`;
    await writeLine(stdout, `gitsource/${name} goes to ${commit.slice(0, 7)}, and stays there ${resume}`);
  }
  if (!(await findController(home))) {
    await writeLine(stderr, 'no controller is running: it is done by the next one, or by the next apply of the source');
  }
  return exitCodes.ok;
};

function unpinned(record: GitSourceRecord, at: string): GitSourceRecord {
  const {pinned: _, ...rest} = record;
  return {...rest, requestedAt: at};
}

/** A whole commit is taken at its word: the remote may have it. @throws {TektonError} a short one that isn't known here */
async function commitOf(home: string, record: GitSourceRecord, given: string | undefined): Promise<string> {
  const name = qualifiedName(record);
  const kept = await readdir(join(statePaths(home).gitFolder(record), 'revisions')).catch((): string[] => []);
  const known = kept.filter(one => /^[0-9a-f]{40,64}$/.test(one));
  const list = known.map(one => one.slice(0, 7)).join(', ');
  const hint = `those that are kept here: ${list === '' ? 'none' : list}; of any other give all digits`;
  if (given === undefined) {
    throw new TektonError(`cannot undo ${name}: no commit was given`, {
      hint: `--to-revision; ${hint}`,
      exitCode: exitCodes.invalidInput,
    });
  }
  if (/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(given)) return given;
  const [found, ...more] = known.filter(one => one.startsWith(given));
  if (found !== undefined && more.length === 0) return found;
  throw new TektonError(
    `cannot undo ${name} to ${given}: ${found === undefined ? 'no such commit is' : 'several such commits are'} known here`,
    {hint},
  );
}
