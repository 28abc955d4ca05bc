import {rm} from 'node:fs/promises';
import {ConflictError, exitCodes} from '../../api/errors.js';
import {recordId} from '../../reconciler/desired.js';
import {readFleetRecords} from '../../registry/fleet-records.js';
import {updateGitSource} from '../../registry/git-source-records.js';
import {statePaths} from '../../registry/paths.js';
import type {Command} from '../context.js';
import {selectGitSources} from '../git-source-view.js';
import {withRepositoryLock} from '../git-sources.js';
import type {DeleteOptions} from '../options.js';
import {writeLine} from '../output.js';
import {qualifiedName} from '../view.js';

/** Forgets git sources, with what was fetched of them. Refused while a fleet of theirs is to run. */
export const run: Command<DeleteOptions> = async ({home, stdout}, names, options) => {
  for (const {record} of await selectGitSources(home, names, options)) {
    const id = recordId(record);
    const fleets = readFleetRecords(home).filter(({source, stopped}) => {
      return source.type === 'git' && source.source === id && !stopped;
    });
    if (fleets.length > 0) {
      const first = fleets[0] && qualifiedName(fleets[0]);
      throw new ConflictError(
        `cannot delete git source ${qualifiedName(record)}: it declares ${fleets.map(qualifiedName).join(', ')}`,
        {
          hint: `stop them first (tekton-ai down --fleet ${first}), or only suspend it: tekton-ai suspend ${record.name}`,
        },
      );
    }
    // Whoever works on the repository ends first, and finds no source afterwards.
    await withRepositoryLock(home, record, async () => {
      await updateGitSource(home, record, () => undefined);
      await rm(statePaths(home).gitFolder(record), {recursive: true, force: true});
    });
    await writeLine(stdout, `gitsource/${qualifiedName(record)} deleted`);
  }
  return exitCodes.ok;
};
