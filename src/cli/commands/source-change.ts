import {exitCodes, TektonError} from '../../api/errors.js';
import type {GitSourceRecord} from '../../api/git-source.js';
import {isSuspended} from '../../reconciler/git-flow.js';
import {findController} from '../../registry/controller-record.js';
import {readGitSourceStatus, updateGitSource} from '../../registry/git-source-records.js';
import {statePaths} from '../../registry/paths.js';
import type {Command, CommandContext} from '../context.js';
import {watchFolder} from '../follow.js';
import {selectGitSources} from '../git-source-view.js';
import type {SourceChangeOptions} from '../options.js';
import {writeLine} from '../output.js';
import {qualifiedName} from '../view.js';

/** `suspend`, `resume` and `reconcile`: a person's word on a git source, which its document doesn't undo. */
export const run: Command<SourceChangeOptions> = async (context, names, options) => {
  const {home, stdout, stderr} = context;
  const views = await selectGitSources(home, names, options);
  for (const {record} of views) refuseSenseless(record, options.action);
  const isFollowed = (await findController(home)) !== undefined;
  if (options.action === 'reconcile' && !isFollowed) {
    throw new TektonError('cannot reconcile: no controller is running that would look', {
      hint: 'tekton-ai up starts one; tekton-ai apply looks once',
    });
  }
  const at = new Date().toISOString();
  const changed: GitSourceRecord[] = [];
  for (const {record} of views) {
    const next = await updateGitSource(home, record, before => before && change(before, options.action, at));
    if (next === undefined) throw new TektonError(`git source ${qualifiedName(record)} was deleted meanwhile`);
    changed.push(next);
    await writeLine(stdout, `gitsource/${qualifiedName(record)} ${done[options.action]}`);
  }
  if (options.action === 'resume' && !isFollowed) {
    await writeLine(stderr, 'no controller is running: nothing is followed; start one with: tekton-ai up');
  }
  return options.wait ? untilLookedAt(context, changed, options.timeoutMs) : exitCodes.ok;
};

const done = {suspend: 'suspended', resume: 'resumed', reconcile: 'is looked at now'} as const;

/** @throws {TektonError} where it would change nothing, and say that it did */
function refuseSenseless(record: GitSourceRecord, action: SourceChangeOptions['action']): void {
  const name = qualifiedName(record);
  const bySource = record.spec.suspend;
  if (action === 'resume' && bySource) {
    throw new TektonError(`cannot resume ${name}: its document says \`suspend: true\``, {
      hint: 'change that, and apply',
    });
  }
  if (action === 'reconcile' && isSuspended(record)) {
    throw new TektonError(`cannot reconcile ${name}: it is suspended`, {hint: `tekton-ai resume ${name}`});
  }
}

function change(record: GitSourceRecord, action: SourceChangeOptions['action'], at: string): GitSourceRecord {
  switch (action) {
    case 'suspend':
      return {...record, suspendedAt: record.suspendedAt ?? at};
    case 'resume': {
      const {suspendedAt: _, stoppedAt, expiresAt, ...followed} = record;
      const isToEnd = expiresAt !== undefined && stoppedAt === undefined;
      return {...followed, ...(isToEnd && {expiresAt}), requestedAt: at};
    }
    case 'reconcile':
      return {...record, requestedAt: at};
  }
}

const againMs = 1000;

/** Until the controller has looked since: 0 where what it found is in force, 1 where it is not. */
async function untilLookedAt(
  context: CommandContext,
  records: readonly GitSourceRecord[],
  timeoutMs: number,
): Promise<0 | 1 | 3 | 130> {
  const {home, stderr} = context;
  const deadline = AbortSignal.timeout(Math.max(1, timeoutMs));
  const signal = AbortSignal.any([context.signal, deadline]);
  const changes = watchFolder(statePaths(home).status);
  try {
    for (;;) {
      const statuses = records.map(record => ({record, status: readGitSourceStatus(home, record)}));
      if (context.signal.aborted) return exitCodes.interrupted;
      const open = statuses.filter(({record, status}) => status?.requestSeen !== record.requestedAt);
      if (open.length === 0) {
        const bad = statuses.filter(({status}) => status?.ready !== 'True');
        for (const {record, status} of bad) {
          await writeLine(stderr, `${qualifiedName(record)}: ${status?.reason ?? ''}: ${status?.message ?? ''}`);
        }
        return bad.length === 0 ? exitCodes.ok : exitCodes.failed;
      }
      if (deadline.aborted) {
        const left = open.map(({record}) => qualifiedName(record)).join(', ');
        await writeLine(stderr, `${left}: the controller has not come to it within ${timeoutMs / 1000} s`);
        return exitCodes.notReady;
      }
      await changes.next(againMs, signal);
    }
  } finally {
    changes.close();
  }
}
