/** Git sources that are followed no more until somebody applies or resumes them: a word on the environment, not on them. */
import type {GitSourceRecord} from '../api/git-source.js';
import {statusSuspended} from '../reconciler/git-status.js';
import {
  readGitSourceRecords,
  readGitSourceStatus,
  updateGitSource,
  writeGitSourceStatus,
} from '../registry/git-source-records.js';

/** Those of them that `isMeant` and that are not stopped yet. @returns those that it stopped */
export async function stopSources(
  home: string,
  isMeant: (record: GitSourceRecord) => boolean,
): Promise<readonly GitSourceRecord[]> {
  const stopped: GitSourceRecord[] = [];
  const now = new Date().toISOString();
  const isToStop = (record: GitSourceRecord): boolean => record.stoppedAt === undefined && isMeant(record);
  for (const {name, namespace} of readGitSourceRecords(home).filter(isToStop)) {
    let did = false;
    const record = await updateGitSource(home, {name, namespace}, before => {
      did = before !== undefined && isToStop(before); // somebody may just have given it more time
      return before && did ? {...before, stoppedAt: now} : before;
    });
    if (!record || !did) continue;
    stopped.push(record);
    await writeGitSourceStatus(home, statusSuspended({record, previous: readGitSourceStatus(home, record), now}));
  }
  return stopped;
}
