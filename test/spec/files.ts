/** Real files in a private folder, and fleets loaded from them. */
import {mkdir, mkdtemp, realpath, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {afterAll} from '@jest/globals';
import {InvalidInputError} from '../../src/api/errors.js';
import type {Problem} from '../../src/api/errors.js';
import type {LoadedFleet} from '../../src/api/types.js';
import {loadFleets} from '../../src/spec/load.js';
import type {LoadOptions} from '../../src/spec/load.js';

const folders: string[] = [];

afterAll(async () => {
  await Promise.all(folders.map(folder => rm(folder, {recursive: true, force: true})));
});

/** A new folder with these files, by relative path. */
export async function folderOf(files: Readonly<Record<string, string | Uint8Array>>): Promise<string> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'tekton-spec-')));
  folders.push(folder);
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), {recursive: true});
    await writeFile(join(folder, name), content);
  }
  return folder;
}

export async function load(folder: string, options: Partial<LoadOptions> = {}): Promise<readonly LoadedFleet[]> {
  return loadFleets({
    paths: ['tekton-ai.yaml'],
    cwd: folder,
    environment: {},
    readStdin: () => Promise.reject(new Error('no standard input in this test')) as never,
    shippedExpertise: () => Promise.resolve(undefined),
    ...options,
  });
}

/** The one fleet of `tekton-ai.yaml` with this content. */
export async function fleet(
  content: string,
  options: Partial<LoadOptions> = {},
  files: Readonly<Record<string, string>> = {},
): Promise<LoadedFleet> {
  const [only, ...others] = await load(await folderOf({'tekton-ai.yaml': content, ...files}), options);
  if (!only || others.length > 0) throw new Error(`expected one fleet, got ${others.length + (only ? 1 : 0)}`);
  return only;
}

/** What is wrong with these files; fails where nothing is. */
export async function problemsOf(
  files: Readonly<Record<string, string | Uint8Array>>,
  options: Partial<LoadOptions> = {},
): Promise<readonly Problem[]> {
  const folder = await folderOf(files);
  try {
    await load(folder, options);
  } catch (error) {
    if (error instanceof InvalidInputError) return error.problems;
    throw error;
  }
  throw new Error('nothing was found wrong');
}

/** A fleet document around the lines of a `spec`. The spec begins in line 6. */
export function fleetYaml(spec: string): string {
  return `apiVersion: tekton.ai/v1alpha1
kind: Fleet
metadata:
  name: dev
spec:
${spec.replace(/^\n/, '')}`;
}
