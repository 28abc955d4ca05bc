/** Where this package's own files are. */
import {existsSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';

/** The folder that holds package.json, found from this module upwards: it is bundled to different depths. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json')) && dirname(folder) !== folder) folder = dirname(folder);
  return folder;
}

/** The built worker program. */
export function programFolder(): string {
  return join(packageRoot(), 'dist', 'worker');
}

/** The built command line. */
export function mainProgram(): string {
  return join(packageRoot(), 'dist', 'tekton-ai.js');
}
