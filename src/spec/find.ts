import {access} from 'node:fs/promises';
import {dirname, join} from 'node:path';

/** Name of the fleet file that commands use when none is named. */
export const fleetFileName = 'tekton-ai.yaml';

/** Absolute path of the nearest `tekton-ai.yaml`, in `folder` or a folder above it; undefined where there is none. */
export async function findFleetFile(folder: string): Promise<string | undefined> {
  for (let current = folder; ; current = dirname(current)) {
    const path = join(current, fleetFileName);
    const exists = await access(path).then(
      () => true,
      () => false,
    );
    if (exists) return path;
    if (dirname(current) === current) return undefined;
  }
}
